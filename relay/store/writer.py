"""One connection makes what it is given durable, many operations at a time: the loop's end of it.

Knows who waits and who may still withdraw. Does not know the tables, or what an operation means;
relay.store.thread does the work.

Group commit: while one transaction is being fsynced, operations arrive; the next transaction takes
all of them. So batches form by arrival alone: nothing waits for company, and the busier the relay
the fewer the fsyncs per message.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from typing import Any, Final, TypeVar

from relay.ports import SpoolError
from relay.store.batch import Batch, Item, Operation, Work
from relay.store.health import Health
from relay.store.reserve import Reserve
from relay.store.thread import Connect, WriterThread, free_octets
from relay.store.wal import StandAside

T = TypeVar("T")

# Pages given back to the disk at once, and how much stays for the mail to come: what comes to free
# pages need not wait for the file to grow.
_GIVEN_BACK: Final = 256
_KEPT_FREE: Final = 64 * 1024 * 1024  # octets
# After so many seconds at one commit the disk is no place for more mail; looked at once a second.
SLOW: Final = 5.0
_LOOK: Final = 1.0
# As much as the reserve, and what must be free beside it, in half a minute.
_STEPS_WHEN_FULL: Final = 32


class Writer:
    """Writes a database."""

    def __init__(
        self,
        name: str,
        *,
        monotonic: Callable[[], float],
        committed: Callable[[int, float], None],
        failed: Callable[[BaseException], None],
        turned: Callable[[bool, str], None],
        died: Callable[[Exception], None],
        reserve: Reserve | None = None,
    ) -> None:
        """Prepare a writer; `committed` and `failed` are told of each transaction, in the loop.

        `turned` is told, in the loop, when it is no longer well, and why, and when it is again.
        `died` is told, in the loop, if its thread ends by a fault of ours: nothing is written then
        any more, and whatever is asked of it fails. `reserve` is made once the database is open; it
        is given up on a full disk, and until it is there again outcomes alone are recorded.
        """
        self._database = f"{name}.db"
        self._committed = committed
        self._failed = failed
        self._on_death = died
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._monotonic = monotonic
        self._turned = turned
        self._is_slow = False
        self.health = Health(
            self._database,
            reserve,
            monotonic=monotonic,
            turned=lambda is_well, why: self._tell(turned, is_well, why),
        )
        self._thread = WriterThread(
            self._database,
            self.health,
            monotonic=monotonic,
            opened=lambda error: self._tell(self._has_opened, error),
            ended=lambda batch: self._tell(self._ended, batch),
            died=lambda error: self._tell(self._died, error),
        )
        # Handed over once for all that the loop submits in one pass: fewer wake-ups, and mail that
        # came together is committed together.
        self._arriving: list[Operation[Any]] = []
        self._closed = True
        self._why_closed = "is closed"
        self._is_patient = False

    @property
    def is_well(self) -> bool:
        """Whether what is given to it can be expected to become durable."""
        return self.health.is_well and not (self._is_slow or self._closed)

    @property
    def rounds(self) -> int:
        """How often the thread has come round; `ping` has it come round once more."""
        return self._thread.rounds

    @property
    def free_octets(self) -> int:
        """Octets of the database file that hold nothing and will be used again."""
        return self._thread.free_octets

    @property
    def log_octets(self) -> int:
        """Octets of the log on disk."""
        return self._thread.log_octets

    async def open(self, connect: Connect, *, is_patient: bool = False) -> None:
        """Start the thread; return once `connect`, run in it, has. Its errors are raised here.

        A patient one returns also when it could not open the database; it tries again and again,
        and until it can all that is asked of it fails.
        """
        self._is_patient = is_patient
        self._thread.start(connect, is_patient=is_patient)
        await self._opened
        self._closed = False

    async def close(self) -> None:
        """Finish what was submitted, fold the log into the database, end the thread."""
        if not self._thread.has_started:
            return
        self._closed = True
        self._hand_over()
        self._thread.put(None)
        await self._loop.run_in_executor(None, self._thread.join)

    def read_by(self, stand_aside: StandAside) -> None:
        """Know a reader, which breaks off when the log has grown too long."""
        self._thread.readers.append(stand_aside)

    def submit(
        self,
        work: Work[Item, T],
        item: Item,
        then: Callable[[Operation[T]], None] | None = None,
        *,
        is_outcome: bool = False,
    ) -> Operation[T]:
        """Queue an item. Items of the same `work` in a batch are run by one call of it.

        `is_outcome`: it records what happened outside and cannot be asked again, or makes room, so
        it may use up the reserve.
        """
        if self._closed:
            raise self._closed_error()
        operation = Operation(work, item, self._loop.create_future(), then, is_outcome=is_outcome)
        if not self._arriving:
            self._loop.call_soon(self._hand_over)
        self._arriving.append(operation)
        return operation

    def _hand_over(self) -> None:
        arrived, self._arriving = self._arriving, []
        self._thread.put(arrived)

    def begin(
        self,
        work: Callable[[sqlite3.Connection], T],
        then: Callable[[Operation[T]], None] | None = None,
        *,
        is_outcome: bool = False,
    ) -> Operation[T]:
        """Queue a piece of work of its own kind."""
        return self.submit(_each, work, then, is_outcome=is_outcome)

    async def run(
        self,
        work: Callable[[sqlite3.Connection], T],
        then: Callable[[Operation[T]], None] | None = None,
        *,
        is_outcome: bool = False,
    ) -> T:
        """Do a piece of work of its own kind; return its result once it is durable."""
        return await self.wait(self.begin(work, then, is_outcome=is_outcome))

    def post(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Record an outcome for which nobody waits; that it failed is told like any failure."""
        self.begin(work, _heard, is_outcome=True)

    def withdraw(self, operation: Operation[Any]) -> bool:
        """Take an operation back; False if the thread has picked it, and then it goes on."""
        return self._thread.withdraw(operation)

    async def wait(self, operation: Operation[T]) -> T:
        """Return the result once it is durable. Cancelling withdraws what was not yet picked."""
        try:
            return await operation.future
        except asyncio.CancelledError:
            self.withdraw(operation)
            if operation.has_ended and not operation.future.cancelled():
                _heard(operation)
            raise

    async def see_through(self, operation: Operation[T]) -> T:
        """Return the result once it is durable; raise CancelledError only if it was withdrawn.

        For whoever must know what became of it: a cancellation that comes too late is ignored.
        """
        while True:
            try:
                return await operation.future
            except asyncio.CancelledError:
                if self.withdraw(operation):
                    raise
                if operation.has_ended:
                    return operation.outcome()
                operation.future = self._loop.create_future()

    def probe(self) -> None:
        """Have it tried now whether the disk takes a commit again; `is_well` tells."""
        if not self._closed:
            self.health.is_asked = True
            self.ping()

    def ping(self) -> None:
        """Have the thread come round though there is nothing to do."""
        self._thread.put([])

    async def shrink(self) -> int:
        """Give some of the free pages back to the disk; return how many octets those were.

        None while there are few, or while there is other work: to be called again and again, some
        seconds apart, by whoever has the time. One call keeps commits waiting some 20 ms at most.
        On a full disk it is more, down to the last page: only room on the disk ends that, and there
        is nothing else to do meanwhile.
        """
        if self.health.is_starved:
            given = 0
            for _ in range(_STEPS_WHEN_FULL):
                more = await self.run(_give_back, is_outcome=True)
                given += more
                if not more:
                    break
            return given
        if not self._thread.is_idle or self.free_octets <= _KEPT_FREE:
            return 0
        return await self.run(_give_back)

    def _ended(self, batch: Batch) -> None:
        """Tell everybody at once what became of a batch."""
        for operations, seconds in batch.commits:
            self._committed(operations, seconds)
        for failure in batch.failures:
            self._failed(failure)
        for operation in batch.operations:
            operation.end()
        if self._is_slow:
            self._turn_quick()

    async def watch(self) -> None:
        """See whether the disk takes too long over a commit, again and again, until cancelled."""
        while True:
            self._look()
            await asyncio.sleep(_LOOK)

    def _look(self) -> None:
        began = self._thread.began
        is_slow = began is not None and self._monotonic() - began >= SLOW
        if is_slow and not self._is_slow:
            self._is_slow = True
            # Else it is known that it is not well, and this may be the attempt to mend it.
            if self.health.is_well:
                why = f"{self._database}: the disk has been at one commit for {SLOW:g} seconds"
                self._turned(False, why)
        elif self._is_slow and not is_slow:
            self._turn_quick()

    def _turn_quick(self) -> None:
        self._is_slow = False
        if self.health.is_well:
            self._turned(True, "")

    def _has_opened(self, error: BaseException | None) -> None:
        if self._opened.done():
            return
        if error is None or self._is_patient:
            self._opened.set_result(None)
        else:
            self._opened.set_exception(error)

    def _died(self, error: Exception) -> None:
        """Leave nobody waiting for a thread that has ended by a fault of its own."""
        self._closed = True
        self._why_closed = f"cannot be written any more: {error!r}"
        self._hand_over()
        for operation in self._thread.left():
            if not operation.has_ended:
                operation.error = self._closed_error()
                operation.error.__cause__ = error
                operation.end()
        self._on_death(error)

    def _closed_error(self) -> SpoolError:
        error = SpoolError(f"{self._database} {self._why_closed}")
        error.is_lasting = True
        return error

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        """Call back in the loop; a loop that has ended has nobody left to tell."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)


def _each(
    connection: sqlite3.Connection, works: list[Callable[[sqlite3.Connection], T]]
) -> list[T]:
    return [work(connection) for work in works]


def _heard(operation: Operation[Any]) -> None:
    """Mark an error as seen, or asyncio complains that nobody looked."""
    operation.future.exception()


def _give_back(connection: sqlite3.Connection) -> int:
    before = free_octets(connection)
    for _ in range(_GIVEN_BACK):
        # One by one: it answers with rows of no columns, which Python takes for the end.
        connection.execute("PRAGMA incremental_vacuum(1)")
    return before - free_octets(connection)
