"""What operators are shown of a configuration: its values, why they are that, what has changed."""

from __future__ import annotations

from pathlib import Path

from relay.config import Configuration, load_text
from relay.config.difference import differences
from relay.config.shown import Shown, shown

TEXT = """\
listeners:
  - {name: plain, address: "127.0.0.1:25", tls: off, auth: off}
senders:
  - name: erp
    networks: [10.0.0.0/24, 10.0.1.0/24]
    from: ["@${DOMAIN}"]
    limits: {rate: 10/s, burst:}
ses:
  accounts: {main: {}}
"""
ENVIRON = {"DOMAIN": "example.com", "AWS_REGION": "eu-west-1"}


def loaded(*changes: tuple[str, str]) -> Configuration:
    text = TEXT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return load_text(text.encode(), file="relay.yaml", directory=Path("/"), environ=ENVIRON)


def test_each_value_has_its_reason() -> None:
    found = {one.place: one for one in shown(loaded())}
    rate = "senders[erp].limits.rate"
    assert found[rate] == Shown(rate, "10/s", "relay.yaml:7", is_set=True)
    assert found["senders[erp].from"].origin == "relay.yaml:6, ${DOMAIN}"
    assert found["senders[erp].networks"].value == ["10.0.0.0/24", "10.0.1.0/24"]
    # A key without a value is a key at its default.
    assert found["senders[erp].limits.burst"].origin == "default"
    assert not found["senders[erp].limits.burst"].is_set
    assert found["spool.retry.first"] == Shown("spool.retry.first", "30s", "default", is_set=False)
    region = found["ses.accounts.main.region"]
    assert (region.value, region.is_set) == ("eu-west-1", True)
    assert "AWS_REGION" in region.origin
    assert found["hostname"].origin == "the name of the machine"


def test_nothing_differs_from_itself() -> None:
    assert differences(loaded(), loaded()) == []


def test_what_differs_is_said_in_the_words_of_the_file() -> None:
    changed = loaded(
        ("rate: 10/s", "rate: 20/s"),
        ("10.0.1.0/24]", "10.0.2.0/24]"),
        ("name: plain", "name: plainer"),
    )
    assert differences(loaded(), changed) == [
        "listeners[plain]: removed",
        "listeners[plainer]: added",
        "senders[erp].networks: [10.0.0.0/24, 10.0.1.0/24] -> [10.0.0.0/24, 10.0.2.0/24]",
        "senders[erp].limits.rate: 10/s -> 20/s",
    ]


def test_a_thousand_differences_are_counted() -> None:
    senders = "".join(
        f"  - {{name: s{n}, networks: [10.1.{n}.0/24], from: ['@example.com']}}\n"
        for n in range(100)
    )
    said = differences(loaded(), loaded(("ses:\n", f"{senders}ses:\n")))
    assert len(said) == 51
    assert said[-1] == "and 50 more"
