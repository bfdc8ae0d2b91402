"""What SQLite's errors mean: trouble with the disk, or with what was asked.

Knows result codes (sqlite.org/rescode.html). Does not know who asked.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from relay.ports import SpoolError, SpoolFullError

_SICK: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)


def is_sick(error: BaseException) -> bool:
    """Whether the disk or the file is in trouble, so that nothing else would succeed either."""
    return isinstance(error, sqlite3.Error) and _primary_code(error) in _SICK


def as_spool_error(database: str, error: sqlite3.Error) -> SpoolError:
    """Return the error as the ports name it."""
    full = _primary_code(error) == sqlite3.SQLITE_FULL
    ours = (SpoolFullError if full else SpoolError)(f"{database}: {error}")
    ours.__cause__ = error
    return ours


def _primary_code(error: sqlite3.Error) -> int:
    # Errors of Python's own layer have no code.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
