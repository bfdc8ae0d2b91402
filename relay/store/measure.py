"""What the spool directory takes and has left, as figures for people and their alarms.

Knows where each figure is found. Does not know who shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from sqlite3 import Connection
from typing import Final, NamedTuple

from relay.mail.entry import State
from relay.mail.envelope import SenderName
from relay.store.columns import nearest_moment

# Lines are added at one end and taken away at the other, so that none need be counted.
_WAITING: Final = "SELECT coalesce(max(id) - min(id) + 1, 0) FROM outbox"
# Each from the end of an index.
_DUE: Final = """
    SELECT sender, (SELECT min(due_at) FROM entry
                    WHERE entry.sender = waiting.sender AND due_at IS NOT NULL) AS since
    FROM (SELECT DISTINCT sender FROM tally WHERE entries > 0) AS waiting
    WHERE since IS NOT NULL"""
# Of the oldest that failed or are damaged so many are passed over: some 10 ms.
_PASSED_OVER: Final = 50_000
_OLDEST: Final = """
    SELECT arrived_at FROM (SELECT arrived_at, state FROM entry ORDER BY id LIMIT ?)
    WHERE state NOT IN (?, ?) LIMIT 1"""


class Backlog(NamedTuple):
    """What waits in spool.db."""

    outbox: int
    """Lines the ledger is still to be told."""
    oldest: datetime | None
    """When the oldest mail that is still to be relayed came."""
    due: Mapping[SenderName, datetime]
    """Since when, or from when on, the mail of each sender is due that is the first to be."""


class Measure(NamedTuple):
    """The figures, octets where nothing else is said."""

    free: int
    """What mail can still take before it is refused at the floor, and the floor itself."""
    floor: int
    reserve: int
    """What is put by for outcomes; 0 while the disk is full."""
    spool_log: int
    record_log: int
    kept: int
    """Content of all mail that is kept."""
    backlog: Backlog
    spool_is_well: bool
    record_is_well: bool


def waiting(connection: Connection) -> Backlog:
    """Return what waits."""
    (lines,) = connection.execute(_WAITING).fetchone()
    oldest = connection.execute(_OLDEST, (_PASSED_OVER, State.FAILED, State.CORRUPT)).fetchone()
    due = connection.execute(_DUE)
    return Backlog(
        int(lines),
        None if oldest is None else nearest_moment(oldest[0]),
        {SenderName(sender): nearest_moment(since) for sender, since in due},
    )
