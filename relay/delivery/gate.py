"""What one account lets through now: its pace, its breaker, and who occupies its lanes.

Three mechanisms that never feed each other: throttling slows the pace, trouble with the account or
the way to it opens the breaker, a refused message touches neither. Does not know mail or the queue.
"""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import Final

from relay.facts import Facts
from relay.mail.envelope import SenderName
from relay.mail.outcome import Ambiguous, Deferred, Failed, Outcome, Relayed
from relay.policy.breaker import Breaker
from relay.policy.bucket import TokenBucket
from relay.policy.verdict import ACCOUNT_TROUBLE
from relay.ports import Account, Clock

LANES: Final = 50
"""Calls to SES under way at once, per account."""

# Until SES has told the account's rate: what AWS gives a new production account, recipients per
# second. Too high costs a throttled call or two, too low would cost hours.
UNKNOWN_RATE: Final = 14.0


class Gate:
    """Admission of attempts to one account."""

    def __init__(self, account: Account, *, facts: Facts, clock: Clock, lanes: int = LANES) -> None:
        self.account = account
        self.lanes = lanes
        self.busy: Counter[SenderName] = Counter()
        self._facts = facts
        self._clock = clock
        self._breaker = Breaker()
        rate = UNKNOWN_RATE if account.quota is None else account.quota.rate
        # One second's worth: SES lets short bursts pass and refuses sustained ones.
        self._bucket = TokenBucket(rate, rate, clock.monotonic())
        self._quiet_until = 0.0
        self._closed = False

    def close(self) -> None:
        """Let nothing more through: the daemon is draining."""
        self._closed = True

    def free(self) -> tuple[int, float]:
        """Return how many attempts may start now; if none, the seconds until some may.

        Infinite where only the end of an attempt can change it. Both from one reading of the
        clock: of two, the second may find that the wait is over and the first that it is not.
        """
        now = self._clock.monotonic()
        self._heed_quota(now)
        if self._closed:
            return 0, inf
        wait = max(self._quiet_until - now, self._breaker.wait(now), self._bucket.wait(now))
        if wait > 0:
            return 0, wait
        allowed = self._breaker.allows(now)
        free = min(self.lanes - self.busy.total(), self._bucket.whole(now))
        free = free if allowed is None else min(free, allowed)
        return (free, 0.0) if free > 0 else (0, inf)

    def pace(self) -> float:
        """Return the seconds an attempt under way must wait before its next call."""
        now = self._clock.monotonic()
        return max(self._quiet_until - now, self._bucket.wait(now), 0.0)

    def condition(self) -> str:
        """Say in a word or two how the account is doing, for people."""
        now = self._clock.monotonic()
        if self._breaker.is_open:
            return f"suspended: {self._breaker.reason}"
        return "throttled" if now < self._quiet_until else "sending"

    def passes(self) -> bool:
        """Whether an attempt under way may make another call."""
        return not self._closed and not self._breaker.is_open

    def enter(self, sender: SenderName) -> bool:
        """Occupy a lane; return whether this attempt is the breaker's probe."""
        self.busy[sender] += 1
        return self._breaker.begun(self._clock.monotonic())

    def leave(self, sender: SenderName, *, was_probe: bool) -> None:
        """Give the lane back."""
        self.busy[sender] -= 1
        if not self.busy[sender]:
            del self.busy[sender]
        if was_probe:
            self._breaker.probe_ended()

    def spend(self, recipients: int) -> None:
        """Take the tokens of a call about to be made; SES counts recipients."""
        self._bucket.take(recipients, self._clock.monotonic())

    def learn(self, outcome: Outcome) -> None:
        """Let the verdict on a call move pace and breaker."""
        now = self._clock.monotonic()
        match outcome:
            case Deferred(reason="throttled" | "quota", wait=wait):
                self._bucket.drain(now)
                if wait is not None:
                    self._quiet_until = max(self._quiet_until, now + wait.total_seconds())
                self._close()
            case Deferred(reason=reason) if reason in ACCOUNT_TROUBLE:
                self._trip(reason, now)
            case Ambiguous(reason=reason):
                self._trip(reason, now)
            case Relayed() | Failed() | Deferred():
                self._close()

    def _trip(self, reason: str, now: float) -> None:
        if self._breaker.failed(reason, now):
            self._facts.breaker(self.account.name, opened=True, reason=reason)

    def _close(self) -> None:
        was_open = self._breaker.is_open
        self._breaker.succeeded()
        if was_open:
            self._facts.breaker(self.account.name, opened=False, reason="")

    def _heed_quota(self, now: float) -> None:
        quota = self.account.quota
        if quota is not None and quota.rate != self._bucket.rate:
            self._bucket.change(quota.rate, quota.rate, now)
