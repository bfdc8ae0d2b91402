"""How long a mail could have been attempted, and how long it was held.

Both are counted when an entry leaves the state it was in, in the relay's own time: that passes only
while the spool is open, and no step of the wall clock is in it. Knows the columns; does not know
what follows from a long wait.
"""

from __future__ import annotations

from datetime import datetime
from sqlite3 import Connection
from typing import Final, NamedTuple

from relay.mail.entry import State
from relay.store.states import ATTEMPTABLE


class Instant(NamedTuple):
    """A moment as the spool writes it down.

    `wall` is what people read and what due times are compared with. Durations are counted by
    `uptime`: milliseconds for which the spool has been open, in all of its runs together (see
    relay.store.uptime). `run` is the number of this run.
    """

    wall: datetime
    uptime: int
    run: int


# Never less than nothing: after a kill, time begins a little before it was last read.
IN_STATE: Final = "max(0, :uptime - entered_up)"
"""How long an entry has been in its state at `:uptime`."""

_ATTEMPTABLE: Final = ", ".join(f"'{state}'" for state in sorted(ATTEMPTABLE))
# States that mail leaves for its next attempt only when something lets it go.
_KEPT: Final = ", ".join(f"'{state}'" for state in (State.HELD, State.FAILED, State.CORRUPT))

IS_ATTEMPTABLE: Final = f"state IN ({_ATTEMPTABLE})"
"""Whether an entry waits for nothing but its time."""

WAITED: Final = f"waited + iif({IS_ATTEMPTABLE}, {IN_STATE}, 0)"
"""What `waited` is at `:uptime`."""

HELD: Final = f"held + iif(state = '{State.HELD}', {IN_STATE}, 0)"
"""What `held` is."""

COUNTED: Final = (
    f"waited = {WAITED}, held = {HELD}, entered_up = :uptime, "
    f"freed_up = iif(state IN ({_KEPT}), :uptime, freed_up)"
)
"""Assignments for an entry that leaves its state."""

_COUNT: Final = f"UPDATE entry SET {COUNTED} WHERE id = :id"  # noqa: S608 - our own names


def count(connection: Connection, entry: int, now: Instant) -> None:
    """Count what an entry has spent in the state it is about to leave."""
    connection.execute(_COUNT, {"id": entry, "uptime": now.uptime})
