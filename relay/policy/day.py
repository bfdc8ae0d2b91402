"""What an account may still send today, and what of it is kept for mail that cannot wait.

SES counts recipients in a rolling 24 hours and refuses a call that would exceed them whole (SES
Developer Guide, sending quotas). Knows no clock: callers pass monotonic seconds.
"""

from __future__ import annotations

from enum import StrEnum
from math import inf
from typing import Final

REFUSED_FOR: Final = 900.0
"""Seconds after a refusal until SES is asked again, unless it reports room before."""
BELIEVED_FOR: Final = 3600.0
"""Seconds after which what SES reported holds nobody back: by then some of it has been freed."""


class Hold(StrEnum):
    """Whom the daily quota keeps back."""

    NOBODY = "nobody"
    BULK = "bulk"
    """Bulk senders: what is left is the reserve of the transactional ones."""
    ALL = "all"


class DailyQuota:
    """What is left by SES's last report, less what it has taken from us since.

    Without a report nothing is known, and only a refusal by SES holds mail back.
    """

    __slots__ = ("_enough", "_left", "_read_at", "_refused_until", "_reserve", "daily")

    def __init__(self, reserve: float) -> None:
        """`reserve` is the fraction of the quota that bulk senders leave to the others."""
        self._reserve = reserve
        self.daily = inf
        self._left = inf
        # With as much left nobody is held back.
        self._enough = 1.0
        self._read_at = -inf
        self._refused_until = -inf

    def read(self, daily: float, used: float, now: float) -> None:
        """Note what SES reports."""
        self.daily, self._read_at = daily, now
        self._left = daily - used
        # What is left of an unlimited quota is unlimited, and so would be the reserve of it.
        self._enough = 1.0 if daily == inf else 1.0 + daily * self._reserve
        if self._left >= 1:
            self._refused_until = -inf

    def sent(self, recipients: int) -> None:
        """Note that SES took, or may have taken, mail for so many."""
        self._left -= recipients

    def refused(self, now: float) -> None:
        """Note that SES says the quota is used up."""
        self._refused_until = now + REFUSED_FOR

    def left(self, now: float) -> float:
        """Return for how many recipients mail may go; infinite where that is not known."""
        return inf if now >= self._read_at + BELIEVED_FOR else max(0.0, self._left)

    def hold(self, now: float) -> Hold:
        """Say whom the quota keeps back. Asked before every attempt."""
        if now < self._refused_until:
            return Hold.ALL
        if self._left >= self._enough:
            return Hold.NOBODY
        left = self.left(now)
        if left >= self._enough:
            return Hold.NOBODY
        return Hold.BULK if left >= 1 else Hold.ALL
