"""One thread with a read-only connection, so that a long listing delays no commit.

Knows how to run a question off the loop. Does not know the questions.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

from relay.ports import SpoolError
from relay.store.schema import connect_to_read

T = TypeVar("T")

_INTERRUPT: Final = 0.05  # seconds between two tries to have a question broken off


class Reader:
    """Answers questions about one database, one after the other.

    A question is one transaction, and while it lasts the log cannot be emptied: keep it short, and
    page by key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"reader-{path.stem}")
        self._connection: sqlite3.Connection | None = None
        # Held while a question is answered.
        self._turn = threading.Lock()
        self._closed = False

    async def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Return the answer, as of one moment; raise SpoolError where it cannot be read."""
        if self._closed:
            raise SpoolError(f"{self._path.name} is closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._answer, question)

    @contextmanager
    def stand_aside(self) -> Iterator[None]:
        """Break off the question being answered, and answer none meanwhile; for another thread.

        That question is asked once more after that. Broken off a second time, it is one that does
        not come to an end, and whoever asked is told that it was interrupted.
        """
        while not self._turn.acquire(timeout=_INTERRUPT):
            connection = self._connection
            if connection is not None:
                with suppress(sqlite3.ProgrammingError):  # it was closed this moment
                    connection.interrupt()
        try:
            yield
        finally:
            self._turn.release()

    async def close(self) -> None:
        """Finish the question being answered and end the thread."""
        if self._closed:
            return
        self._closed = True
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown()

    def _answer(self, question: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with self._turn:
                return self._answered(question)
        except SpoolError as error:
            if not _was_interrupted(error):
                raise
        with self._turn:
            return self._answered(question)

    def _answered(self, question: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = connect_to_read(self._path)
            self._connection.execute("BEGIN")
            try:
                return question(self._connection)
            finally:
                # Nothing was written; and after a damaged page SQLite refuses to commit. After an
                # I/O error it has ended the transaction itself.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._disconnect()
            raise SpoolError(f"{self._path} cannot be read: {error}") from error

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _was_interrupted(error: SpoolError) -> bool:
    return getattr(error.__cause__, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT
