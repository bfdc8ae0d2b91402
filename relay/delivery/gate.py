"""What one account lets through now, and of whom: its pace, its breaker, its lanes, the turns.

Three mechanisms that never feed each other: throttling slows the pace, trouble with the account or
the way to it opens the breaker, a refused message touches neither. Does not know mail or the queue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from typing import Final, NamedTuple

from relay.facts import Facts
from relay.mail.envelope import SenderName
from relay.mail.outcome import Ambiguous, Deferred, Failed, Outcome, Relayed
from relay.policy.breaker import Breaker
from relay.policy.bucket import TokenBucket
from relay.policy.sender import Priority
from relay.policy.shares import Shares
from relay.policy.verdict import ACCOUNT_TROUBLE
from relay.ports import Account, Clock

LANES: Final = 50
"""Calls to SES under way at once, per account."""

# Until SES has told the account's rate: what AWS gives a new production account, recipients per
# second. Too high costs a throttled call or two, too low would cost hours.
UNKNOWN_RATE: Final = 14.0


# How much of the granted rate is used, and how much of a second's worth may go at once. SES counts
# in a way it does not tell; by seconds of its own clock, a little less than the rate and almost no
# burst is what is never refused.
SHARE: Final = 0.95
BURST: Final = 0.05


class Room(NamedTuple):
    """What an account lets start now."""

    attempts: int
    bulk: int
    """How many of them may be of bulk senders: a quarter of the lanes is kept from them."""
    recipients: int
    """For about how many recipients between them."""
    wait: float
    """Seconds until some attempt may start, if none may; infinite: once one ends."""


class Lane(NamedTuple):
    """One attempt's place."""

    sender: SenderName
    is_bulk: bool
    is_probe: bool


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
        self._granted = rate
        self._bucket = TokenBucket(rate * SHARE, rate * BURST, clock.monotonic())
        self._busy_with_bulk = 0
        self._shares = Shares()
        self._waiting: Collection[SenderName] = ()
        self._quiet_until = 0.0
        self._closed = False

    def close(self) -> None:
        """Let nothing more through: the daemon is draining."""
        self._closed = True

    def room(self) -> Room:
        """Return what may start now.

        All from one reading of the clock: of two, the second may find that a wait is over and the
        first that it is not.
        """
        now = self._clock.monotonic()
        self._heed_quota(now)
        if self._closed:
            return Room(0, 0, 0, inf)
        wait = max(self._quiet_until - now, self._breaker.wait(now), self._bucket.wait(now))
        if wait > 0:
            return Room(0, 0, 0, wait)
        allowed = self._breaker.allows(now)
        tokens = self._bucket.whole(now)
        attempts = min(self.lanes - self.busy.total(), tokens)
        attempts = max(0, attempts if allowed is None else min(attempts, allowed))
        bulk = max(0, min(attempts, self.lanes * 3 // 4 - self._busy_with_bulk))
        return Room(attempts, bulk, tokens, 0.0 if attempts else inf)

    def deal(
        self,
        waiting: Mapping[SenderName, Priority],
        room: Room,
        ceilings: Mapping[SenderName, int],
    ) -> dict[SenderName, int]:
        """Say how many attempts each of the waiting senders may start, in whose order.

        No sender gets above its ceiling, what its own limits let go.
        """
        return self._shares.deal(
            waiting,
            free=room.attempts,
            free_for_bulk=room.bulk,
            busy=self.busy,
            lanes=self.lanes,
            ceilings=ceilings,
        )

    def note_waiting(self, senders: Collection[SenderName]) -> None:
        """Take note who has mail that may go, but for the account and for their share of lanes."""
        most = self.lanes // 2
        self._waiting = [name for name in senders if self.busy[name] < most]

    def is_awaited(self, sender: SenderName) -> bool:
        """Whether others than that sender wait for the account."""
        return len(self._waiting) > (sender in self._waiting)

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

    def enter(self, sender: SenderName, priority: Priority) -> Lane:
        """Occupy a lane."""
        self.busy[sender] += 1
        is_bulk = priority is Priority.BULK
        self._busy_with_bulk += is_bulk
        return Lane(sender, is_bulk, self._breaker.begun(self._clock.monotonic()))

    def leave(self, lane: Lane) -> None:
        """Give the lane back."""
        self.busy[lane.sender] -= 1
        if not self.busy[lane.sender]:
            del self.busy[lane.sender]
        self._busy_with_bulk -= lane.is_bulk
        if lane.is_probe:
            self._breaker.probe_ended()

    @contextmanager
    def keep(self, recipients: int) -> Iterator[None]:
        """Keep tokens that were dealt from being taken while it is looked up whose call it is."""
        self._bucket.take(recipients, self._clock.monotonic())
        try:
            yield
        finally:
            self._bucket.take(-recipients, self._clock.monotonic())

    def spend(self, sender: SenderName, priority: Priority, recipients: int) -> None:
        """Take the tokens of a call about to be made; SES counts recipients."""
        self._bucket.take(recipients, self._clock.monotonic())
        self._shares.charge(sender, priority, recipients)

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
        if quota is not None and quota.rate != self._granted:
            self._granted = quota.rate
            self._bucket.change(quota.rate * SHARE, quota.rate * BURST, now)
