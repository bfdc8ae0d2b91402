"""What the spool directory takes and has left, as figures for people and their alarms.

Knows where each figure is found. Does not know who shows it.
"""

from __future__ import annotations

from sqlite3 import Connection
from typing import Final, NamedTuple

# Lines are added at one end and taken away at the other, so that none need be counted.
_WAITING: Final = "SELECT coalesce(max(id) - min(id) + 1, 0) FROM outbox"


class Measure(NamedTuple):
    """The figures, octets where nothing else is said."""

    free: int
    """What mail can still take before it is refused at the floor, and the floor itself."""
    floor: int
    reserve: int
    """What is put by for outcomes; 0 while the disk is full."""
    spool_log: int
    record_log: int
    outbox: int
    """Lines the ledger is still to be told."""
    spool_is_well: bool
    record_is_well: bool


def waiting_lines(connection: Connection) -> int:
    """Return how many lines the outbox has."""
    (lines,) = connection.execute(_WAITING).fetchone()
    return int(lines)
