"""Operators at the queue of a real daemon: held is not sent, released is sent once, dropped never."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import smtplib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from relay.clock import SystemClock
from relay.mail.entry import State
from relay.mail.envelope import SenderName
from relay.operators import Verb
from relay.simulator import Hang, Refuse, Simulator
from tests.system.conftest import StartRelay
from tests.system.house import CLI, ROOT, Relay
from tests.unit.store.stores import LARGE, opened

MAIL = b"From: app@example.com\r\nMessage-ID: <%d@erp.example.com>\r\nSubject: Hi\r\n\r\nHi\r\n"
MANY = 20_000


def send(port: int, *recipients: str, number: int = 1) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        for recipient in recipients:
            client.sendmail("app@example.com", [recipient], MAIL % number)


async def accept(relay: Relay, *recipients: str, number: int = 1) -> None:
    await asyncio.to_thread(send, relay.ports["legacy"], *recipients, number=number)


async def queued(relay: Relay, *words: str) -> list[dict[str, Any]]:
    """Return the entries of a listing."""
    code, out, err = await relay.cli("queue", "list", "--json", *words)
    assert code == 0, err
    return [json.loads(line) for line in out.splitlines()]


async def traced(relay: Relay, key: str, *words: str) -> list[dict[str, Any]]:
    """Return the facts of a trace."""
    code, out, err = await relay.cli("trace", key, "--json", *words)
    assert code == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    return [line for line in lines if line["type"] == "fact"]


async def until_done(relay: Relay, *words: str) -> str:
    """Give an order again while mail is in flight, as its exit code says; return its last words."""
    while True:
        code, _, err = await relay.cli("queue", *words)
        if code != 75:
            assert code == 0, err
            return err


def recipients(simulator: Simulator) -> list[str]:
    return sorted(str(message.recipients[0]) for message in simulator.messages)


async def test_held_is_not_sent_released_is_sent_once_and_dropped_never(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    async with simulator.unreachable():
        relay = await start_relay(first_retry="1s")
        await accept(relay, "held@example.net", number=1)
        await accept(relay, "dropped@example.net", number=2)
        await relay.logged("account.suspended")
        hold = ("hold", "--address", "held@example.net", "--reason", "wrong template", "--yes")
        assert "held: 1" in await until_done(relay, *hold)
        drop = ("drop", "--address", "dropped@example.net", "--reason", "sent by hand", "--yes")
        assert "dropped: 1" in await until_done(relay, *drop)
    # It is due later than both were.
    await accept(relay, "other@example.net", number=3)
    await simulator.received(1)
    (entry,) = await queued(relay)
    assert (entry["state"], entry["due_at"]) == ("held", None)
    assert entry["reason"].endswith(": wrong template")
    assert recipients(simulator) == ["other@example.net"]

    assert (await relay.cli("queue", "release", entry["queue_id"]))[0] == 0
    await simulator.received(2)
    await relay.logged("mail.relayed", count=2)
    assert await queued(relay) == []
    assert recipients(simulator) == ["held@example.net", "other@example.net"]
    facts = [line["fact"] for line in await traced(relay, entry["queue_id"])]
    assert [fact for fact in facts if fact != "deferred"] == [
        "accepted",
        "held",
        "released",
        "relayed",
    ]
    *_, last = await traced(relay, "<2@erp.example.com>")
    assert (last["fact"], last["recipient"]) == ("dropped", "dropped@example.net")
    assert last["detail"].endswith(": sent by hand")
    told = await relay.logged("queue.dropped")
    assert (told["level"], told["reason"], told["results"]) == (
        "warning",
        "sent by hand",
        {"changed": 1},
    )


async def test_what_failed_goes_out_once_the_fault_is_lifted(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    simulator.fail(Refuse("MessageRejected", "Illegal content"), action="SendRawEmail")
    relay = await start_relay()
    await accept(relay, "jane@example.net")
    await relay.logged("mail.failed")
    (entry,) = await queued(relay, "--state", "failed", "--reason-matches", "illegal CONTENT")
    code, out, err = await relay.cli("queue", "shape", "--by", "state", "--json")
    assert code == 0, err
    assert [json.loads(line)["name"] for line in out.splitlines()] == ["", "failed"]
    words = ("--state", "failed", "--newer-than", "1h", "--reason", "mended")
    assert (await relay.cli("queue", "retry", *words))[0] == 2
    code, _, err = await relay.cli("queue", "retry", *words, "--yes")
    assert (code, err) == (0, "due now: 1\n")
    await simulator.received(1)
    await relay.logged("mail.relayed")
    facts = [line["fact"] for line in await traced(relay, entry["queue_id"])]
    assert facts == ["accepted", "failed", "retried", "relayed"]


@pytest.mark.P3
async def test_a_call_that_ses_is_answering_is_not_called_back(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    simulator.fail(Hang(), action="SendRawEmail")
    relay = await start_relay()
    await accept(relay, "jane@example.net")
    await simulator.wait_for(lambda: simulator.hung == 1)
    for verb in ("drop", "hold", "retry", "release"):
        code, _, err = await relay.cli("queue", verb, "--all", "--reason", "x", "--yes")
        assert code == 75
        assert "in flight: not called back; ask again in a moment: 1" in err
    simulator.release()
    await relay.logged("mail.relayed")
    code, _, err = await relay.cli("queue", "drop", "--all", "--reason", "x", "--yes")
    assert (code, err) == (0, "nothing is selected\n")
    assert simulator.taken == 1


async def test_at_a_terminal_the_number_is_asked_for(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    async with simulator.unreachable():
        relay = await start_relay(first_retry="1h")
        await accept(relay, "a@example.net", "b@example.net")
        await relay.logged("mail.deferred", count=2)
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *(*CLI, "queue", "drop", "--sender", "app", "--reason", "x"),
            cwd=ROOT,
            env={**relay.env, "RELAY_ADMIN": str(relay.config.parent / "admin.sock")},
            stdin=theirs,
            stdout=asyncio.subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        said = b""
        while b"Type 2 to drop them: " not in said:
            said += await asyncio.to_thread(os.read, ours, 1000)
        os.write(ours, b"2\n")
        assert await process.wait() == 0
        os.close(ours)
        assert await queued(relay) == []


# --- without a daemon -----------------------------------------------------------------------------


async def test_a_stopped_spool_is_worked_on_and_the_daemon_finds_it_so(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    async with simulator.unreachable():
        relay = await start_relay(first_retry="1s")
        await accept(relay, "a@example.net", "b@example.net")
        await relay.logged("account.suspended")
        spool = str(relay.config.parent / "spool")
        # While it runs, the spool is its own.
        code, _, err = await relay.cli("queue", "list", "--spool", spool)
        assert code == 75
        assert f"in use by process {relay.pid}" in err
        assert await relay.stop() == 0
    uptime, _ = times(Path(spool))
    config = ("--config", str(relay.config))
    code, _, err = await relay.cli("queue", "hold", "--all", "--reason", "x", "--yes", *config)
    assert code == 0
    assert err.splitlines()[0].endswith(f"this is about its spool, {spool}")
    entries = await queued(relay, "--spool", spool, "--state", "held")
    assert len(entries) == 2
    released, kept = entries
    code, _, err = await relay.cli("queue", "release", released["queue_id"], "--spool", spool)
    assert code == 0, err
    facts = await traced(relay, kept["queue_id"], "--spool", spool)
    assert facts[-1]["fact"] == "held"
    # No mail has grown older, and what was let go has that in its row: it is tried before its end.
    assert times(Path(spool)) == (uptime, {kept["queue_id"]: 0, released["queue_id"]: uptime})
    await relay.start()
    (message,) = await simulator.received(1)
    await relay.logged("mail.relayed")
    assert str(message.recipients[0]) == released["recipients"][0]["address"]
    assert [entry["queue_id"] for entry in await queued(relay)] == [kept["queue_id"]]


def times(directory: Path) -> tuple[int, dict[str, int]]:
    """Return how long the spool has been open in all, and at which of it each mail was let go."""
    with closing(sqlite3.connect(directory / "spool.db")) as spool:
        (uptime,) = spool.execute("SELECT uptime FROM service").fetchone()
        return uptime, dict(spool.execute("SELECT queue_id, freed_up FROM entry").fetchall())


# --- a long queue, and kill -9 --------------------------------------------------------------------


async def fill(directory: Path, count: int) -> None:
    """Have many held mails in the spool of a daemon that is not running, some in files."""
    async with opened(directory, SystemClock()) as spool:  # type: ignore[arg-type]
        await spool.fill(count, sender=SenderName("app"))
        for _ in range(20):
            await spool.accept(content=LARGE, sender=SenderName("app"))
        await spool.order(Verb.HOLD, states=frozenset({State.READY}))


def check(directory: Path, count: int) -> tuple[int, int]:
    """Assert that a stopped spool is consistent; return how much mail is there, and was dropped."""
    with closing(sqlite3.connect(directory / "spool.db")) as spool:
        assert spool.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        ids = {row[0] for row in spool.execute("SELECT queue_id FROM entry")}
        numbers = {row[0] for row in spool.execute("SELECT id FROM entry")}
        for table in ("recipient", "content"):
            rows = {row[0] for row in spool.execute(f"SELECT entry FROM {table}")}  # noqa: S608
            assert rows <= numbers, f"rows of {table} are left of mail that is gone"
        assert {row[0] for row in spool.execute("SELECT entry FROM recipient")} == numbers
        tally = spool.execute("SELECT coalesce(sum(entries), 0) FROM tally").fetchone()[0]
        assert tally == len(ids)
        files = {row[0] for row in spool.execute("SELECT queue_id FROM entry WHERE in_file")}
        left = spool.execute("SELECT queue_id FROM outbox WHERE fact = 'dropped'").fetchall()
    with closing(sqlite3.connect(directory / "record.db")) as record:
        dropped = record.execute("SELECT queue_id FROM ledger WHERE fact = 'dropped'").fetchall()
    gone = {row[0] for row in [*left, *dropped]}
    # Each is in one of the two, and none in both.
    assert len(ids) + len(gone) == count
    assert not ids & gone
    assert files <= {path.name for path in (directory / "content").iterdir()}
    return len(ids), len(gone)


async def begin_drop(relay: Relay) -> asyncio.subprocess.Process:
    """Begin to drop all mail; return once the first of it is told to be gone."""
    process = await asyncio.create_subprocess_exec(
        *(*CLI, "queue", "drop", "--all", "--reason", "junk", "--yes", "--json"),
        cwd=ROOT,
        env={**relay.env, "RELAY_ADMIN": str(relay.config.parent / "admin.sock")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    first = json.loads(await process.stdout.readline())
    assert (first["type"], first["result"]) == ("mail", "changed")
    return process


@pytest.mark.P1
@pytest.mark.timeout(300)
@pytest.mark.parametrize("killed", ["command", "daemon"])
async def test_a_kill_in_the_middle_leaves_a_whole_queue_and_the_verb_can_be_repeated(
    start_relay: StartRelay, simulator: Simulator, tmp_path: Path, killed: str
) -> None:
    count = MANY + 20
    await fill(tmp_path / "spool", MANY)
    relay = await start_relay()
    process = await begin_drop(relay)
    if killed == "command":
        process.kill()
        await process.communicate()
        told = await relay.logged("queue.dropped", is_whole=False)
        left = len(await queued(relay))
        assert told["results"] == {"changed": count - left}
        assert await relay.stop() == 0
        assert check(tmp_path / "spool", count) == (left, count - left)
    else:
        await relay.kill()
        _, said = await process.communicate()
        assert process.returncode == 75
        assert b"the same again goes on with it" in said
        left, _ = check(tmp_path / "spool", count)
    assert 0 < left < count, "the kill came too late to be in the middle"
    await relay.start()
    code, _, err = await relay.cli("queue", "drop", "--all", "--reason", "junk", "--yes")
    assert (code, err.splitlines()[-1]) == (0, f"dropped: {left}")
    assert await queued(relay) == []
    await accept(relay, "jane@example.net")
    await simulator.received(1)
    await relay.logged("mail.relayed")
    assert await relay.stop() == 0
    assert check(tmp_path / "spool", count) == (0, count)
    assert not list((tmp_path / "spool" / "content").iterdir())


@pytest.mark.P6
@pytest.mark.timeout(300)
async def test_two_orders_at_once_are_refused_by_the_daemon(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    await fill(tmp_path / "spool", MANY)
    relay = await start_relay()
    process = await begin_drop(relay)
    # It goes on only as far as somebody reads what it says.
    process.send_signal(signal.SIGSTOP)
    code, _, err = await relay.cli("queue", "retry", "--all", "--reason", "y", "--yes")
    assert code == 75
    assert "another order is under way: drop by" in err
    process.send_signal(signal.SIGCONT)
    out, _ = await process.communicate()
    assert json.loads(out.splitlines()[-1])["results"] == {"changed": MANY + 20}
