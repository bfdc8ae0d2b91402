"""The spool directory as one thing: both databases and all that uses them, opened and closed.

Knows the order in which the parts start and stop. Does not know what they do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from sqlite3 import Connection
from types import TracebackType
from typing import Final, Self

from relay.facts import Facts
from relay.mail.envelope import SenderName
from relay.ports import Clock, SpoolError
from relay.store import schema
from relay.store.backlog import Backlogs
from relay.store.content import Contents
from relay.store.disk import Room, file_system_of, refuse_unsafe, sync_directory
from relay.store.lock import SpoolLock
from relay.store.mover import Mover
from relay.store.queue import EntryQueue
from relay.store.reader import Reader
from relay.store.record import StoredRecord
from relay.store.recovery import Recovered, Recovery
from relay.store.spool import AcceptedMail
from relay.store.suppression import SuppressionList
from relay.store.writer import Writer

SPOOL_DATABASE: Final = "spool.db"
RECORD_DATABASE: Final = "record.db"


class Store:
    """An open spool directory. Made by `open`; closed by `close`, or by leaving it as a context."""

    def __init__(
        self,
        *,
        spool: AcceptedMail,
        queue: EntryQueue,
        record: StoredRecord,
        suppressions: SuppressionList,
        recovered: Recovered,
        parts: contextlib.AsyncExitStack,
    ) -> None:
        self.spool = spool
        self.queue = queue
        self.record = record
        self.suppressions = suppressions
        self.recovered = recovered
        self.on_death: Callable[[Exception], None] = lambda _: None
        """Called in the loop if a writer ends by a fault of ours: nothing more can be kept."""
        self._parts = parts

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        clock: Clock,
        facts: Facts,
        node: str,
        ambiguous_wait: timedelta,
        min_free: float = 0.1,
        unsafe: bool = False,
    ) -> Self:
        """Open a spool directory, making it where there is none, and put it in order.

        `ambiguous_wait` is how long an attempt that a crash cut short waits before it is repeated;
        `min_free` the part of the disk that stays free; `unsafe` allows file systems on which mail
        would be lost. Raises SpoolError with words for an operator; an OSError is its cause.
        """
        try:
            return await cls._open(
                path,
                clock=clock,
                facts=facts,
                node=node,
                ambiguous_wait=ambiguous_wait,
                min_free=min_free,
                unsafe=unsafe,
            )
        except OSError as error:
            raise SpoolError(f"spool {path} cannot be used: {error.strerror}") from error

    @classmethod
    async def _open(
        cls,
        path: Path,
        *,
        clock: Clock,
        facts: Facts,
        node: str,
        ambiguous_wait: timedelta,
        min_free: float,
        unsafe: bool,
    ) -> Self:
        async with contextlib.AsyncExitStack() as parts:
            stores: list[Self] = []

            def died(error: Exception) -> None:
                facts.fault("spool", error)
                for store in stores:
                    store.on_death(error)

            opened_at = clock.now()
            lock = await asyncio.to_thread(_prepare, path, unsafe=unsafe)
            parts.callback(lock.release)
            backlogs = Backlogs()
            contents = Contents(path, facts.spool_failed)
            parts.push_async_callback(contents.close)

            recovered: list[Recovered] = []
            trouble: list[OSError] = []
            spool_writer = Writer(
                "spool",
                monotonic=clock.monotonic,
                committed=facts.spool_committed,
                failed=facts.spool_failed,
                died=died,
            )
            parts.push_async_callback(spool_writer.close)

            def connect_spool() -> Connection:
                connection = _connect(path / SPOOL_DATABASE, schema.SPOOL)
                with _closed_on_error(connection):
                    recovery = Recovery(
                        connection, path, now=opened_at, ambiguous_wait=ambiguous_wait
                    )
                    recovered.append(recovery.run())
                    trouble.extend(recovery.trouble)
                    backlogs.load(connection)
                return connection

            await spool_writer.open(connect_spool)

            record_reader = Reader(path / RECORD_DATABASE)
            suppressions = SuppressionList(record_reader)
            # Whoever waits for it is told; its trouble is not the spool's.
            record_writer = Writer(
                "record",
                monotonic=clock.monotonic,
                committed=lambda _batch, _seconds: None,
                failed=lambda _error: None,
                died=died,
            )
            parts.push_async_callback(record_writer.close)

            def connect_record() -> Connection:
                connection = _connect(path / RECORD_DATABASE, schema.RECORD)
                with _closed_on_error(connection):
                    suppressions.load(connection)
                return connection

            await record_writer.open(connect_record)
            # The databases are there; now their names are on disk too.
            await asyncio.to_thread(sync_directory, path)

            queue_reader, outbox_reader = (
                Reader(path / SPOOL_DATABASE),
                Reader(path / SPOOL_DATABASE),
            )
            for reader in (queue_reader, outbox_reader, record_reader):
                parts.push_async_callback(reader.close)
            mover = Mover(spool_writer, outbox_reader, record_writer, facts)
            parts.push_async_callback(mover.close)
            mover.start()
            facts.spool_recovered(*recovered[0])
            for error in trouble[:1]:
                facts.spool_failed(error)
            store = cls(
                spool=AcceptedMail(
                    spool_writer,
                    contents,
                    Room(path, min_free=min_free, clock=clock),
                    backlogs,
                    clock=clock,
                    facts=facts,
                ),
                queue=EntryQueue(
                    spool_writer,
                    queue_reader,
                    contents,
                    backlogs,
                    facts=facts,
                    opened_at=opened_at,
                    on_settled=mover.wake,
                ),
                record=StoredRecord(
                    record_writer,
                    record_reader,
                    suppressions,
                    clock=clock,
                    node=node,
                    catch_up=mover.catch_up,
                ),
                suppressions=suppressions,
                recovered=recovered[0],
                parts=parts.pop_all(),
            )
            stores.append(store)
            return store

    @property
    def on_commit(self) -> Callable[[SenderName], None]:
        """Called in the loop when a sender's mail has become durable, and so is due."""
        return self.spool.on_commit

    @on_commit.setter
    def on_commit(self, notice: Callable[[SenderName], None]) -> None:
        self.spool.on_commit = notice

    async def close(self) -> None:
        """Finish what was begun, empty the logs, and let go of the directory."""
        await self._parts.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def _prepare(path: Path, *, unsafe: bool) -> SpoolLock:
    """Make the directories and lock them."""
    if not path.is_dir():
        path.mkdir(mode=0o700, parents=True)
        sync_directory(path.parent)
    if not unsafe:
        refuse_unsafe(path, file_system_of(path))
    for name in ("content", "corrupt"):
        (path / name).mkdir(mode=0o700, exist_ok=True)
    return SpoolLock(path)


def _connect(path: Path, migrations: tuple[schema.Migration, ...]) -> Connection:
    connection = schema.connect(path)
    with _closed_on_error(connection):
        schema.migrate(connection, migrations)
    return connection


@contextlib.contextmanager
def _closed_on_error(connection: Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise
