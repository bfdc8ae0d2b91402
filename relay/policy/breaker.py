"""When to stop asking an account that cannot answer, and when to ask again.

Counts failures of the way to SES and of our credentials; never throttling, never a refusal of one
message: those three must not feed each other. Knows no clock: callers pass monotonic seconds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

FAILURES_TO_OPEN: Final = 3
FIRST_PAUSE: Final = 5.0  # seconds
LONGEST_PAUSE: Final = 120.0


class BreakerState(StrEnum):
    """Closed lets all through, open nothing, half-open one probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """Opens after consecutive failures; then lets one probe through after each growing pause."""

    __slots__ = ("_failures", "_opened_until", "_pause", "_probing", "reason")

    def __init__(self) -> None:
        self._failures = 0
        self._opened_until: float | None = None
        self._pause = FIRST_PAUSE
        self._probing = False
        self.reason = ""

    def state(self, now: float) -> BreakerState:
        """Return the state at `now`."""
        if self._opened_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._opened_until else BreakerState.HALF_OPEN

    @property
    def is_open(self) -> bool:
        """Whether it has opened and no success has closed it yet."""
        return self._opened_until is not None

    def allows(self, now: float) -> int | None:
        """Return how many attempts may start: None for any number, 1 for a probe, 0 for none."""
        match self.state(now):
            case BreakerState.CLOSED:
                return None
            case BreakerState.HALF_OPEN if not self._probing:
                return 1
            case _:
                return 0

    def begun(self, now: float) -> bool:
        """Note that an attempt starts; return whether it is the probe."""
        if self.state(now) is not BreakerState.HALF_OPEN:
            return False
        self._probing = True
        return True

    def probe_ended(self) -> None:
        """Note that the probe is over, even if it ended without asking SES anything."""
        self._probing = False

    def succeeded(self) -> None:
        """Note that SES answered sensibly, whatever it said: the way is open."""
        self._failures = 0
        self._opened_until = None
        self._pause = FIRST_PAUSE
        self._probing = False
        self.reason = ""

    def failed(self, reason: str, now: float) -> bool:
        """Note a failure of the way to SES; return whether this one opened the breaker."""
        self._failures += 1
        self.reason = reason
        if self._opened_until is not None:
            # Attempts begun before it opened fail late; only a failure in half-open is news.
            if now >= self._opened_until:
                self._pause = min(self._pause * 2, LONGEST_PAUSE)
                self._opened_until = now + self._pause
            return False
        if self._failures < FAILURES_TO_OPEN:
            return False
        self._opened_until = now + self._pause
        return True

    def wait(self, now: float) -> float:
        """Return the seconds until a probe may start; 0 when something may start now."""
        return 0.0 if self._opened_until is None else max(0.0, self._opened_until - now)
