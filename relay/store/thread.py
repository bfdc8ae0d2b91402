"""The thread that owns one database: it makes what has arrived durable, batch by batch.

Knows the connection, and what to do when there is nothing to do. Does not know the loop, the
tables, or what an operation means; relay.store.writer is its other end.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from relay.ports import SpoolError
from relay.store.batch import Batch, Operation, Stage
from relay.store.health import AGAIN, Health
from relay.store.trouble import as_spool_error
from relay.store.wal import LONGEST, Log, StandAside

Connect: TypeAlias = Callable[[], sqlite3.Connection]

BATCH: Final = 256
# After this long without work the log is folded into the database, so that a relay at rest starts
# fast. It keeps its length: the next commits write over it, which is twice as fast as growing it.
IDLE: Final = 1.0  # seconds
# How soon a database is tried again that could not be opened.
REOPEN: Final = 10.0  # seconds
_MEASURE: Final = 1.0  # seconds
# How long readers are left alone when it did not help that they stood aside: somebody else reads.
_CUT_AGAIN: Final = 60.0  # seconds


class WriterThread:
    """A connection, its thread, and the operations on their way."""

    def __init__(
        self,
        database: str,
        health: Health,
        *,
        monotonic: Callable[[], float],
        opened: Callable[[BaseException | None], None],
        ended: Callable[[Batch], None],
        died: Callable[[Exception], None],
    ) -> None:
        """Prepare; the callbacks are called in the thread.

        `opened` when the database is open, with the reason each time it could not be; `ended` after
        each batch; `died` when the thread ends by a fault of ours.
        """
        self._database = database
        self._health = health
        self._monotonic = monotonic
        self._opened = opened
        self._ended = ended
        self._on_death = died
        self._waiting: queue.SimpleQueue[list[Operation[Any]] | None] = queue.SimpleQueue()
        # What it has taken and not yet picked.
        self._stock: list[Operation[Any]] = []
        self._picked: list[Operation[Any]] = []
        self._ending = False
        # Between the thread picking a batch and the loop withdrawing from it.
        self._picking = threading.Lock()
        self._measured_at = float("-inf")
        self._cut_due = float("-inf")
        self._thread: threading.Thread | None = None
        self.rounds = 0
        """How often it has come round."""
        self.began: float | None = None
        """Since when the disk has been at work for it; None while it is not."""
        self.readers: list[StandAside] = []
        """Who reads the database, and breaks off when the log has grown too long."""
        # Looked at about once a second; the loop reads them.
        self.free_octets = 0
        self.log_octets = 0
        self.is_idle = False

    # --- for the loop ---

    @property
    def has_started(self) -> bool:
        """Whether there is a thread to be ended."""
        return self._thread is not None

    def start(self, connect: Connect, *, is_patient: bool) -> None:
        """Begin. A patient thread tries again, for ever, what could not be opened."""
        run = self._run_patiently if is_patient else self._run
        name = f"writer-{self._database}"
        self._thread = threading.Thread(target=run, args=(connect,), name=name, daemon=True)
        self._thread.start()

    def put(self, operations: list[Operation[Any]] | None) -> None:
        """Hand operations over; None: end when all that came before is done."""
        self._waiting.put(operations)

    def withdraw(self, operation: Operation[Any]) -> bool:
        """Take an operation back; False if it has been picked."""
        with self._picking:
            if operation.stage is Stage.WAITING:
                operation.stage = Stage.WITHDRAWN
            return operation.stage is Stage.WITHDRAWN

    def left(self) -> list[Operation[Any]]:
        """Return what a thread that died leaves undone."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._take_in(self._waiting.get_nowait())
        left, self._picked, self._stock = self._picked + self._stock, [], []
        return [one for one in left if one.stage is not Stage.WITHDRAWN]

    def join(self) -> None:
        """Wait until the thread has ended."""
        if self._thread is not None:
            self._thread.join()

    # --- in the thread ---

    def _run(self, connect: Connect) -> None:
        try:
            connection = connect()
        except sqlite3.Error as error:
            self._opened(as_spool_error(self._database, error))
        except BaseException as error:  # noqa: BLE001 - raised again where the opening is awaited
            self._opened(error)
        else:
            self._work(connection)

    def _run_patiently(self, connect: Connect) -> None:
        tried_at = float("-inf")
        while not self._ending:
            if self._monotonic() - tried_at >= REOPEN:
                tried_at = self._monotonic()
                try:
                    connection = connect()
                except Exception as error:  # noqa: BLE001 - told; nobody depends on it
                    self._health.note(error)
                    self._opened(error)
                else:
                    self._health.note(None)
                    self._work(connection)
                    return
            self.rounds += 1
            try:
                arrived = self._waiting.get(timeout=REOPEN)
            except queue.Empty:
                tried_at = float("-inf")
            else:
                self._take_in(arrived)
                self._refuse()

    def _refuse(self) -> None:
        """End what has arrived while there is no database."""
        while self._stock:
            batch = Batch(self._database, self._pick())
            for operation in batch.operations:
                operation.error = SpoolError(f"{self._database} cannot be opened")
            self._ended(batch)

    def _work(self, connection: sqlite3.Connection) -> None:
        with contextlib.closing(connection):
            try:
                log = Log(connection)
                self._health.put_by()
                self._measure(connection, log)
                self._opened(None)
                while self._serve(connection, log):
                    self._measure(connection, log)
                log.fold("TRUNCATE")
            except Exception as error:  # noqa: BLE001 - told to everybody who waits
                self._health.sick = True
                self._on_death(error)

    def _serve(self, connection: sqlite3.Connection, log: Log) -> bool:
        """Take what has arrived and make it durable; False once the end was reached."""
        self.rounds += 1
        self.began = None
        if not self._stock:
            self._take_in(self._next(connection, log))
        with contextlib.suppress(queue.Empty):
            while len(self._stock) < BATCH and not self._ending:
                self._take_in(self._waiting.get_nowait())
        self.began = self._monotonic()
        if not self._health.is_well:
            self._health.try_again(connection)
        self._picked = picked = self._pick()
        if picked:
            batch = Batch(self._database, picked)
            self._health.make_durable(batch, connection, log)
            self._picked = []
            self._ended(batch)
        return bool(self._stock) or not self._ending

    def _next(self, connection: sqlite3.Connection, log: Log) -> list[Operation[Any]] | None:
        """Wait for work, and use the time."""
        health, waiting = self._health, self._waiting
        with contextlib.suppress(queue.Empty):
            return waiting.get(timeout=IDLE)
        self.is_idle = True
        log.fold("PASSIVE")
        while not health.is_well:
            health.try_again(connection, at_once=True)
            with contextlib.suppress(queue.Empty):
                return waiting.get(timeout=AGAIN)
        self._measured_at = float("-inf")
        self._measure(connection, log)
        return waiting.get()

    def _take_in(self, arrived: list[Operation[Any]] | None) -> None:
        if arrived is None:
            self._ending = True
        else:
            self.is_idle = False
            self._stock += arrived

    def _pick(self) -> list[Operation[Any]]:
        """Pick a batch of what was not withdrawn; from here on it cannot be."""
        with self._picking:
            picked = [one for one in self._stock[:BATCH] if one.stage is Stage.WAITING]
            for operation in picked:
                operation.stage = Stage.PICKED
        del self._stock[:BATCH]
        return picked

    def _measure(self, connection: sqlite3.Connection, log: Log) -> None:
        """Look how much of the file is free, and how long the log is, about once a second."""
        now = self._monotonic()
        if now - self._measured_at < _MEASURE:
            return
        self._measured_at = now
        if log.octets() > LONGEST and now >= self._cut_due:
            log.cut(self.readers)
            if log.octets() > LONGEST:
                self._cut_due = now + _CUT_AGAIN
        self.log_octets = log.octets()
        with contextlib.suppress(sqlite3.Error):
            self.free_octets = free_octets(connection)


def free_octets(connection: sqlite3.Connection) -> int:
    """Return how much of a database file holds nothing."""
    (pages,) = connection.execute("PRAGMA freelist_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    octets: int = pages * size
    return octets
