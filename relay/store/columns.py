"""How values stand in columns, and how many rows go in by few statements.

Times are integer milliseconds since 1970, addresses their wire spelling. Knows no table.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain
from typing import Any, Final

from relay.mail.address import Address

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def milliseconds(moment: datetime) -> int:
    """Return the moment as a column holds it; what is finer than a millisecond is cut off."""
    return (moment - _EPOCH) // _MILLISECOND


def moment(column: int) -> datetime:
    """Return the moment a column holds."""
    return datetime.fromtimestamp(column / 1000, UTC)


def to_the_millisecond(at: datetime) -> datetime:
    """Return the moment as it will be read back."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def address(column: str) -> Address:
    """Return the address a column holds: one that was an Address when it was written."""
    if column[0] == '"':
        return Address.parse(column)
    local_part, _, domain = column.rpartition("@")
    return Address(local_part, domain)


def path_column(reverse_path: Address | None) -> str:
    """Return a reverse-path as a column holds it: the null one is empty."""
    return "" if reverse_path is None else str(reverse_path)


@lru_cache(maxsize=1024)  # an application has few
def reverse_path(column: str) -> Address | None:
    """Return the reverse-path a column holds."""
    return address(column) if column else None


class Rows:
    """INSERT of many rows into one table; with `ignore`, those are left out whose key is there.

    Every execution of a statement gives up the interpreter lock and must win it back from a busy
    event loop, so rows go in by the hundred, not one by one as `executemany` would.
    """

    _SIZES: Final = (64, 16, 4, 1)

    def __init__(self, table: str, columns: str, *, ignore: bool = False) -> None:
        row = f"({', '.join('?' for _ in columns.split(','))})"
        verb = "INSERT OR IGNORE" if ignore else "INSERT"
        head = f"{verb} INTO {table} ({columns}) VALUES "
        # The same text objects each time, so that the connection finds its prepared statements.
        self._statements = [(size, head + ",".join([row] * size)) for size in self._SIZES]

    def insert(self, connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert the rows."""
        at, count = 0, len(rows)
        for size, statement in self._statements:
            while count - at >= size:
                values = tuple(chain.from_iterable(rows[at : at + size]))
                connection.execute(statement, values)
                at += size
