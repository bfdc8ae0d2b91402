"""The relay's own time: how long the spool has been open, in all of its runs together.

It goes on where the last run ended, so what is measured with it is free of downtime and of every
step of the wall clock. Knows its row; does not know what is measured.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from datetime import datetime
from typing import Final

from relay.store.lifetime import Instant
from relay.store.trouble import is_damage

_READ: Final = "SELECT uptime, runs FROM service"
# What can be told of both from the mail itself: it takes a while, and is never too much.
_SURMISE: Final = """
    SELECT (SELECT max(max(entered_up), max(freed_up)) FROM entry),
        (SELECT max(tried_in) FROM recipient)"""
_WRITE: Final = "INSERT OR REPLACE INTO service VALUES (1, ?, ?)"

# What a kill may cost, in milliseconds, of the time of mail that came into an empty spool.
_OLD: Final = 60_000


class Uptime:
    """Milliseconds the spool has been open, and the number of this run.

    It is written down now and then. A kill costs what came after the last time: mail is a little
    younger then than it should be.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._began = monotonic()
        self._before = 0
        self._run = 0
        self._written = 0

    def begin(self, connection: sqlite3.Connection) -> None:
        """Take up where the last run ended."""
        # A damaged row here, or a full disk, is no reason to keep all mail from going.
        found = _answer(connection, _READ) or _answer(connection, _SURMISE) or (0, 0)
        self._before, runs = (number or 0 for number in found)
        self._run = runs + 1
        self._began = self._monotonic()
        with contextlib.suppress(sqlite3.Error):
            self.write(connection)

    def now(self) -> int:
        """Return the milliseconds up to now."""
        return self._before + self.in_this_run()

    def in_this_run(self) -> int:
        """Return the milliseconds since the spool was opened."""
        return int((self._monotonic() - self._began) * 1000)

    def at(self, wall: datetime) -> Instant:
        """Return this moment, at which the wall clock says that."""
        return Instant(wall, self.now(), self._run)

    def write(self, connection: sqlite3.Connection) -> None:
        """Write down how far it is."""
        now = self.now()
        connection.execute(_WRITE, (now, self._run))
        self._written = now

    def keep_up(self, connection: sqlite3.Connection) -> int:
        """Return the uptime; write it down if that was long ago. For mail that comes in.

        An empty spool notes no time. Without this, a kill would have mail that came after an idle
        month wait for that month to pass again before it grows any older.
        """
        now = self.now()
        if now - self._written >= _OLD:
            self.write(connection)
        return now


def _answer(connection: sqlite3.Connection, question: str) -> tuple[int | None, ...] | None:
    """Return the row of an answer; None where there is none, or it cannot be read."""
    try:
        row: tuple[int | None, ...] | None = connection.execute(question).fetchone()
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        return None
    return row
