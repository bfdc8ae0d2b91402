"""The write-ahead log beside a database: how long it is, and how it is folded away.

Knows SQLite's checkpoints (sqlite.org/wal.html). Does not know what is written. For the thread of
the writer: a checkpoint elsewhere lets the log grow while the writer works.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final, Literal, TypeAlias

LONGEST: Final = 256 * 1024 * 1024
"""Octets. Only a reader that does not come to an end lets the log grow so far."""

StandAside: TypeAlias = Callable[[], AbstractContextManager[None]]
"""Has a reader break off and keep away from the database for as long as the context lasts."""


class Log:
    """The log of one database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        (_, _, path) = connection.execute("PRAGMA database_list").fetchone()
        self._path = Path(f"{path}-wal")

    def octets(self) -> int:
        """Return its length on disk; it is written over, so that is not what waits in it."""
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def growth(self) -> int:
        """Return by how much the database file grows when all of the log is folded into it."""
        connection = self._connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        database = self._path.with_name(self._path.name.removesuffix("-wal"))
        return max(0, int(pages) * int(size) - database.stat().st_size)

    def fold(self, how: Literal["PASSIVE", "TRUNCATE"]) -> None:
        """Fold the log into the database, as far as no reader is in the way.

        TRUNCATE gives its space back to the disk.
        """
        connection = self._connection
        with contextlib.suppress(sqlite3.Error):
            (timeout,) = connection.execute("PRAGMA busy_timeout").fetchone()
            connection.execute("PRAGMA busy_timeout = 0").fetchall()
            connection.execute(f"PRAGMA wal_checkpoint({how})").fetchall()
            connection.execute(f"PRAGMA busy_timeout = {timeout}").fetchall()

    def cut(self, readers: list[StandAside]) -> None:
        """Empty a log that has grown too long, past whoever reads."""
        with ExitStack() as stack:
            for stand_aside in readers:
                stack.enter_context(stand_aside())
            self.fold("TRUNCATE")
