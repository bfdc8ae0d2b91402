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

    __slots__ = ("_daily", "_read_at", "_refused_until", "_reserve", "_sent", "_used")

    def __init__(self, reserve: float) -> None:
        """`reserve` is the fraction of the quota that bulk senders leave to the others."""
        self._reserve = reserve
        self._daily = inf
        self._used = 0.0
        self._sent = 0
        self._read_at = -inf
        self._refused_until = -inf

    def read(self, daily: float, used: float, now: float) -> None:
        """Note what SES reports."""
        self._daily, self._used, self._read_at = daily, used, now
        self._sent = 0
        if self.left(now) >= 1:
            self._refused_until = -inf

    def sent(self, recipients: int) -> None:
        """Note that SES took, or may have taken, mail for so many."""
        self._sent += recipients

    def refused(self, now: float) -> None:
        """Note that SES says the quota is used up."""
        self._refused_until = now + REFUSED_FOR

    def left(self, now: float) -> float:
        """Return for how many recipients mail may go; infinite where that is not known."""
        if now >= self._read_at + BELIEVED_FOR:
            return inf
        return max(0.0, self._daily - self._used - self._sent)

    def hold(self, now: float) -> Hold:
        """Say whom the quota keeps back."""
        if now < self._refused_until:
            return Hold.ALL
        left = self.left(now)
        if left < 1:
            return Hold.ALL
        # What is left of an unlimited quota is unlimited, and so is the reserve of it.
        return Hold.BULK if left < inf and left - self._daily * self._reserve < 1 else Hold.NOBODY
