"""The rows of the suppression list: found, added, removed, and which of two reasons prevails.

Knows the suppression and removal tables. Does not know what is kept of them in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from sqlite3 import Connection
from typing import Any, Final, NamedTuple

from relay.mail.feedback import SoftBounces, Suppression, SuppressionReason
from relay.store.columns import milliseconds, nearest_moment

_COLUMNS: Final = "address, scope, reason, detail, since, last_seen, until, event_id, spelling"
_SELECT: Final = f"SELECT {_COLUMNS} FROM suppression "  # noqa: S608 - our own names
_PAGE: Final = _SELECT + "WHERE (address, scope) > (?, ?) ORDER BY address, scope LIMIT ?"
_ALL: Final = _SELECT + "WHERE address = ? ORDER BY scope"
_ONE: Final = _SELECT + "WHERE address = ? AND scope = ?"
_REASON: Final = "SELECT reason FROM suppression WHERE address = ? AND scope = ?"
# As they are stored: what is not UTF-8 would be changed by reading it as text.
_KEYS: Final = """
    SELECT CAST(address AS BLOB), scope FROM suppression
    WHERE (address, scope) > (CAST(? AS TEXT), ?) ORDER BY address, scope LIMIT ?"""
# Not by groups, for which a million reasons would be sorted in memory.
_COUNTS: Final = "SELECT {} FROM suppression".format(  # noqa: S608 - our own names
    ", ".join(f"count(*) FILTER (WHERE reason = '{reason}')" for reason in SuppressionReason)
)
_PUT: Final = f"""
    INSERT OR REPLACE INTO suppression ({_COLUMNS}, sweep)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""  # noqa: S608 - our own names
_SEEN: Final = """
    UPDATE suppression SET last_seen = max(last_seen, ?), until = max(until, ?)
    WHERE address = ? AND scope = ?"""
_SWEPT: Final = "UPDATE suppression SET sweep = ? WHERE address = ? AND scope = ?"
_DELETE: Final = "DELETE FROM suppression WHERE address = ? AND scope = ?"
_REMOVED_AT: Final = "SELECT at FROM removal WHERE address = ?"
_REMOVE: Final = "INSERT OR REPLACE INTO removal VALUES (?, ?)"
_OVER: Final = "SELECT address, scope, reason FROM suppression WHERE until <= ? LIMIT ?"
_STALE: Final = """
    SELECT address, scope, reason FROM suppression
    WHERE scope = ? AND sweep <> ? AND (address, scope) > (?, ?) ORDER BY address, scope LIMIT ?"""
# The same bounce may come in both formats of SES; it bounced once.
_SOFT: Final = """
    SELECT count(DISTINCT feedback_id) FROM event
    WHERE lower(recipient) = ? AND kind = 'bounce' AND detail LIKE 'Transient/%'
        AND at > ? AND at <= ?"""

_LOADED_AT_ONCE: Final = 2000
# An operator's word outlasts events; a complaint says more than a bounce.
_WEIGHT: Final = {
    SuppressionReason.BOUNCE: 0,
    SuppressionReason.COMPLAINT: 1,
    SuppressionReason.MANUAL: 2,
}


class Change(NamedTuple):
    """What a transaction did to one entry: for what reason it was listed, and is; None is not."""

    address: str
    before: str | None
    after: str | None


def addresses(connection: Connection, counts: Counter[str]) -> Iterator[bytes]:
    """Yield every address, once for each of its entries, and count the reasons."""
    found = connection.execute(_COUNTS).fetchone()
    counts.update(dict(zip([reason.value for reason in SuppressionReason], found, strict=True)))
    after: tuple[bytes, str] = (b"", "")
    while page := connection.execute(_KEYS, (*after, _LOADED_AT_ONCE)).fetchall():
        yield from [address for address, _ in page]
        after = page[-1]


def page_of(connection: Connection, after: tuple[str, str], limit: int) -> Sequence[Suppression]:
    """Return entries in order of address and scope, after the given one."""
    return [_suppression(*row) for row in connection.execute(_PAGE, (*after, limit))]


def entries_of(connection: Connection, address: str) -> Sequence[Suppression]:
    """Return all entries of an address, those of everybody first."""
    return [_suppression(*row) for row in connection.execute(_ALL, (address,))]


def take_in(connection: Connection, suppression: Suppression) -> Change | None:
    """Add what an event causes; None if it changes no reason.

    The result does not depend on the order in which events arrive: the weightier reason prevails,
    of equal ones the one that lasts, then the earlier. What an operator removed comes back only by
    a later event.
    """
    removed = removed_at(connection, suppression.address)
    seen = milliseconds(suppression.since)
    if removed is not None and seen <= removed:
        return None
    listed = _entry_of(connection, suppression.address, suppression.scope)
    if listed is None or (listed.until is not None and listed.until <= suppression.since):
        return put(connection, suppression)
    if _prevails(suppression, listed):
        last_seen = max(suppression.since, listed.last_seen or listed.since)
        return put(connection, replace(suppression, last_seen=last_seen))
    until = None if suppression.until is None else milliseconds(suppression.until)
    longer = until if listed.until is not None and suppression.reason is listed.reason else None
    known = None if listed.until is None else milliseconds(listed.until)
    key = (suppression.address, suppression.scope)
    connection.execute(_SEEN, (seen, longer if longer is not None else known, *key))
    return None


