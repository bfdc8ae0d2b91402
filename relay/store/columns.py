"""How values stand in columns, and how many rows go in by few statements.

Times are integer milliseconds since 1970, addresses their wire spelling. Knows no table.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain
from typing import Any, Final

from relay.mail.address import Address
from relay.mail.ses_headers import NOTHING_ASKED, SesHeaders, of_text

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_NONE: Final = timedelta(0)
# Nearly every mailbox. Anything else is read by the grammar, at more than twice the time.
_PLAIN: Final = re.compile(
    r"([\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*)@([a-z0-9][a-z0-9.-]*)", re.ASCII
)
_LAST: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND


def milliseconds(moment: datetime) -> int:
    """Return the moment as a column holds it; what is finer than a millisecond is cut off."""
    return (moment - _EPOCH) // _MILLISECOND


def moment(column: int) -> datetime:
    """Return the moment a column holds."""
    return datetime.fromtimestamp(column / 1000, UTC)


def nearest_moment(column: int) -> datetime:
    """Return the moment a column holds; of one that is damaged, the nearest there is."""
    return moment(min(max(column, 0), _LAST))


def span(column: int) -> timedelta:
    """Return the duration a column holds."""
    return timedelta(0, 0, column * 1000) if column else _NONE


def to_the_millisecond(at: datetime) -> datetime:
    """Return the moment as it will be read back."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def address(column: str) -> Address:
    """Return the address a column holds; raise ValueError where it cannot be what was written."""
    plain = _PLAIN.fullmatch(column)
    if plain is not None:
        return Address(plain[1], plain[2])
    found = Address.parse(column)
    if str(found) != column:
        raise ValueError("a mailbox is not spelt as it was written")
    return found


def shown_address(column: str) -> Address:
    """Return the address a column holds; what is none any more, so that it can be looked at."""
    try:
        return address(column)
    except ValueError:
        local_part, _, domain = column.rpartition("@")
        return Address(local_part, domain)


def text(column: bytes) -> str:
    """Return the text a column holds, with a mark in place of what is not UTF-8."""
    return column.decode("utf-8", "replace")


def path_column(reverse_path: Address | None) -> str:
    """Return a reverse-path as a column holds it: the null one is empty."""
    return "" if reverse_path is None else str(reverse_path)


@lru_cache(maxsize=1024)  # an application has few
def reverse_path(column: str) -> Address | None:
    """Return the reverse-path a column holds."""
    return address(column) if column else None


def ses_headers_column(asked: SesHeaders) -> str:
    """Return what a mail asks of SES as a column holds it: nearly always nothing."""
    return "" if asked is NOTHING_ASKED else asked.text()


def ses_headers(column: str) -> SesHeaders:
    """Return what a column says; raise ValueError where it cannot be what was written."""
    return of_text(column) if column else NOTHING_ASKED


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
