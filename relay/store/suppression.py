"""The suppression list: answered from memory, kept in record.db.

Knows the list and which of two reasons prevails. Does not know where reasons come from. How the
list lies in memory is known to SuppressionList alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from sqlite3 import Connection
from typing import Any, Final

from relay.mail.address import Address
from relay.mail.feedback import Suppression, SuppressionReason
from relay.store.columns import milliseconds, moment

_SELECT: Final = "SELECT address, reason, detail, since, event_id FROM suppression "
_PAGE: Final = _SELECT + "WHERE address > ? ORDER BY address LIMIT ?"
_ONE: Final = _SELECT + "WHERE address = ?"
_PUT: Final = "INSERT OR REPLACE INTO suppression VALUES (?, ?, ?, ?, ?)"
_REMOVED_AT: Final = "SELECT at FROM removal WHERE address = ?"
_REMOVE: Final = "INSERT OR REPLACE INTO removal VALUES (?, ?)"

_LOADED_AT_ONCE: Final = 10_000
# An operator's word outlasts events; a complaint says more than a bounce.
_WEIGHT: Final = {
    SuppressionReason.BOUNCE: 0,
    SuppressionReason.COMPLAINT: 1,
    SuppressionReason.MANUAL: 2,
}


class SuppressionList:
    """Who is not mailed, in memory (ports.Suppressions). Changed only after it is durable."""

    def __init__(self) -> None:
        self._by_address: dict[str, Suppression] = {}
        self._counts = dict.fromkeys(SuppressionReason, 0)

    def counts(self) -> Mapping[SuppressionReason, int]:
        """Return the number of addresses by reason; every reason is present."""
        return self._counts

    def find(self, address: Address) -> Suppression | None:
        """Return why the address is not mailed, or None."""
        if not self._by_address:
            return None
        return self._by_address.get(address.folded)

    def load(self, connection: Connection) -> None:
        """Read the whole list, page by page."""
        after = ""
        while page := page_of(connection, after, _LOADED_AT_ONCE):
            for suppression in page:
                self.put(suppression)
            after = page[-1].address

    def put(self, suppression: Suppression) -> None:
        """Have the address suppressed for that reason."""
        self.drop(suppression.address)
        self._by_address[suppression.address] = suppression
        self._counts[suppression.reason] += 1

    def drop(self, address: str) -> None:
        """Have the (folded) address mailed again."""
        gone = self._by_address.pop(address, None)
        if gone is not None:
            self._counts[gone.reason] -= 1


def page_of(connection: Connection, after: str, limit: int) -> Sequence[Suppression]:
    """Return entries in order of address, after the given one."""
    return [_suppression(*row) for row in connection.execute(_PAGE, (after, limit))]


def take_in(connection: Connection, suppression: Suppression) -> bool:
    """Add what an event causes; False if it changes nothing.

    The result does not depend on the order in which events arrive: the weightier reason prevails,
    of equal ones the earlier. What an operator removed comes back only by a later event.
    """
    removed = connection.execute(_REMOVED_AT, (suppression.address,)).fetchone()
    if removed is not None and milliseconds(suppression.since) <= removed[0]:
        return False
    row = connection.execute(_ONE, (suppression.address,)).fetchone()
    if row is not None and not _prevails(suppression, _suppression(*row)):
        return False
    put(connection, suppression)
    return True


def put(connection: Connection, suppression: Suppression) -> None:
    """Add or replace an entry."""
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


def remove(connection: Connection, address: str, now: datetime) -> bool:
    """Remove an entry, so that no event older than `now` brings it back; False if there is none."""
    gone = connection.execute("DELETE FROM suppression WHERE address = ?", (address,)).rowcount
    if gone:
        connection.execute(_REMOVE, (address, milliseconds(now)))
    return bool(gone)


def _prevails(new: Suppression, old: Suppression) -> bool:
    if new.reason is not old.reason:
        return _WEIGHT[new.reason] > _WEIGHT[old.reason]
    return old.reason is not SuppressionReason.MANUAL and new.since < old.since


def _suppression(*row: Any) -> Suppression:
    address, reason, detail, since, event_id = row
    return Suppression(address, SuppressionReason(reason), detail, moment(since), event_id)
