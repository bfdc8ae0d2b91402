"""The log: every event is in its list, addresses can be hidden, and a fault tells no secrets."""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.observe.events import EVENTS, page
from relay.observe.logs import LogFormat, make_logger
from relay.observe.masking import Mask
from relay.observe.recent import Recent
from tests.unit.observe.facts import every_fact
from tests.unit.observe.test_observe_maillog import Log, Memory

ROOT = Path(__file__).parents[3]


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Yield each call in the code that tells of an event, with the event's name."""
    for path in (ROOT / "relay").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and node.args):
                continue
            name, first = ast.unparse(node.func), node.args[0]
            if not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
                continue
            if name.endswith(".service"):
                yield f"relay.{first.value}", node
            elif re.search(r"(^|\.)(tell|logger\.(debug|info|warning|error))$", name):
                yield first.value, node


def test_every_event_that_the_code_tells_is_in_the_list_with_its_fields() -> None:
    found = list(calls())
    assert len(found) > 50
    for event, call in found:
        assert event in EVENTS, f"{event} is not in relay.observe.events"
        fields = {word.arg for word in call.keywords if word.arg} - {"exc_info"}
        unknown = fields - set(EVENTS[event].fields.split())
        assert not unknown, (
            f"{event} has {sorted(unknown)}, of which relay.observe.events is silent"
        )


def test_every_fact_is_told_as_the_list_has_it() -> None:
    log = Log()
    every_fact(log.facts)
    fields: dict[str, set[str]] = defaultdict(set)
    levels: dict[str, set[str]] = defaultdict(set)
    for line in log.lines():
        fields[line["event"]] |= set(line) - {"event", "level", "timestamp"}
        levels[line["event"]].add(line["level"])
    for event, found in fields.items():
        assert found == set(EVENTS[event].fields.split()), event
        assert levels[event] <= set(EVENTS[event].level.split(", ")), event
    told_elsewhere = {event for event in EVENTS if event.startswith("relay.")} - {
        "relay.clock_stepped",
        "relay.clock_settled",
    }
    assert set(fields) == set(EVENTS) - told_elsewhere - {"library.warning"}


def test_the_page_of_events_is_current() -> None:
    assert (ROOT / "docs" / "logs.md").read_text() == page(), "run `make docs`"


# --- addresses ---


MASK = Mask(b"k" * 32)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("jane@example.net", "jane@example.net"),
        ("<Jane.Doe+tag@Example.NET>: no such user", "Jane.Doe+tag@Example.NET"),
        ('smtp; 550 "jane doe"x "very.odd"@example.net gone', '"very.odd"@example.net'),
        ("jane@[192.0.2.1] refused", "jane@[192.0.2.1]"),
        ("b\u00fccher@b\u00fccher.example.", "b\u00fccher@b\u00fccher.example"),
        ("to=jane@example.net, relay=x", "jane@example.net"),
        ("o'neill@example.net is full", "o'neill@example.net"),
    ],
)
def test_an_address_is_hidden_wherever_it_stands(text: str, address: str) -> None:
    (masked,) = MASK(None, "info", {"x": [text]})["x"]
    assert "@" not in masked
    assert MASK.name_of(address) in masked or "neill" not in masked
    for part in address.lower().replace('"', "").split("@"):
        assert part not in masked.lower()


def test_the_same_address_has_the_same_name_and_another_key_another() -> None:
    assert MASK.name_of("Jane@Example.net") == MASK.name_of("jane@example.NET")
    assert MASK.name_of("jane@example.net") != MASK.name_of("joe@example.net")
    assert MASK.name_of("jane@example.net") != Mask(b"o" * 32).name_of("jane@example.net")
    assert re.fullmatch(r"addr-[0-9a-f]{20}", MASK.name_of("jane@example.net"))


@pytest.mark.parametrize("log_format", [LogFormat.JSON, LogFormat.CONSOLE])
def test_no_fact_lets_an_address_through(log_format: LogFormat) -> None:
    log = Log()
    sink = Memory()
    log.facts.logger = make_logger("debug", log_format, sink, mask=MASK)  # type: ignore[attr-defined]
    every_fact(log.facts)
    assert MASK.name_of("jane@example.net").encode() in sink.octets
    assert b"@" not in sink.octets


# --- faults ---


@pytest.mark.parametrize("log_format", [LogFormat.JSON, LogFormat.CONSOLE])
def test_a_traceback_has_no_values_of_variables(log_format: LogFormat) -> None:
    password = "hunter" + "2"

    def fail(secret: str) -> None:
        raise ZeroDivisionError(f"of {len(secret)}")

    sink = Memory()
    logger = make_logger("info", log_format, sink, is_terminal=True)
    try:
        fail(password)
    except ZeroDivisionError as error:
        logger.exception("fault", exc_info=error)
    text = sink.octets.decode()
    assert "ZeroDivisionError: of 7" in text
    assert password not in text


def test_what_went_wrong_last_is_remembered_once_for_each_kind() -> None:
    recent, sink = Recent(), Memory()
    logger = make_logger("info", LogFormat.JSON, sink, recent=recent)
    for number in range(3):
        logger.warning("mail.failed", queue_id=str(number))
    logger.info("mail.relayed")
    logger.error("fault", where="x")
    newest = recent.newest(5)
    assert [(one["event"], one["times"]) for one in newest] == [("fault", 1), ("mail.failed", 3)]
    assert newest[1]["queue_id"] == "2"
    assert [one["event"] for one in recent.newest(1)] == ["fault"]
    assert len([json.loads(line) for line in sink.octets.splitlines()]) == 5


def test_events_nobody_foresaw_do_not_fill_the_memory() -> None:
    recent = Recent()
    for number in range(1000):
        recent(None, "error", {"event": f"x.{number}", "level": "error"})
    assert len(recent.newest(1000)) == 100
