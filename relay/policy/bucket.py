"""A token bucket that may go into debt. Knows no clock: callers pass monotonic seconds."""

from __future__ import annotations

from math import inf
from typing import Final

# As good as without bound, and still a number to count with.
MANY: Final = 1_000_000


class TokenBucket:
    """Tokens accrue at `rate` per second up to `burst` (at least 1); more may be taken: a debt.

    SES lets a call through while any allowance is left and then makes it be earned back (Amazon SES
    blog, "How to handle a Throttling error"), so a call with 50 recipients must be able to run into
    debt rather than wait for 50 tokens a small burst can never hold.
    """

    __slots__ = ("_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = max(1.0, burst)
        self._tokens = self.burst
        self._at = now

    def _accrue(self, now: float) -> None:
        if self.rate == inf:
            # No time has to pass, and none times infinity is no number.
            self._tokens = self.burst
        # A clock that steps back must not take tokens away.
        elif now > self._at:
            self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now

    def change(self, rate: float, burst: float, now: float) -> None:
        """Go on at another rate; what was saved up or owed stays, within the new burst."""
        self._accrue(now)
        self.rate = rate
        self.burst = max(1.0, burst)
        self._tokens = min(self._tokens, self.burst)

    def whole(self, now: float) -> int:
        """Return how many whole tokens there are; 0 when in debt."""
        self._accrue(now)
        return int(min(max(self._tokens, 0.0), MANY))

    def wait(self, now: float) -> float:
        """Return the seconds until there is a whole token; 0 when there is one now."""
        self._accrue(now)
        lack = 1.0 - self._tokens
        if lack <= 0:
            return 0.0
        return lack / self.rate if self.rate > 0 else inf

    def level(self, now: float) -> float:
        """Return the tokens there are; below 0 when in debt."""
        self._accrue(now)
        return self._tokens

    def set_level(self, tokens: float, now: float) -> None:
        """Go on with so many tokens, as far as the burst allows."""
        self._tokens = min(tokens, self.burst)
        self._at = now

    def take(self, count: float, now: float) -> None:
        """Take `count` tokens, into debt if need be."""
        self._accrue(now)
        self._tokens -= count

    def drain(self, now: float) -> None:
        """Forget what was saved up, as when SES says the rate was exceeded. A debt stays."""
        self._accrue(now)
        self._tokens = min(self._tokens, 0.0)
