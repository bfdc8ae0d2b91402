"""How long a mail could have been attempted, and how long it was held.

Both are counted when an entry leaves the state it was in, and only while the relay is up. Knows the
columns; does not know what follows from a long wait.
"""

from __future__ import annotations

from sqlite3 import Connection
from typing import Final

from relay.mail.entry import State
from relay.store.states import ATTEMPTABLE

# Not before this process opened the spool, so that downtime never counts; and never less than
# nothing when the clock has stepped back.
_SPENT: Final = "max(0, :now - max(entered_at, :opened_at))"
_ATTEMPTABLE: Final = ", ".join(f"'{state}'" for state in sorted(ATTEMPTABLE))

WAITED: Final = f"waited + iif(state IN ({_ATTEMPTABLE}), {_SPENT}, 0)"
"""What `waited` is at `:now`, for a process that opened the spool at `:opened_at`."""

HELD: Final = f"held + iif(state = '{State.HELD}', {_SPENT}, 0)"
"""What `held` is."""

COUNTED: Final = f"waited = {WAITED}, held = {HELD}, entered_at = :now"
"""Assignments for an entry that leaves its state."""

_COUNT: Final = f"UPDATE entry SET {COUNTED} WHERE id = :id"  # noqa: S608 - our own names


def count(connection: Connection, entry: int, *, now: int, opened_at: int) -> None:
    """Count what an entry has spent in the state it is about to leave. Milliseconds."""
    connection.execute(_COUNT, {"id": entry, "now": now, "opened_at": opened_at})
