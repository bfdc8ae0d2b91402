"""The spool directory as one thing: both databases and all that uses them, opened and closed.

Knows the order in which the parts start and stop. Does not know what they do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from relay.facts import Facts
from relay.mail.envelope import SenderName
from relay.ports import Clock, SpoolError
from relay.store import reserve as reserving
from relay.store.backlog import Backlogs
from relay.store.callbacks import StoredCallbacks, Wants
from relay.store.content import Contents
from relay.store.disk import (
    Room,
    file_system_of,
    make_directory,
    make_part,
    refuse_unsafe,
    sync_directory,
)
from relay.store.lock import SpoolLock
from relay.store.measure import Measure, waiting
from relay.store.mover import Mover
from relay.store.notes import StoredNotes
from relay.store.opening import RECORD_DATABASE, SPOOL_DATABASE, Opening
from relay.store.orders import StoredOrders
from relay.store.pauses import StoredPauses
from relay.store.queue import EntryQueue
from relay.store.reader import Reader
from relay.store.record import StoredRecord
from relay.store.recovery import Recovered
from relay.store.reputation import StoredReputation
from relay.store.reserve import Reserve
from relay.store.shelf import Shelf
from relay.store.spool import AcceptedMail
from relay.store.suppression import SuppressionList
from relay.store.syncing import StoredSync
from relay.store.upkeep import StoredUpkeep
from relay.store.uptime import Uptime
from relay.store.writer import Writer


@dataclass(kw_only=True, slots=True)
class Store:
    """An open spool directory. Made by `open`; closed by `close`, or by leaving it as a context.

    `writer` and `record_writer` are for whoever sees whether they come round. `measure` looks at
    what the directory takes and has left. `shrink` gives some free pages back to the disk; it is to
    be called by whoever has the time (Writer). `on_death` is called in the loop if a writer ends by
    a fault of ours: nothing more can be kept.
    """

    spool: AcceptedMail
    queue: EntryQueue
    shelf: Shelf
    orders: StoredOrders
    record: StoredRecord
    suppressions: SuppressionList
    upkeep: StoredUpkeep
    notes: StoredNotes
    pauses: StoredPauses
    callbacks: StoredCallbacks
    reputation: StoredReputation
    sync: StoredSync
    recovered: Recovered
    writer: Writer
    record_writer: Writer
    measure: Callable[[], Awaitable[Measure]]
    shrink: Callable[[], Awaitable[int]]
    on_death: Callable[[Exception], None] = lambda _: None
    _parts: contextlib.AsyncExitStack

    @classmethod
    async def open(  # noqa: PLR0913 - what it is opened for differs in many ways
        cls,
        path: Path,
        *,
        clock: Clock,
        facts: Facts,
        node: str,
        ambiguous_wait: timedelta,
        min_free: float = 0.1,
        reserve: int = reserving.SIZE,
        unsafe: bool = False,
        is_running: bool = True,
        wants_callbacks: Wants = lambda _: False,
    ) -> Self:
        """Open a spool directory, making it where there is none, and put it in order.

        `ambiguous_wait` is how long an attempt that a crash cut short waits before it is repeated;
        `min_free` the part of the disk that stays free; `reserve` the octets put by for outcomes;
        `unsafe` allows file systems on which mail would be lost; `is_running` is false where no
        mail is sent, and so none grows older; `wants_callbacks` tells which senders' applications
        are told what became of their mail. Raises SpoolError with words for an operator; an
        OSError is its cause. A record.db that cannot be opened is no error: that is told, and it is
        tried again.
        """
        try:
            return await cls._open(
                path,
                clock=clock,
                facts=facts,
                node=node,
                ambiguous_wait=ambiguous_wait,
                min_free=min_free,
                reserve=reserve,
                unsafe=unsafe,
                is_running=is_running,
                wants_callbacks=wants_callbacks,
            )
        except OSError as error:
            what = f" ({error.filename})" if error.filename else ""
            raise SpoolError(f"spool {path} cannot be used: {error.strerror}{what}") from error

    @classmethod
    async def _open(  # noqa: PLR0913 - as above
        cls,
        path: Path,
        *,
        clock: Clock,
        facts: Facts,
        node: str,
        ambiguous_wait: timedelta,
        min_free: float,
        reserve: int,
        unsafe: bool,
        is_running: bool,
        wants_callbacks: Wants,
    ) -> Self:
        async with contextlib.AsyncExitStack() as parts:
            stores: list[Self] = []

            def died(error: Exception) -> None:
                facts.fault("spool", error)
                for store in stores:
                    store.on_death(error)

            lock = await asyncio.to_thread(_prepare, path, unsafe=unsafe)
            parts.callback(lock.release)
            contents = Contents(path, facts.spool_failed)
            parts.push_async_callback(contents.close)
            backlogs, put_by = Backlogs(), Reserve(path, reserve)
            uptime = Uptime(clock.monotonic if is_running else lambda: 0.0)
            opening = Opening(path, clock, facts, died, parts)
            spool_writer, recovered = await opening.spool(
                backlogs, put_by, uptime, ambiguous_wait=ambiguous_wait
            )
            parts.push_async_callback(_write_down, spool_writer, uptime)
            record_reader = Reader(path / RECORD_DATABASE)
            suppressions = SuppressionList(record_reader, path / "suppressed", clock.now)
            record_writer = await opening.record(suppressions)
            # The databases are there; now their names are on disk too.
            await asyncio.to_thread(sync_directory, path)

            queue_reader, outbox_reader, upkeep_reader = (
                Reader(path / SPOOL_DATABASE),
                Reader(path / SPOOL_DATABASE),
                Reader(path / SPOOL_DATABASE),
            )
            for reader, writer in (
                (queue_reader, spool_writer),
                (outbox_reader, spool_writer),
                (upkeep_reader, spool_writer),
                (record_reader, record_writer),
            ):
                parts.push_async_callback(reader.close)
                writer.read_by(reader.stand_aside)
            callbacks = StoredCallbacks(record_writer, record_reader)
            mover = Mover(
                spool_writer,
                outbox_reader,
                record_writer,
                facts,
                wants_callbacks=wants_callbacks,
                now=clock.now,
            )
            mover.on_callbacks = callbacks.made
            parts.push_async_callback(mover.close)
            mover.start()
            facts.spool_recovered(*recovered)
            room = Room(path, min_free=min_free, clock=clock)

            async def measure() -> Measure:
                return Measure(
                    free=room.free(reusable=spool_writer.free_octets),
                    floor=room.floor,
                    reserve=put_by.octets,
                    spool_log=spool_writer.log_octets,
                    record_log=record_writer.log_octets,
                    kept=backlogs.octets,
                    backlog=await queue_reader.ask(waiting),
                    spool_is_well=spool_writer.is_well,
                    record_is_well=record_writer.is_well and not mover.is_stuck,
                )

            async def shrink() -> int:
                return await spool_writer.shrink() + await record_writer.shrink()

            spool = AcceptedMail(
                spool_writer, contents, room, backlogs, uptime, clock=clock, facts=facts
            )
            record = StoredRecord(
                record_writer,
                record_reader,
                suppressions,
                clock=clock,
                node=node,
                catch_up=mover.catch_up,
                aside=contents.start,
                wants_callbacks=wants_callbacks,
                callbacks_made=callbacks.made,
            )
            store = cls(
                spool=spool,
                shelf=Shelf(spool_writer, spool.insertion, backlogs, mover.wake),
                queue=EntryQueue(
                    spool_writer,
                    queue_reader,
                    contents,
                    backlogs,
                    facts=facts,
                    uptime=uptime,
                    on_settled=mover.wake,
                ),
                orders=StoredOrders(
                    spool_writer,
                    queue_reader,
                    contents,
                    backlogs,
                    uptime,
                    clock=clock,
                    on_lines=mover.wake,
                ),
                record=record,
                suppressions=suppressions,
                upkeep=StoredUpkeep(
                    spool_writer,
                    record_writer,
                    upkeep_reader,
                    contents,
                    backlogs,
                    uptime,
                    facts=facts,
                    on_settled=mover.wake,
                ),
                notes=StoredNotes(spool_writer),
                pauses=StoredPauses(spool_writer, uptime),
                callbacks=callbacks,
                reputation=StoredReputation(record_reader),
                sync=StoredSync(record_writer, record_reader, record.apply),
                recovered=recovered,
                writer=spool_writer,
                record_writer=record_writer,
                measure=measure,
                shrink=shrink,
                _parts=parts.pop_all(),
            )
            copying = store.record.copy_list()
            if copying is not None:
                await asyncio.wrap_future(copying)
            store._parts.callback(store.record.copy_list)
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


async def _write_down(spool: Writer, uptime: Uptime) -> None:
    """Have the next run go on in time where this one ends."""
    # If it cannot be written, mail is a little younger then than it should be.
    with contextlib.suppress(SpoolError):
        await spool.run(uptime.write, is_outcome=True)


def _prepare(path: Path, *, unsafe: bool) -> SpoolLock:
    """Make the directories and lock them."""
    make_directory(path)
    if not unsafe:
        refuse_unsafe(path, file_system_of(path))
    for name in ("content", "corrupt"):
        make_part(path / name)
    return SpoolLock(path)
