"""The log is cut past readers, free pages go back in small steps, the disk is measured."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from relay.operators import Verb
from relay.ports import SpoolError
from relay.store import orders, thread, writer
from relay.store.reserve import Reserve
from relay.store.selecting import newest
from relay.store.wal import Log
from tests.fault.disks import sqlite_error
from tests.unit.store.stores import BILLING, Opened, opened, relayed


@pytest.fixture(name="spool")
async def _spool(tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(tmp_path) as spool:
        yield spool


def look_again(spool: Opened) -> None:
    spool.writer._thread._measured_at = float("-inf")


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT max(i) FROM n"


async def test_a_log_too_long_is_cut_past_whoever_reads(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = spool.store.queue._reader
    log = spool.path / "spool.db-wal"
    asked = threading.Semaphore(0)

    def read_for_ever(connection: sqlite3.Connection) -> None:
        connection.execute("SELECT count(*) FROM entry").fetchall()
        asked.release()
        connection.execute(ENDLESS).fetchall()

    reading = asyncio.create_task(reader.ask(read_for_ever))
    for _ in ("when it is asked", "when it is asked once more"):
        await asyncio.to_thread(asked.acquire)
        monkeypatch.setattr(thread, "LONGEST", 1 << 40)
        for _ in range(50):
            await spool.accept(content=b"x" * 10_000)
        assert log.stat().st_size > 500_000
        monkeypatch.setattr(thread, "LONGEST", 500_000)
        look_again(spool)
        await spool.come_round()
        await spool.come_round()
        assert log.stat().st_size < 100_000
    with pytest.raises(SpoolError, match="interrupted"):
        await reading
    # Whoever asks again is answered.
    assert sum((await spool.store.queue.counts()).values()) == 100


async def test_a_question_that_the_log_is_cut_past_is_asked_once_more(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or an order about a long queue would end half way for no reason of its own."""
    ids = [(await spool.accept()).queue_id for _ in range(3)]
    began, questions = threading.Event(), []

    def slow_the_first_time(connection: sqlite3.Connection) -> object:
        questions.append(connection)
        if len(questions) == 1:
            began.set()
            connection.execute(ENDLESS).fetchall()
        return newest(connection)

    monkeypatch.setattr(orders, "newest", slow_the_first_time)
    holding = asyncio.create_task(spool.order(Verb.HOLD, sender=BILLING))
    await asyncio.to_thread(began.wait)
    monkeypatch.setattr(thread, "LONGEST", 1)
    look_again(spool)
    await spool.come_round()
    assert {one.queue_id for one in await holding} == set(ids), "the order broke off"
    assert len(questions) == 2, "nothing was interrupted"


async def test_what_the_disk_says_to_a_reader_is_what_is_told(spool: Opened) -> None:
    """SQLite ends the transaction by itself then; that is no news to an operator."""

    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")
        raise sqlite_error(sqlite3.SQLITE_IOERR_READ)

    with pytest.raises(SpoolError, match="injected") as caught:
        await spool.store.queue._reader.ask(fails)
    assert getattr(caught.value.__cause__, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_READ


async def test_a_log_that_somebody_else_reads_is_let_be(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = Log.cut
    other = sqlite3.connect(spool.path / "spool.db", isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM entry").fetchall()
    for _ in range(20):
        await spool.accept(content=b"x" * 10_000)
    monkeypatch.setattr(thread, "LONGEST", 1)
    cuts: list[None] = []
    monkeypatch.setattr(Log, "cut", lambda log, readers: cuts.append(cut(log, readers)))
    for _ in range(3):
        look_again(spool)
        await spool.come_round()
        await spool.come_round()
    assert len(cuts) == 1, "our own readers are broken off for nothing"
    mail = await spool.accept()
    assert (await spool.show(mail)).mail == mail
    assert (await spool.store.measure()).spool_log > 100_000
    other.close()
    spool.clock.advance(timedelta(minutes=1))
    look_again(spool)
    await spool.come_round()
    await spool.come_round()
    assert (spool.path / "spool.db-wal").stat().st_size < 100_000


async def test_free_pages_go_back_to_the_disk_in_steps_when_there_is_nothing_else_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread, "IDLE", 0.01)
    idle = asyncio.Event()
    fold, loop = Log.fold, asyncio.get_running_loop()

    def watched(log: Log, how: str) -> None:
        fold(log, how)  # type: ignore[arg-type]
        loop.call_soon_threadsafe(idle.set)

    async with opened(tmp_path) as spool:
        for _ in range(300):
            await spool.accept(content=b"x" * 20_000)
        for claim in await spool.claim(300):
            await spool.settle(claim, relayed())
        look_again(spool)
        # It is looked at when a batch is done, and whoever waits for the batch is told before.
        await spool.come_round()
        await spool.come_round()
        free = spool.writer.free_octets
        assert free > 300 * 20_000
        assert await spool.store.shrink() == 0, "so little is better kept for the mail to come"
        monkeypatch.setattr(writer, "_KEPT_FREE", 1 << 20)
        began, go_on = threading.Event(), threading.Event()

        def dawdle(_: sqlite3.Connection) -> None:
            began.set()
            go_on.wait()

        spool.writer.post(dawdle)
        await asyncio.to_thread(began.wait)
        assert await spool.store.shrink() == 0, "somebody else's commit would wait"
        go_on.set()
        monkeypatch.setattr(Log, "fold", watched)
        steps = []
        while spool.writer.free_octets > 1 << 20:
            idle.clear()
            await spool.come_round()
            await idle.wait()
            # Nothing, where the rest that was seen is over already.
            steps.append(await spool.writer.shrink())
            look_again(spool)
            await spool.come_round()
        assert max(steps) <= 256 * 4096
        assert sum(steps) >= free - (2 << 20)
    assert (tmp_path / "spool.db").stat().st_size < 3 << 20


async def test_the_disk_is_measured(spool: Opened) -> None:
    await spool.accept(content=b"x" * 10_000)
    look_again(spool)
    await spool.come_round()
    await spool.come_round()
    found = await spool.store.measure()
    assert found.free > 0
    assert found.floor == 0
    assert found.reserve == 1 << 16
    assert found.spool_log > 10_000
    assert found.backlog.outbox == 0
    assert found.spool_is_well
    assert found.record_is_well


def test_a_reserve_that_cannot_be_had_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = Reserve(tmp_path, 1 << 16)
    reserve.make()
    reserve.make()
    assert reserve.octets == (tmp_path / "reserve").stat().st_size == 1 << 16
    assert reserve.release()
    assert not reserve.release()
    assert reserve.octets == 0
    with pytest.raises(OSError, match=r"space|large"):
        Reserve(tmp_path, 1 << 60).make()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [None, sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_CORRUPT])
async def test_what_fails_for_no_want_of_room_gives_no_reserve_up(
    spool: Opened, code: int | None
) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        if code is None:
            connection.execute("no SQL")
            return
        error = sqlite3.OperationalError("one page")
        error.sqlite_errorcode = code
        raise error

    with pytest.raises(SpoolError):
        await spool.writer.run(fail, is_outcome=True)
    assert (spool.path / "reserve").exists()
    assert spool.writer.is_well
