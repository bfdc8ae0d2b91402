"""What SQLite's errors mean: trouble with the disk, with one row, or with what was asked.

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
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
# That something could not be read says nothing of whether mail can be made durable.
_READING: Final = frozenset(
    {
        sqlite3.SQLITE_IOERR_CORRUPTFS,
        sqlite3.SQLITE_IOERR_READ,
        sqlite3.SQLITE_IOERR_SHORT_READ,
    }
)
_DAMAGE: Final = frozenset(
    {
        # One page that cannot be made sense of; whoever does not meet it goes on.
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_TOOBIG,
    }
)
_NO_SPACE: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})


def is_sick(error: BaseException) -> bool:
    """Whether the disk or the file is in trouble, so that no commit would succeed either."""
    return (
        isinstance(error, sqlite3.Error)
        and _code(error) not in _READING
        and _primary_code(error) in _SICK
    )


def is_damage(error: sqlite3.Error) -> bool:
    """Whether what was read may be at fault, rather than disk, memory or the question.

    After SQLITE_CORRUPT nothing more can be written in that transaction, though in the next one it
    can. Python's own layer gives no code; OperationalError is its word for text that is not UTF-8.
    """
    if not hasattr(error, "sqlite_errorcode"):
        return isinstance(error, sqlite3.OperationalError)
    return _primary_code(error) in _DAMAGE


def wants_space(error: BaseException) -> bool:
    """Whether more room might help: SQLite calls a full disk FULL, at times an I/O error."""
    return (
        isinstance(error, sqlite3.Error)
        and _code(error) not in _READING
        and _primary_code(error) in _NO_SPACE
    )


def comes_of_damage(error: SpoolError) -> bool:
    """Whether the spool could not do what it was asked for damage to what is in it."""
    return isinstance(error.__cause__, sqlite3.Error) and is_damage(error.__cause__)


def as_spool_error(database: str, error: sqlite3.Error) -> SpoolError:
    """Return the error as the ports name it."""
    full = _primary_code(error) == sqlite3.SQLITE_FULL
    ours = (SpoolFullError if full else SpoolError)(f"{database}: {error}")
    ours.__cause__ = error
    ours.is_lasting = is_damage(error)
    return ours


def _primary_code(error: sqlite3.Error) -> int:
    return _code(error) & 0xFF


def _code(error: sqlite3.Error) -> int:
    # Errors of Python's own layer have no code.
    return int(getattr(error, "sqlite_errorcode", 0))
