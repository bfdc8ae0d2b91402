"""When the wall clock is not to be believed: it has stepped against monotonic time.

NTP that sets a clock, an operator, a machine that was suspended. Knows no clock: callers pass both.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from relay.policy.expiry import PROVING

STEP: Final = timedelta(minutes=5)
"""What the clocks may drift apart, all in all, before it is a step."""


class ClockWatch:
    """Compares the wall clock with monotonic time.

    A step is as a start: until both clocks have gone on together for an hour, nobody knows which
    time was right, and nothing is given up for its age.
    """

    __slots__ = ("_offset", "_until")

    def __init__(self, wall: datetime, monotonic: float) -> None:
        self._offset = wall.timestamp() - monotonic
        self._until: float | None = None

    def look(self, wall: datetime, monotonic: float) -> timedelta | None:
        """Return by how much the wall clock has stepped since the last step, if it has."""
        offset = wall.timestamp() - monotonic
        step = timedelta(seconds=offset - self._offset)
        if abs(step) <= STEP:
            return None
        self._offset = offset
        self._until = monotonic + PROVING.total_seconds()
        return step

    @property
    def is_in_doubt(self) -> bool:
        """Whether a step has not been lived down yet."""
        return self._until is not None

    def settles(self, monotonic: float) -> bool:
        """Return whether the doubt ends now."""
        if self._until is None or monotonic < self._until:
            return False
        self._until = None
        return True
