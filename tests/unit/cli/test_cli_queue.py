"""The verbs of the queue on a stopped spool: what is shown, asked, refused, and with which exit code."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relay.cli import queue
from relay.cli.exits import FOUND_BAD, NOT_ALLOWED, OK, TRY_LATER, UNREACHABLE, USAGE
from relay.cli.orders import Asked, give
from relay.cli.queue import Criteria, list_queue, shape, show_entry, trace
from relay.cli.reach import Whom
from relay.clock import SystemClock
from relay.mail.entry import State
from relay.mail.envelope import Mail, SenderName
from relay.store.lock import SpoolLock
from tests.unit.store.stores import JANE, opened

UNKNOWN = "06H04YCY58GVCD1MB7KG"
CONFIG = """
hostname: relay.example.com
listeners: [{{name: legacy, address: "127.0.0.1:2525", tls: off, auth: off}}]
senders: [{{name: billing, networks: [10.20.0.0/16], from: ["@example.com"]}}]
ses: {{region: eu-west-1}}
spool: {{path: "{directory}/spool", unsafe: true}}
http: {{admin: "{directory}/admin.sock"}}
"""


@pytest.fixture(name="whom")
def _whom(tmp_path: Path) -> Whom:
    """Return the stopped daemon of a configuration, with an empty spool."""
    config = tmp_path / "relay.yaml"
    config.write_text(CONFIG.format(directory=tmp_path))
    whom = Whom(tmp_path / "admin.sock", config, tmp_path / "spool")
    filled(whom, 0)
    return whom


def spool_of(whom: Whom) -> Path:
    assert whom.spool is not None
    return whom.spool


def filled(whom: Whom, count: int, *, sender: str = "billing", message_id: str = "") -> list[Mail]:
    """Add mail to the spool, each for somebody else; return it in the order of the queue ids."""

    async def fill() -> list[Mail]:
        async with opened(spool_of(whom), SystemClock()) as spool:  # type: ignore[arg-type]
            return [
                await spool.accept(
                    JANE._replace(local_part=f"user{n}"),
                    sender=SenderName(sender),
                    message_id=message_id,
                )
                for n in range(count)
            ]

    # Within a millisecond that is not the order they came in.
    return sorted(asyncio.run(fill()), key=lambda mail: mail.queue_id)


def states(whom: Whom) -> list[State]:
    async def look() -> list[State]:
        async with opened(spool_of(whom), SystemClock()) as spool:  # type: ignore[arg-type]
            return [entry.state for entry in await spool.entries()]

    return asyncio.run(look())


def asked(verb: str, *ids: str, **words: Any) -> Asked:
    criteria = {"why", "sender", "address", "states", "older_than", "newer_than"}
    meant = {name: words.pop(name) for name in criteria & set(words)}
    defaults: dict[str, Any] = {
        "is_all": False,
        "reason": "because",
        "is_confirmed": False,
        "is_dry": False,
        "as_json": False,
    }
    return Asked(verb=verb, criteria=Criteria(ids=ids, **meant), **{**defaults, **words})


def exits(work: Callable[[], object]) -> int:
    """Return the code a program ends with."""
    with pytest.raises(SystemExit) as end:
        work()
    assert isinstance(end.value.code, int)
    return end.value.code


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# --- seen -----------------------------------------------------------------------------------------


def test_a_list_is_a_table_of_its_first_lines_or_all_as_json(
    whom: Whom, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.cli.client.PAGE", 3)
    mails = filled(whom, 7)
    list_queue(whom, Criteria(), 5, as_json=False)
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split()[:2] == ["QUEUE", "ID"]
    assert [line.split()[0] for line in out.splitlines()[1:]] == [m.queue_id for m in mails[:5]]
    assert "the first 5" in err
    list_queue(whom, Criteria(), 5, as_json=True)
    out, err = capsys.readouterr()
    assert [one["queue_id"] for one in objects(out)] == [mail.queue_id for mail in mails]
    assert {one["v"] for one in objects(out)} == {1}
    assert err == ""
    list_queue(whom, Criteria(), 7, as_json=False)
    assert capsys.readouterr().err == ""


def test_a_list_is_of_what_meets_the_criteria(
    whom: Whom, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.cli.queue._IDS", 2)
    mails = filled(whom, 5)
    other = filled(whom, 1, sender="printers")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{mails[3].queue_id}\n{UNKNOWN}\n"))
    address = str(mails[4].envelope.recipients[0])
    for criteria, expected in (
        (Criteria(sender="printers"), other),
        (Criteria(ids=[mails[0].queue_id, "-", mails[1].queue_id]), [mails[0], mails[3], mails[1]]),
        (Criteria(address=address, states=["ready"], newer_than="1h"), [mails[4]]),
        (Criteria(older_than="1h"), []),
        (Criteria(why="throttled"), []),
    ):
        list_queue(whom, criteria, 100, as_json=True)
        found = [one["queue_id"] for one in objects(capsys.readouterr().out)]
        assert found == [mail.queue_id for mail in expected], criteria


def test_one_mail_is_shown_and_traced(whom: Whom, capsys: pytest.CaptureFixture[str]) -> None:
    (mail,) = filled(whom, 1, message_id="1@erp.example.com")
    show_entry(whom, mail.queue_id, as_json=False)
    shown = capsys.readouterr().out
    assert f"queue_id:     {mail.queue_id}" in shown
    assert "message_id:   1@erp.example.com" in shown
    trace(whom, "<1@erp.example.com>", as_json=False)
    assert capsys.readouterr().out == shown
    assert give(whom, asked("drop", mail.queue_id, reason="sent by hand")) == OK
    capsys.readouterr()
    trace(whom, mail.queue_id, as_json=True)
    accepted, dropped, stands = objects(capsys.readouterr().out)
    assert (stands["type"], stands["standing"]) == ("standing", "dropped")
    assert (accepted["fact"], dropped["fact"]) == ("accepted", "dropped")
    assert dropped["detail"].endswith(": sent by hand")
    assert exits(lambda: show_entry(whom, mail.queue_id, as_json=False)) == FOUND_BAD
    assert exits(lambda: trace(whom, "nothing", as_json=False)) == FOUND_BAD


def test_the_shape_has_the_largest_rows_first(
    whom: Whom, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(whom, 3)
    for sender in ("a", "b"):
        filled(whom, 1, sender=sender)
    shape(whom, Criteria(), "sender", 2, as_json=False)
    out, err = capsys.readouterr()
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == [
        "SENDER",
        "T",
        "5",
        "10",
        "20",
        "40",
        "80",
        "160",
        "320",
        "640",
        "1280",
        "1280+",
    ]
    assert [row[:3] for row in rows[1:]] == [
        ["TOTAL", "5", "5"],
        ["billing", "3", "3"],
        ["a", "1", "1"],
    ]
    assert "the largest 2 of 3" in err
    shape(whom, Criteria(), "domain", 1, as_json=True)
    total, group = objects(capsys.readouterr().out)
    assert (total["type"], total["mails"], total["minutes"]["5"]) == ("total", 5, 5)
    assert (group["type"], group["name"], group["mails"]) == ("group", "example.net", 5)
    assert exits(lambda: shape(whom, Criteria(), "size", 1, as_json=False)) == USAGE


def test_very_many_groups_become_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("relay.cli.queue._GROUPS", 3)
    pages = [{f"d{page}{n}": [n, 0] for n in range(4)} for page in range(5)]

    class Daemon:
        def ask(self, *_: str, query: dict[str, Any]) -> dict[str, Any]:
            at = int(query["after"] or 0)
            after = None if at == len(pages) - 1 else str(at + 1)
            return {"ages": [5], "total": [6, 0], "groups": pages[at], "after": after}

    ages, total, groups = queue._add_up(Daemon(), {})  # type: ignore[arg-type]
    assert (ages, total) == ([5], [30, 0])
    assert len(groups) <= 7
    assert sum(counts[0] for counts in groups.values()) == 30
    assert groups[queue.OTHERS][0] > 0


# --- changed --------------------------------------------------------------------------------------


def test_named_mail_needs_no_confirmation_and_bulk_does(
    whom: Whom, capsys: pytest.CaptureFixture[str]
) -> None:
    mails = filled(whom, 3)
    assert give(whom, asked("hold", mails[0].queue_id)) == OK
    assert capsys.readouterr().err == "held: 1\n"
    assert exits(lambda: give(whom, asked("hold", sender="billing"))) == USAGE
    assert "confirm with --yes" in capsys.readouterr().err
    assert states(whom) == [State.HELD, State.READY, State.READY]
    assert give(whom, asked("hold", sender="billing", is_confirmed=True)) == OK
    assert states(whom) == [State.HELD] * 3


@pytest.mark.parametrize(
    ("typed", "code", "expected"),
    [("3\n", OK, 0), ("2\n", FOUND_BAD, 3), ("y\n", FOUND_BAD, 3), ("", FOUND_BAD, 3)],
)
def test_at_a_terminal_the_number_of_mails_is_typed(
    whom: Whom,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    code: int,
    expected: int,
) -> None:
    filled(whom, 3)
    monkeypatch.setattr("relay.cli.orders._is_somebody_there", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    order = asked("drop", is_all=True)
    assert (give(whom, order) if code == OK else exits(lambda: give(whom, order))) == code
    out, err = capsys.readouterr()
    assert "would be dropped: 3\nType 3 to drop them: " in err
    assert len(out.splitlines()) == 1 + 3
    assert len(states(whom)) == expected


def test_nothing_selected_needs_no_confirmation_and_is_no_fault(
    whom: Whom, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.cli.orders._is_somebody_there", lambda: True)
    assert give(whom, asked("drop", is_all=True)) == OK
    assert give(whom, asked("drop", is_all=True, is_confirmed=True)) == OK
    assert capsys.readouterr().err == "nothing is selected\n" * 2


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (asked("drop"), "say which mail"),
        (asked("drop", is_all=True, sender="billing"), "give one of them"),
        (asked("drop", UNKNOWN, reason=""), "to drop mail needs a reason"),
        (asked("hold", UNKNOWN, reason=""), "to hold mail needs a reason"),
        (asked("retry", is_all=True, is_confirmed=True, reason=""), "to retry mail needs a reason"),
        (asked("hold", "nonsense"), "not a queue id"),
        (asked("hold", states=["lost"], is_confirmed=True), "there is ready"),
        (asked("hold", older_than="soon"), "--older-than 'soon' is not a duration"),
        (asked("release", UNKNOWN, new_sender="nobody"), "there is no sender nobody; there is bil"),
    ],
)
def test_what_makes_no_sense_is_said_and_changes_nothing(
    whom: Whom, capsys: pytest.CaptureFixture[str], order: Asked, words: str
) -> None:
    filled(whom, 1)
    assert exits(lambda: give(whom, order)) == USAGE
    assert words in capsys.readouterr().err
    assert states(whom) == [State.READY]


def test_ids_that_are_not_there_are_said_and_the_others_are_done(
    whom: Whom, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.cli.orders._NAMED", 2)
    mails = filled(whom, 3)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join([m.queue_id for m in mails])))
    assert give(whom, asked("drop", UNKNOWN, "-")) == FOUND_BAD
    err = capsys.readouterr().err
    assert f"{UNKNOWN}: not in the queue" in err
    assert "dropped: 3\nnot in the queue, or not as the criteria want it: 1\n" in err
    assert states(whom) == []


@pytest.mark.parametrize("is_dry", [False, True])
def test_as_json_there_is_an_object_for_each_mail_and_one_for_all(
    whom: Whom, capsys: pytest.CaptureFixture[str], *, is_dry: bool
) -> None:
    mails = filled(whom, 3)
    order = asked("hold", is_all=True, is_confirmed=True, as_json=True, is_dry=is_dry)
    assert give(whom, order) == OK
    out, err = capsys.readouterr()
    *each, summary = objects(out)
    assert err == ""
    assert each == [
        {"v": 1, "type": "mail", "queue_id": m.queue_id, "result": "changed", "state": "held"}
        for m in mails
    ]
    assert summary == {
        "v": 1,
        "type": "summary",
        "verb": "hold",
        "dry_run": is_dry,
        "results": {"changed": 3},
    }
    assert states(whom) == [State.READY if is_dry else State.HELD] * 3


def test_a_dry_run_shows_what_would_be_hit(whom: Whom, capsys: pytest.CaptureFixture[str]) -> None:
    mails = filled(whom, 12)
    assert give(whom, asked("drop", sender="billing", is_dry=True, reason="")) == OK
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()[1:]] == [m.queue_id for m in mails[:10]]
    assert err == "would be dropped: 12\n"
    assert states(whom) == [State.READY] * 12


def test_mail_of_a_removed_sender_is_given_to_another(
    whom: Whom, capsys: pytest.CaptureFixture[str]
) -> None:
    (mail,) = filled(whom, 1, sender="gone")
    assert give(whom, asked("hold", mail.queue_id)) == OK
    assert give(whom, asked("release", mail.queue_id)) == FOUND_BAD
    assert "senders that are configured no more: release --as NAME" in capsys.readouterr().err
    assert give(whom, asked("release", mail.queue_id, new_sender="billing")) == OK
    list_queue(whom, Criteria(sender="billing"), 1, as_json=True)
    (entry,) = objects(capsys.readouterr().out)
    assert (entry["queue_id"], entry["state"]) == (mail.queue_id, "ready")


def test_an_interruption_says_how_far_it_has_come(
    whom: Whom, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(whom, 5)
    monkeypatch.setattr("relay.store.orders.ENTRIES", 2)
    told: list[object] = []

    def interrupt(_progress: object, results: object) -> None:
        told.append(results)
        raise KeyboardInterrupt

    monkeypatch.setattr("relay.cli.orders._Progress.tell", interrupt)
    assert give(whom, asked("drop", is_all=True, is_confirmed=True)) == TRY_LATER
    err = capsys.readouterr().err
    assert err.startswith("relay: interrupted\ndropped: 2\n")
    assert "the same again goes on with it" in err
    monkeypatch.undo()
    left = len(states(whom))
    assert 0 <= left <= 3
    assert give(whom, asked("drop", is_all=True, is_confirmed=True)) == OK
    assert states(whom) == []


# --- whom is asked --------------------------------------------------------------------------------


def unnamed(whom: Whom) -> Whom:
    """Return whom one asks without --spool."""
    return replace(whom, spool=None)


def test_where_no_daemon_answers_its_spool_is_worked_on_and_that_is_said(
    whom: Whom, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(whom, 2)
    list_queue(unnamed(whom), Criteria(), 9, as_json=True)
    out, err = capsys.readouterr()
    assert len(objects(out)) == 2
    assert (
        err == f"relay: no daemon answers on {whom.admin}; this is about its spool, {whom.spool}\n"
    )
    assert give(unnamed(whom), asked("hold", is_all=True, is_confirmed=True)) == OK
    assert states(whom) == [State.HELD] * 2


@pytest.mark.parametrize("leftover", [False, True])
def test_the_socket_of_a_dead_daemon_answers_no_more_than_none(
    whom: Whom, capsys: pytest.CaptureFixture[str], *, leftover: bool
) -> None:
    if leftover:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(whom.admin))
    list_queue(unnamed(whom), Criteria(), 9, as_json=True)
    assert "no daemon answers" in capsys.readouterr().err


def test_the_spool_of_another_daemon_is_never_worked_on(
    whom: Whom, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replace(unnamed(whom), admin=whom.admin.with_name("other.sock"))
    assert exits(lambda: list_queue(other, Criteria(), 9, as_json=True)) == UNREACHABLE
    err = capsys.readouterr().err
    assert f"is of one that answers on {whom.admin}: name the spool" in err


def test_without_a_configuration_nothing_is_guessed(
    whom: Whom, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = replace(unnamed(whom), config=whom.config.with_name("nothing.yaml"))
    assert exits(lambda: list_queue(lost, Criteria(), 9, as_json=True)) == UNREACHABLE
    assert "nothing.yaml: name the spool of a stopped one with --spool" in capsys.readouterr().err
    whom.config.write_text("senders: []\n")
    assert exits(lambda: list_queue(unnamed(whom), Criteria(), 9, as_json=True)) == UNREACHABLE
    assert "relay.yaml cannot be used: " in capsys.readouterr().err


def test_whoever_gives_mail_away_must_know_the_senders(
    whom: Whom, capsys: pytest.CaptureFixture[str]
) -> None:
    (mail,) = filled(whom, 1)
    lost = replace(whom, config=whom.config.with_name("nothing.yaml"))
    order = asked("release", mail.queue_id, new_sender="billing")
    assert exits(lambda: give(lost, order)) == USAGE
    assert "which senders there are is not known" in capsys.readouterr().err


@pytest.mark.parametrize("named", [True, False])
def test_what_is_no_spool_is_not_made_one(
    tmp_path: Path, whom: Whom, capsys: pytest.CaptureFixture[str], *, named: bool
) -> None:
    for name in ("spool.db", "record.db"):
        (spool_of(whom) / name).unlink()
    asking = whom if named else unnamed(whom)
    code = exits(lambda: list_queue(asking, Criteria(), 9, as_json=True))
    assert code == (USAGE if named else UNREACHABLE)
    assert f"{whom.spool} is no spool: it has no spool.db" in capsys.readouterr().err
    assert not (spool_of(whom) / "spool.db").exists()
    nowhere = replace(whom, spool=tmp_path / "nowhere")
    assert exits(lambda: list_queue(nowhere, Criteria(), 9, as_json=True)) == USAGE
    assert not (tmp_path / "nowhere").exists()


def test_a_sick_record_is_told_in_a_line_each_time_and_keeps_nobody_from_holding_mail(
    whom: Whom, capfd: pytest.CaptureFixture[str]
) -> None:
    filled(whom, 2)
    (spool_of(whom) / "record.db").write_bytes(b"no database at all, but long enough" * 200)
    assert give(whom, asked("hold", is_all=True, is_confirmed=True)) == OK
    told = capfd.readouterr().err.splitlines()
    assert "record.db: file is not a database" in told[0]
    assert any(line == "relay: fault: where=audit, record.db cannot be opened" for line in told)
    assert all(line.startswith("relay: ") or line == "held: 2" for line in told), told
    assert len(told) < 8, "what came of it must not scroll away"
    assert states(whom) == [State.HELD, State.HELD]


def test_a_fault_of_ours_has_its_traceback(
    whom: Whom, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(whom, 1)

    async def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("relay.store.view.View.find", fails)
    exits(lambda: list_queue(whom, Criteria(), 9, as_json=True))
    assert "in fails\n    raise ZeroDivisionError" in capfd.readouterr().err


def test_two_at_once_are_refused(whom: Whom, capsys: pytest.CaptureFixture[str]) -> None:
    lock = SpoolLock(spool_of(whom))
    order = asked("drop", is_all=True, is_confirmed=True)
    for work in (
        lambda: give(whom, order),
        lambda: list_queue(whom, Criteria(), 9, as_json=True),
    ):
        assert exits(work) == TRY_LATER
        assert f"is in use by process {os.getpid()}" in capsys.readouterr().err
    lock.release()
    assert give(whom, order) == OK


def test_who_may_not_open_the_spool_is_told_so(
    whom: Whom, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may open everything, and tests may run as root.
    def refuse(_path: Path, **_: object) -> SpoolLock:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("relay.store.store._prepare", refuse)
    assert exits(lambda: list_queue(whom, Criteria(), 9, as_json=True)) == NOT_ALLOWED
    assert "Permission denied" in capsys.readouterr().err


def test_nothing_in_the_spool_belongs_to_somebody_else_after(whom: Whom) -> None:
    """What root makes in a spool of another user, that user's daemon could not open."""
    filled(whom, 3)
    spool = spool_of(whom)
    owner = (65534, 65534) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    places: Sequence[Path] = [spool, *spool.rglob("*")]
    for place in places:
        os.chown(place, *owner)
    assert give(whom, asked("drop", is_all=True, is_confirmed=True)) == OK
    found = {(place.stat().st_uid, place.stat().st_gid) for place in [spool, *spool.rglob("*")]}
    assert found == {owner}


def test_the_spool_is_let_go_whatever_happens(whom: Whom, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("relay.cli.queue.show_json", fails)
    with pytest.raises(ZeroDivisionError):
        list_queue(whom, Criteria(), 9, as_json=True)
    SpoolLock(spool_of(whom)).release()


def test_an_interruption_while_the_spool_is_opened_lets_it_go(
    whom: Whom, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_opened: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("relay.offline._Opened.wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list_queue(whom, Criteria(), 9, as_json=True)
    SpoolLock(spool_of(whom)).release()
