"""One thread that owns one database and makes what it is given durable, many operations at a time.

Knows threads and when to fold the log away. Does not know the tables, or what an operation means.

Group commit: while one transaction is being fsynced, operations arrive; the next transaction takes
all of them. So batches form by arrival alone: nothing waits for company, and the busier the relay
the fewer the fsyncs per message.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

from relay.ports import SpoolError
from relay.store.batch import Batch, Item, Operation, Stage, Work
from relay.store.trouble import as_spool_error, wants_space

T = TypeVar("T")

BATCH: Final = 256
# After this long without work the log is folded into the database, so that a relay at rest starts
# fast. It keeps its length: the next commits write over it, which is twice as fast as growing it.
IDLE: Final = 1.0  # seconds
_MEASURE: Final = 1.0  # seconds


class Writer:
    """The one connection that writes a database, and the thread that owns it."""

    def __init__(
        self,
        name: str,
        *,
        monotonic: Callable[[], float],
        committed: Callable[[int, float], None],
        failed: Callable[[BaseException], None],
        died: Callable[[Exception], None],
    ) -> None:
        """Prepare a writer; `committed` and `failed` are told of each transaction, in the loop.

        `died` is told, in the loop, if the thread ends by a fault of ours: nothing is written then
        any more, and whatever is asked of it fails.
        """
        self._name = name
        self._monotonic = monotonic
        self._committed = committed
        self._failed = failed
        self._on_death = died
        self._loop = asyncio.get_running_loop()
        # Handed over once for all that the loop submits in one pass: fewer wake-ups, and mail that
        # came together is committed together.
        self._arriving: list[Operation[Any]] = []
        self._waiting: queue.SimpleQueue[list[Operation[Any]] | None] = queue.SimpleQueue()
        # The thread's own: what it has taken and not yet picked.
        self._stock: list[Operation[Any]] = []
        self._picked: list[Operation[Any]] = []
        self._ending = False
        # Between the writer picking a batch and the loop withdrawing from it.
        self._picking = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = True
        self._why_closed = "is closed"
        self._measured_at = float("-inf")
        self.sick = False
        """The last transaction failed and none has succeeded since."""
        self.free_octets = 0
        """Octets of the database file that hold nothing and will be used again."""

    # --- in the loop ---

    async def open(self, connect: Callable[[], sqlite3.Connection]) -> None:
        """Start the thread; return once `connect`, run in it, has. Its errors are raised here."""
        opened: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(
            target=self._run, args=(connect, opened), name=f"writer-{self._name}", daemon=True
        )
        self._thread.start()
        await opened
        self._closed = False

    async def close(self) -> None:
        """Finish what was submitted, fold the log into the database, end the thread."""
        if self._thread is None:
            return
        self._closed = True
        self._hand_over()
        self._waiting.put(None)
        await self._loop.run_in_executor(None, self._thread.join)

    def submit(
        self, work: Work[Item, T], item: Item, then: Callable[[Operation[T]], None] | None = None
    ) -> Operation[T]:
        """Queue an item. Items of the same `work` in a batch are run by one call of it."""
        if self._closed:
            raise self._closed_error()
        operation = Operation(work, item, self._loop.create_future(), then)
        if not self._arriving:
            self._loop.call_soon(self._hand_over)
        self._arriving.append(operation)
        return operation

    def _hand_over(self) -> None:
        arrived, self._arriving = self._arriving, []
        self._waiting.put(arrived)

    def begin(
        self,
        work: Callable[[sqlite3.Connection], T],
        then: Callable[[Operation[T]], None] | None = None,
    ) -> Operation[T]:
        """Queue a piece of work of its own kind."""
        return self.submit(_each, work, then)

    async def run(
        self,
        work: Callable[[sqlite3.Connection], T],
        then: Callable[[Operation[T]], None] | None = None,
    ) -> T:
        """Do a piece of work of its own kind; return its result once it is durable."""
        return await self.wait(self.begin(work, then))

    def post(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Do a piece of work for which nobody waits; that it failed is told like any failure."""
        self.begin(work, _heard)

    def withdraw(self, operation: Operation[Any]) -> bool:
        """Take an operation back; False if the writer has picked it, and then it goes on."""
        with self._picking:
            if operation.stage is Stage.WAITING:
                operation.stage = Stage.WITHDRAWN
            return operation.stage is Stage.WITHDRAWN

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
        """Try whether the disk takes a commit again; `sick` tells."""
        if not self._closed:
            self.post(_rewrite_first_page)

    def _ended(self, batch: Batch) -> None:
        """Tell everybody at once what became of a batch."""
        for operations, seconds in batch.commits:
            self._committed(operations, seconds)
        for failure in batch.failures:
            self._failed(failure)
        for operation in batch.operations:
            operation.end()

    def _died(self, error: Exception) -> None:
        """Leave nobody waiting for a thread that has ended by a fault of its own."""
        self._closed = True
        self._why_closed = f"cannot be written any more: {error!r}"
        self._hand_over()
        with contextlib.suppress(queue.Empty):
            while True:
                self._take_in(self._waiting.get_nowait())
        left, self._picked, self._stock = self._picked + self._stock, [], []
        for operation in left:
            if operation.stage is not Stage.WITHDRAWN and not operation.has_ended:
                operation.error = self._closed_error()
                operation.error.__cause__ = error
                operation.end()
        self._on_death(error)

    def _closed_error(self) -> SpoolError:
        error = SpoolError(f"{self._name}.db {self._why_closed}")
        error.is_lasting = True
        return error

    # --- in the thread ---

    def _run(self, connect: Callable[[], sqlite3.Connection], opened: asyncio.Future[None]) -> None:
        try:
            connection = connect()
        except sqlite3.Error as error:
            self._tell(_settle, opened, as_spool_error(f"{self._name}.db", error))
            return
        except BaseException as error:  # noqa: BLE001 - raised again where `open` is awaited
            self._tell(_settle, opened, error)
            return
        with contextlib.closing(connection):
            try:
                self._measure(connection)
                self._tell(_settle, opened, None)
                while self._serve(connection):
                    self._measure(connection)
                _fold_log(connection, "TRUNCATE")
            except Exception as error:  # noqa: BLE001 - told to everybody who waits
                self.sick = True
                self._tell(self._died, error)

    def _serve(self, connection: sqlite3.Connection) -> bool:
        """Take what has arrived and make it durable; False once the end was reached."""
        if not self._stock:
            try:
                arrived = self._waiting.get(timeout=IDLE)
            except queue.Empty:
                _fold_log(connection, "PASSIVE")
                arrived = self._waiting.get()
            self._take_in(arrived)
        with contextlib.suppress(queue.Empty):
            while len(self._stock) < BATCH and not self._ending:
                self._take_in(self._waiting.get_nowait())
        self._picked = picked = self._pick()
        if picked:
            batch = Batch(f"{self._name}.db", picked)
            batch.run(connection, self._monotonic)
            if batch.commits or batch.is_sick:
                self.sick = batch.is_sick
            self._picked = []
            self._tell(self._ended, batch)
            if any(map(wants_space, batch.failures)):
                _fold_log(connection, "TRUNCATE")
        return bool(self._stock) or not self._ending

    def _take_in(self, arrived: list[Operation[Any]] | None) -> None:
        if arrived is None:
            self._ending = True
        else:
            self._stock += arrived

    def _pick(self) -> list[Operation[Any]]:
        """Pick a batch of what was not withdrawn; from here on it cannot be."""
        with self._picking:
            picked = [one for one in self._stock[:BATCH] if one.stage is Stage.WAITING]
            for operation in picked:
                operation.stage = Stage.PICKED
        del self._stock[:BATCH]
        return picked

    def _measure(self, connection: sqlite3.Connection) -> None:
        """Look how much of the file is free, about once a second."""
        now = self._monotonic()
        if now - self._measured_at < _MEASURE:
            return
        self._measured_at = now
        with contextlib.suppress(sqlite3.Error):
            (pages,) = connection.execute("PRAGMA freelist_count").fetchone()
            (size,) = connection.execute("PRAGMA page_size").fetchone()
            self.free_octets = pages * size

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


def _settle(opened: asyncio.Future[None], error: BaseException | None) -> None:
    if opened.done():
        return
    if error is None:
        opened.set_result(None)
    else:
        opened.set_exception(error)


def _rewrite_first_page(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version = {version}")


def _fold_log(connection: sqlite3.Connection, how: Literal["PASSIVE", "TRUNCATE"]) -> None:
    """Fold the log into the database, as far as no reader is in the way.

    TRUNCATE gives its space back to the disk.
    """
    with contextlib.suppress(sqlite3.Error):
        (timeout,) = connection.execute("PRAGMA busy_timeout").fetchone()
        connection.execute("PRAGMA busy_timeout = 0").fetchall()
        connection.execute(f"PRAGMA wal_checkpoint({how})").fetchall()
        connection.execute(f"PRAGMA busy_timeout = {timeout}").fetchall()