def soft_count(connection: Connection, address: str, soft: SoftBounces, at: datetime) -> int:
    """Return how often an address has bounced softly within that time, up to `at`.

    What was before an operator's removal is forgiven.
    """
    since = max(milliseconds(at - soft.within), removed_at(connection, address) or 0)
    (count,) = connection.execute(_SOFT, (address, since, milliseconds(at))).fetchone()
    return int(count)


def put(connection: Connection, suppression: Suppression, sweep: int = 0) -> Change:
    """Add or replace an entry."""
    before = _reason_of(connection, suppression.address, suppression.scope)
    since = milliseconds(suppression.since)
    until, last = suppression.until, suppression.last_seen
    connection.execute(
        _PUT,
        (
            suppression.address,
            suppression.scope,
            suppression.reason,
            suppression.detail,
            since,
            since if last is None else milliseconds(last),
            None if until is None else milliseconds(until),
            suppression.event_id,
            suppression.spelling or suppression.address,
            sweep,
        ),
    )
    return Change(suppression.address, before, suppression.reason.value)


def copy(connection: Connection, suppression: Suppression, sweep: int) -> Change | None:
    """Follow an entry of SES's own list; None if that changes nothing.

    What an operator has removed here since SES listed it stays removed.
    """
    key = (suppression.address, suppression.scope)
    removed = removed_at(connection, suppression.address)
    if removed is not None and milliseconds(suppression.since) <= removed:
        return None
    listed = _entry_of(connection, *key)
    if listed is not None and (listed.reason, listed.since) == (
        suppression.reason,
        suppression.since,
    ):
        connection.execute(_SWEPT, (sweep, *key))
        return None
    return put(connection, suppression, sweep)


def stale(connection: Connection, scope: str, sweep: int, limit: int) -> list[Change]:
    """Remove some entries of a scope that the last full sweep did not meet: SES has let them go."""
    found = connection.execute(_STALE, (scope, sweep, "", "", limit)).fetchall()
    return [_drop(connection, *row) for row in found]


def over(connection: Connection, now: datetime, limit: int) -> list[Change]:
    """Remove some entries whose time is over."""
    found = connection.execute(_OVER, (milliseconds(now), limit)).fetchall()
    return [_drop(connection, *row) for row in found]


def remove(connection: Connection, address: str, scope: str | None, now: datetime) -> list[Change]:
    """Remove an entry, or all of an address, so that no event older than `now` brings it back."""
    rows = connection.execute(
        "SELECT address, scope, reason FROM suppression WHERE address = ?", (address,)
    ).fetchall()
    changes = [_drop(connection, *row) for row in rows if scope is None or row[1] == scope]
    if changes:
        connection.execute(_REMOVE, (address, milliseconds(now)))
    return changes


def removed_at(connection: Connection, address: str) -> int | None:
    """Return when an operator last took the address off, in milliseconds; None if never."""
    row: tuple[int] | None = connection.execute(_REMOVED_AT, (address,)).fetchone()
    return None if row is None else row[0]


def _drop(connection: Connection, address: str, scope: str, reason: str) -> Change:
    connection.execute(_DELETE, (address, scope))
    return Change(address, reason, None)


def _entry_of(connection: Connection, address: str, scope: str) -> Suppression | None:
    row = connection.execute(_ONE, (address, scope)).fetchone()
    return None if row is None else _suppression(*row)


def _reason_of(connection: Connection, address: str, scope: str) -> str | None:
    row: tuple[str] | None = connection.execute(_REASON, (address, scope)).fetchone()
    return None if row is None else row[0]


def _prevails(new: Suppression, old: Suppression) -> bool:
    if new.reason is not old.reason:
        return _WEIGHT[new.reason] > _WEIGHT[old.reason]
    if old.reason is SuppressionReason.MANUAL:
        return False
    if (new.until is None) is not (old.until is None):
        return new.until is None
    return new.until is None and new.since < old.since


def _suppression(*row: Any) -> Suppression:
    address, scope, reason, detail, since, last_seen, until, event_id, spelling = row
    return Suppression(
        address=address,
        reason=SuppressionReason(reason),
        detail=detail,
        since=nearest_moment(since),
        event_id=event_id,
        scope=scope,
        last_seen=nearest_moment(last_seen),
        until=None if until is None else nearest_moment(until),
        spelling=spelling,
    )
