"""The writer: batches by arrival, the guilty alone, withdrawal in time."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from operator import methodcaller
from pathlib import Path
from typing import Any, Literal

import pytest

from relay.ports import SpoolError, SpoolFullError
from relay.store import thread as threads
from relay.store.batch import Batch, Operation
from relay.store.thread import BATCH
from relay.store.wal import Log
from relay.store.writer import Writer

Names = list[str]


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("CREATE TABLE IF NOT EXISTS fruit (name TEXT UNIQUE)")
    return connection


def insert(connection: sqlite3.Connection, names: Names) -> Names:
    """Insert the names of a batch, and tell how many there were together."""
    for name in names:
        connection.execute("INSERT INTO fruit VALUES (?)", (name,))
    return [f"{name} of {len(names)}" for name in names]


def count(connection: sqlite3.Connection) -> int:
    (found,) = connection.execute("SELECT count(*) FROM fruit").fetchone()
    assert isinstance(found, int)
    return found


class Bench:
    """A writer, what it told, and a way to keep its thread busy."""

    def __init__(self) -> None:
        self.commits: list[int] = []
        self.failures: list[BaseException] = []
        self.deaths: list[Exception] = []
        self.turns: list[tuple[bool, str]] = []
        self.writer = Writer(
            "test",
            monotonic=lambda: 1.0,
            committed=lambda operations, _: self.commits.append(operations),
            failed=self.failures.append,
            turned=lambda is_well, why: self.turns.append((is_well, why)),
            died=self.deaths.append,
        )

    async def come_round(self) -> None:
        """Return once the thread has done all that was asked of it before."""
        await self.writer.run(lambda _: None)

    async def busy(self) -> Callable[[], None]:
        """Keep the thread busy until what is returned is called."""
        began, go_on = threading.Event(), threading.Event()

        def work(_: sqlite3.Connection) -> None:
            began.set()
            go_on.wait()

        self.writer.post(work)
        await asyncio.to_thread(began.wait)
        return go_on.set


@asynccontextmanager
async def at_work(path: Path) -> AsyncIterator[Bench]:
    bench = Bench()
    await bench.writer.open(lambda: connect(path / "test.db"))
    try:
        yield bench
    finally:
        await bench.writer.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with at_work(tmp_path) as bench:
        yield bench


async def ends_of(bench: Bench, operations: list[Operation[Any]]) -> list[Any]:
    waits = (bench.writer.wait(operation) for operation in operations)
    return await asyncio.gather(*waits, return_exceptions=True)


async def test_what_arrives_during_a_commit_is_committed_together(bench: Bench) -> None:
    go_on = await bench.busy()
    operations = [bench.writer.submit(insert, f"apple {n}") for n in range(10)]
    await asyncio.sleep(0)
    go_on()
    results = [await bench.writer.wait(operation) for operation in operations]
    assert results == [f"apple {n} of 10" for n in range(10)]
    assert bench.commits == [1, 10]


async def test_what_is_submitted_in_one_pass_of_the_loop_is_committed_together(
    bench: Bench,
) -> None:
    await asyncio.gather(
        *(bench.writer.wait(bench.writer.submit(insert, f"apple {n}")) for n in range(5))
    )
    assert bench.commits == [5]


async def test_a_batch_is_bounded(bench: Bench) -> None:
    operations = [bench.writer.submit(insert, f"apple {n}") for n in range(BATCH + 1)]
    await asyncio.gather(*(bench.writer.wait(operation) for operation in operations))
    assert bench.commits == [BATCH, 1]


async def test_only_the_guilty_operation_of_a_batch_fails(bench: Bench) -> None:
    names = ("apple", "pear", "apple", "plum")
    operations: list[Operation[Any]] = [bench.writer.submit(insert, name) for name in names]

    def refuse(_: sqlite3.Connection) -> None:
        raise LookupError("no such fruit")

    operations.append(bench.writer.begin(refuse))
    ended = await ends_of(bench, operations)
    assert ended[:2] == ["apple of 1", "pear of 1"]
    assert isinstance(ended[2], SpoolError)
    assert "UNIQUE constraint" in str(ended[2])
    assert ended[3] == "plum of 1"
    assert isinstance(ended[4], LookupError)
    assert await bench.writer.run(count) == 3
    # SQLite's error is a failed commit; a refusal of our own is not. Neither makes the disk sick.
    assert [type(failure) for failure in bench.failures] == [sqlite3.IntegrityError]
    assert not bench.writer.health.sick


async def test_an_operation_can_be_withdrawn_until_the_writer_picks_it(bench: Bench) -> None:
    go_on = await bench.busy()
    kept, withdrawn = (bench.writer.submit(insert, name) for name in ("apple", "pear"))
    assert bench.writer.withdraw(withdrawn)
    assert bench.writer.withdraw(withdrawn)
    go_on()
    await bench.writer.wait(kept)
    assert not bench.writer.withdraw(kept)
    assert await bench.writer.run(count) == 1
    assert not withdrawn.has_ended


async def picked(bench: Bench) -> tuple[Operation[int], Callable[[], None]]:
    """An operation that the writer is at, and a way to let it go on."""
    began, go_on = threading.Event(), threading.Event()

    def work(connection: sqlite3.Connection) -> int:
        began.set()
        go_on.wait()
        connection.execute("INSERT INTO fruit VALUES ('apple')")
        return 42

    operation = bench.writer.begin(work)
    await asyncio.to_thread(began.wait)
    return operation, go_on.set


async def test_cancelling_in_time_withdraws(bench: Bench) -> None:
    for wait in (bench.writer.wait, bench.writer.see_through):
        go_on = await bench.busy()
        task = asyncio.create_task(wait(bench.writer.submit(insert, "apple")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on()
        assert await bench.writer.run(count) == 0


async def test_cancelling_too_late_ends_the_waiting_and_not_the_work(bench: Bench) -> None:
    operation, go_on = await picked(bench)
    task = asyncio.create_task(bench.writer.wait(operation))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on()
    assert await bench.writer.run(count) == 1


async def test_who_must_know_the_end_is_told_it_although_cancelled_too_late(bench: Bench) -> None:
    operation, go_on = await picked(bench)
    task = asyncio.create_task(bench.writer.see_through(operation))
    await asyncio.sleep(0)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
    go_on()
    assert await task == 42


async def test_a_cancellation_that_meets_the_result_does_not_lose_it(bench: Bench) -> None:
    operation, go_on = await picked(bench)
    task = asyncio.create_task(bench.writer.see_through(operation))

    def cancel() -> None:
        task.cancel()

    await asyncio.sleep(0)
    operation.then = lambda _: cancel()
    go_on()
    assert await task == 42


async def test_what_follows_a_commit_follows_although_nobody_waits(bench: Bench) -> None:
    followed = asyncio.Event()
    operation, go_on = await picked(bench)
    operation.then = lambda _: followed.set()
    operation.future.cancel()
    go_on()
    await followed.wait()
    assert operation.outcome() == 42


def full(_: sqlite3.Connection) -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise error


async def test_a_full_disk_fails_the_batch_and_shows_until_a_commit_succeeds(bench: Bench) -> None:
    ended = await ends_of(bench, [bench.writer.submit(insert, "apple"), bench.writer.begin(full)])
    assert all(isinstance(error, SpoolFullError) for error in ended)
    assert len(bench.failures) == 1
    assert bench.writer.health.sick
    bench.writer.probe()
    assert await bench.writer.run(count) == 0
    assert not bench.writer.health.sick


async def test_a_probe_writes_and_only_a_sick_writer_probes(bench: Bench, tmp_path: Path) -> None:
    bench.writer.probe()
    await bench.come_round()
    log = tmp_path / "test.db-wal"
    before = log.read_bytes()
    bench.writer.health.sick = True
    bench.writer.probe()
    await bench.come_round()
    assert log.read_bytes() != before


async def test_closing_finishes_what_was_submitted_and_empties_the_log(tmp_path: Path) -> None:
    async with at_work(tmp_path) as bench:
        operations = [bench.writer.submit(insert, f"apple {n}") for n in range(BATCH + 10)]
    assert all(operation.future.done() for operation in operations)
    assert not (tmp_path / "test.db-wal").exists()
    with pytest.raises(SpoolError, match=r"test\.db is closed"):
        bench.writer.submit(insert, "pear")
    await bench.writer.close()


async def test_a_writer_at_rest_folds_its_log_and_keeps_it_to_write_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folded = threading.Event()
    fold = Log.fold

    def watched(log: Log, how: Literal["PASSIVE", "TRUNCATE"]) -> None:
        fold(log, how)
        folded.set()

    monkeypatch.setattr(threads, "IDLE", 0.01)
    monkeypatch.setattr(Log, "fold", watched)
    async with at_work(tmp_path) as bench:
        await bench.writer.wait(bench.writer.submit(insert, "apple"))
        await asyncio.to_thread(folded.wait)
        length = (tmp_path / "test.db-wal").stat().st_size
        assert length > 0
        # What is in the database alone is all there is.
        shutil.copy(tmp_path / "test.db", tmp_path / "copy.db")
        with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
            assert count(copy) == 1
        await bench.writer.wait(bench.writer.submit(insert, "pear"))
        assert (tmp_path / "test.db-wal").stat().st_size == length


async def test_a_full_disk_gets_the_space_of_the_log_back(bench: Bench, tmp_path: Path) -> None:
    await bench.writer.wait(bench.writer.submit(insert, "apple"))
    log = tmp_path / "test.db-wal"
    assert log.stat().st_size > 0
    with pytest.raises(SpoolFullError):
        await bench.writer.run(full)
    assert log.stat().st_size == 0


async def test_a_connection_that_fails_is_told_to_whoever_opens(tmp_path: Path) -> None:
    def refuse() -> sqlite3.Connection:
        raise SpoolError("not today")

    bench = Bench()
    with pytest.raises(SpoolError, match="not today"):
        await bench.writer.open(refuse)
    await bench.writer.close()


async def test_nobody_waits_for_a_thread_that_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_work(tmp_path) as bench:
        go_on = await bench.busy()

        def fail(*_: Any) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(bench.writer._thread, "_pick", fail)
        ended: list[Operation[Any]] = []
        operation = bench.writer.submit(insert, "apple", ended.append)
        go_on()
        with pytest.raises(SpoolError, match=r"test\.db cannot be written any more: .*a bug"):
            await bench.writer.wait(operation)
        assert ended == [operation]
        assert bench.writer.health.sick
        assert [str(death) for death in bench.deaths] == ["a bug"]
        with pytest.raises(SpoolError, match="cannot be written any more"):
            await bench.come_round()
        bench.writer.probe()


async def test_what_a_thread_was_at_when_it_died_fails_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_work(tmp_path) as bench:
        operation, go_on = await picked(bench)
        late = bench.writer.submit(insert, "pear")

        def fail(*_: Any) -> None:
            raise RuntimeError("no clock")

        monkeypatch.setattr(Batch, "run", fail)
        go_on()
        with pytest.raises(SpoolError, match="no clock"):
            await bench.writer.wait(late)
        assert operation.has_ended
        assert len(bench.deaths) == 1


async def test_who_must_know_the_end_learns_of_a_death_although_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_work(tmp_path) as bench:
        began, go_on = threading.Event(), threading.Event()

        def die(*_: Any) -> None:
            began.set()
            go_on.wait()
            raise RuntimeError("a bug")

        monkeypatch.setattr(Batch, "run", die)
        task = asyncio.create_task(bench.writer.see_through(bench.writer.submit(insert, "apple")))
        await asyncio.to_thread(began.wait)
        task.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(SpoolError, match="a bug"):
            await task


@pytest.mark.parametrize(
    ("code", "sick"),
    [
        (sqlite3.SQLITE_IOERR_WRITE, True),
        (sqlite3.SQLITE_IOERR_FSYNC, True),
        (sqlite3.SQLITE_IOERR_READ, False),
        (sqlite3.SQLITE_CORRUPT, False),
    ],
)
async def test_what_cannot_be_read_keeps_nothing_from_being_committed(
    bench: Bench, code: int, *, sick: bool
) -> None:
    def fail(_: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("trouble")
        error.sqlite_errorcode = code
        raise error

    operations: list[Operation[Any]] = [bench.writer.submit(insert, "apple")]
    operations.append(bench.writer.begin(fail))
    ended = await ends_of(bench, operations)
    assert isinstance(ended[0], SpoolError) is sick
    assert isinstance(ended[1], SpoolError)
    assert bench.writer.health.sick is sick
    with pytest.raises(SpoolError):
        await bench.writer.run(fail)
    assert bench.writer.health.sick is sick


async def test_free_pages_are_counted(tmp_path: Path) -> None:
    async with at_work(tmp_path) as bench:
        for statement in ("INSERT INTO fruit VALUES (zeroblob(100000))", "DELETE FROM fruit"):
            await bench.writer.run(methodcaller("execute", statement))
        bench.writer._thread._measured_at = float("-inf")
        await bench.come_round()
        await bench.come_round()
        assert bench.writer.free_octets >= 100_000
