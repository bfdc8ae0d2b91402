"""The suppression list: who is on it is known in memory, why is kept in record.db.

Knows the list and which of two reasons prevails. Does not know where reasons come from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final, NamedTuple

from relay.mail.address import Address
from relay.mail.feedback import Suppression, SuppressionReason
from relay.ports import SpoolError
from relay.store.columns import milliseconds, nearest_moment
from relay.store.digests import Digests
from relay.store.disk import replace_file
from relay.store.reader import Reader

_SELECT: Final = "SELECT address, reason, detail, since, event_id FROM suppression "
_PAGE: Final = _SELECT + "WHERE address > ? ORDER BY address LIMIT ?"
_ONE: Final = _SELECT + "WHERE address = ?"
_REASON: Final = "SELECT reason FROM suppression WHERE address = ?"
# As they are stored: what is not UTF-8 would be changed by reading it as text.
_KEYS: Final = """
    SELECT CAST(address AS BLOB), reason FROM suppression WHERE address > CAST(? AS TEXT)
    ORDER BY address LIMIT ?"""
_PUT: Final = "INSERT OR REPLACE INTO suppression VALUES (?, ?, ?, ?, ?)"
_REMOVED_AT: Final = "SELECT at FROM removal WHERE address = ?"
_REMOVE: Final = "INSERT OR REPLACE INTO removal VALUES (?, ?)"

_LOADED_AT_ONCE: Final = 2000
_CACHE_KIBIBYTES: Final = 512
# An operator's word outlasts events; a complaint says more than a bounce.
_WEIGHT: Final = {
    SuppressionReason.BOUNCE: 0,
    SuppressionReason.COMPLAINT: 1,
    SuppressionReason.MANUAL: 2,
}


class Change(NamedTuple):
    """What a transaction did to one address: for what reason it was listed, and is; None is not."""

    address: str
    before: str | None
    after: str | None


class SuppressionList:
    """Who is not mailed (ports.Suppressions). Changed only after it is durable.

    Memory tells of nearly every address that it is not listed; why one is, the database tells.

    A copy of the digests is kept in a file of its own. When the database cannot be read at start,
    the copy tells who is listed: mail to everybody else flows, and nobody is mailed who should not
    be, which a bulk sender's account might not survive. Of those listed it is not known why, so
    they are neither mailed nor failed: `find` raises, and they wait.
    """

    def __init__(self, reader: Reader, copy: Path) -> None:
        self._reader = reader
        self._copy = copy
        self._is_changed = False
        self._listed = Digests()
        self._counts: Counter[str] = Counter()

    def counts(self) -> Mapping[SuppressionReason, int]:
        """Return the number of addresses by reason; every reason is present."""
        return {reason: self._counts[reason] for reason in SuppressionReason}

    def may_hold(self, address: Address) -> bool:
        """Whether the address may be listed, from memory; never False for one that is."""
        return bool(self._listed) and address.folded in self._listed

    async def find(self, address: Address) -> Suppression | None:
        """Return why the address is not mailed, or None; raise SpoolError if it cannot be read."""
        try:
            return await self._reader.ask(partial(_entry_of, address=address.folded))
        except ValueError as error:
            raise SpoolError(f"why {address} is suppressed cannot be read: {error}") from error

    def load(self, connection: Connection) -> None:
        """Read the whole list, page by page."""
        (size,) = connection.execute("PRAGMA cache_size").fetchone()
        # It is read once: what would be cached of it only fills memory.
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
        listed, counts = Digests(), Counter[str]()
        listed.fill(_addresses(connection, counts))
        connection.execute(f"PRAGMA cache_size = {size}")
        # While nobody was ever listed there is nothing to copy.
        self._is_changed = bool(listed) or bool(self._listed)
        # At one stroke: whoever asks meanwhile sees the old or the new.
        self._listed, self._counts = listed, counts

    def recall(self) -> bool:
        """Take up the copy, for want of the database; False where there is none, or it is no good.

        Then nobody is known to be listed, and mail flows: SES's own list is what is left.
        """
        try:
            self._listed = Digests.loaded(self._copy.read_bytes())
        except (OSError, ValueError):
            return False
        return True

    def copying(self) -> Callable[[], None] | None:
        """Return what brings the copy up to date, to be run in a thread; None if it is."""
        if not self._is_changed:
            return None
        self._is_changed = False
        return partial(replace_file, self._copy, self._listed.dump())

    def apply(self, change: Change) -> None:
        """Follow what has become durable."""
        address, before, after = change
        self._is_changed = True
        if before is None and after is not None:
            self._listed.add(address)
        elif before is not None and after is None:
            self._listed.remove(address)
        if before is not None:
            self._counts[before] -= 1
        if after is not None:
            self._counts[after] += 1


def _addresses(connection: Connection, counts: Counter[str]) -> Iterator[bytes]:
    """Yield every address, page by page, and count the reasons."""
    after = b""
    while page := connection.execute(_KEYS, (after, _LOADED_AT_ONCE)).fetchall():
        counts.update([reason for _, reason in page])
        yield from [address for address, _ in page]
        after = page[-1][0]


def page_of(connection: Connection, after: str, limit: int) -> Sequence[Suppression]:
    """Return entries in order of address, after the given one."""
    return [_suppression(*row) for row in connection.execute(_PAGE, (after, limit))]


def take_in(connection: Connection, suppression: Suppression) -> Change | None:
    """Add what an event causes; None if it changes nothing.

    The result does not depend on the order in which events arrive: the weightier reason prevails,
    of equal ones the earlier. What an operator removed comes back only by a later event.
    """
    removed = connection.execute(_REMOVED_AT, (suppression.address,)).fetchone()
    if removed is not None and milliseconds(suppression.since) <= removed[0]:
        return None
    listed = _entry_of(connection, suppression.address)
    if listed is not None and not _prevails(suppression, listed):
        return None
    return put(connection, suppression)


def put(connection: Connection, suppression: Suppression) -> Change:
    """Add or replace an entry."""
    before = _reason_of(connection, suppression.address)
    since = milliseconds(suppression.since)
    connection.execute(
        _PUT,
        (
            suppression.address,
            suppression.reason,
            suppression.detail,
            since,
            suppression.event_id,
        ),
    )
    return Change(suppression.address, before, suppression.reason.value)


def remove(connection: Connection, address: str, now: datetime) -> Change | None:
    """Remove an entry, so that no event older than `now` brings it back; None if there is none."""
    before = _reason_of(connection, address)
    if before is None:
        return None
    connection.execute("DELETE FROM suppression WHERE address = ?", (address,))
    connection.execute(_REMOVE, (address, milliseconds(now)))
    return Change(address, before, None)


def _entry_of(connection: Connection, address: str) -> Suppression | None:
    row = connection.execute(_ONE, (address,)).fetchone()
    return None if row is None else _suppression(*row)


def _reason_of(connection: Connection, address: str) -> str | None:
    row: tuple[str] | None = connection.execute(_REASON, (address,)).fetchone()
    return None if row is None else row[0]


def _prevails(new: Suppression, old: Suppression) -> bool:
    if new.reason is not old.reason:
        return _WEIGHT[new.reason] > _WEIGHT[old.reason]
    return old.reason is not SuppressionReason.MANUAL and new.since < old.since


def _suppression(*row: Any) -> Suppression:
    address, reason, detail, since, event_id = row
    return Suppression(address, SuppressionReason(reason), detail, nearest_moment(since), event_id)
