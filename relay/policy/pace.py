"""How much of the granted rate is used: less once SES says that it was too much, then more.

Additive increase, multiplicative decrease (Chiu, Jain: Analysis of the Increase and Decrease
Algorithms, 1989), so that several relays and other applications that share an account come to share
its rate. Knows no clock: callers pass monotonic seconds.
"""

from __future__ import annotations

from math import inf
from typing import Final

CUT: Final = 0.8
"""What is left of the share in use when SES says that the rate was exceeded."""
RETURN: Final = 50.0
"""Seconds until the share is again what was too much: of the calls meanwhile about one in a hundred
is refused at two recipients a second, fewer at more."""
RECOVERY: Final = 1 / 200
"""How much of the granted rate comes back each second beyond that: it was let through, so whoever
had the rest of it may be gone."""
FLOOR: Final = 1 / 50
"""The least share: below it even one message would wait for too long to learn anything."""
ECHO: Final = 2.0
"""Seconds after a cut in which refusals say nothing new: those calls were under way before."""


class Pace:
    """The share of the granted rate in use."""

    __slots__ = ("_cut_at", "_deaf_until", "_limit", "_low", "_share")

    def __init__(self) -> None:
        self._share = 1.0
        # What was too much, what was left of it, and when.
        self._limit = 1.0
        self._low = 1.0
        self._cut_at = 0.0
        self._deaf_until = -inf

    @property
    def is_cut(self) -> bool:
        """Whether less than all may be in use; cheap, for who asks before every call."""
        return self._share < 1

    def share(self, now: float) -> float:
        """Return the share in use at `now`, above 0 and at most 1."""
        if self._share < 1:
            passed = max(0.0, now - self._cut_at)
            if passed < RETURN:
                share = self._low + (self._limit - self._low) * passed / RETURN
            else:
                share = self._limit + (passed - RETURN) * RECOVERY
            # A clock that steps back takes nothing away.
            self._share = min(1.0, max(self._share, share))
        return self._share

    def exceeded(self, now: float) -> bool:
        """Note that SES refused a call for its rate; return whether the share was cut for it."""
        if now < self._deaf_until:
            return False
        self._limit = self.share(now)
        self._share = self._low = max(FLOOR, self._limit * CUT)
        self._cut_at = now
        self._deaf_until = now + ECHO
        return True
