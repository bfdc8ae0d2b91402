"""What one account lets through now, and of whom: its pace, its breaker, its lanes, the turns.

Three mechanisms that never feed each other: throttling slows the pace or waits for the day's quota,
trouble with the account or the way to it opens the breaker, a refused message touches neither. Does
not know mail or the queue.
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
from relay.policy.breaker import Breaker, BreakerState
from relay.policy.bucket import TokenBucket
from relay.policy.day import DailyQuota, Hold
from relay.policy.hearing import Hearing
from relay.policy.pace import Pace
from relay.policy.sender import Priority
from relay.policy.shares import Shares
from relay.policy.verdict import ACCOUNT_TROUBLE
from relay.ports import Account, Clock, SendQuota

LANES: Final = 50
"""Calls to SES under way at once, per account."""

# Until SES has told the account's rate: what AWS gives a new production account, recipients per
# second. Too high costs a throttled call or two, too low would cost hours.
UNKNOWN_RATE: Final = 14.0


# How much of the granted rate is used, and how much of a second's worth may go at once. SES counts
# in a way it does not tell; by seconds of its own clock, no more than the rate in any second, burst
# included, is what is never refused.
SHARE: Final = 0.97
BURST: Final = 1 - SHARE

# How soon it is looked again whether the daily quota has been freed, in seconds.
DAY_LOOK: Final = 30.0
RESERVE: Final = 0.1
"""What of the daily quota bulk senders leave to the others, unless the configuration says it."""


class Room(NamedTuple):
    """What an account lets start now."""

    attempts: int
    bulk: int
    """How many of them may be of bulk senders: a quarter of the lanes is kept from them."""
    recipients: int
    """For about how many recipients between them."""
    wait: float
    """Seconds until more may start than now; infinite: once an attempt ends."""
    likely: int = 0
    """How many of them are likely to be answered; besides, the first of any sender."""


class Condition(NamedTuple):
    """How an account is doing, for operators. Rates are recipients a second."""

    rate: float
    """What is used of what is granted."""
    granted: float | None
    """What SES grants, or the operator where that is less; None: not known yet."""
    daily: float | None
    used: float | None
    """Recipients in the last 24 hours: what SES reported, and what it took from us since."""
    hold: Hold
    breaker: BreakerState
    reason: str
    """Why the breaker is not closed."""
    probe_in: float
    """Seconds until SES is asked whether it is over."""
    under_way: int

    @property
    def is_slowed(self) -> bool:
        """Whether less of the rate is used because SES said that it was exceeded."""
        return self.granted is not None and self.rate < self.granted


class Lane(NamedTuple):
    """One attempt's place."""

    sender: SenderName
    is_bulk: bool
    is_probe: bool
    age: int
    """Of what was heard of SES when it was taken."""


class Gate:
    """Admission of attempts to one account."""

    def __init__(
        self,
        account: Account,
        *,
        facts: Facts,
        clock: Clock,
        lanes: int = LANES,
        reserve: float = RESERVE,
    ) -> None:
        """`reserve` is the fraction of the daily quota that bulk senders leave to the others.

        Not to the last recipient: what is under way is counted once it is answered.
        """
        self.account = account
        self.lanes = lanes
        self.busy: Counter[SenderName] = Counter()
        self._facts = facts
        self._clock = clock
        self._breaker = Breaker()
        self._pace = Pace()
        self._hearing = Hearing()
        self._day = DailyQuota(reserve)
        self._held = Hold.NOBODY
        self._quota: SendQuota | None = None
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
        hold = self._hold(now)
        wait = max(self._quiet_until - now, self._breaker.wait(now), self._bucket.wait(now))
        if hold is Hold.ALL:
            wait = max(wait, DAY_LOOK)
        if wait > 0:
            return Room(0, 0, 0, wait)
        allowed = self._breaker.allows(now)
        tokens = self._bucket.whole(now)
        left = self._day.left(now)
        if left < tokens:
            tokens = int(left)
        attempts = min(self.lanes - self.busy.total(), tokens)
        attempts = max(0, attempts if allowed is None else min(attempts, allowed))
        # An open breaker asks one by one anyway.
        likely = attempts if allowed is not None else self._hearing.allows(now)
        wait = inf if likely else self._hearing.wait(now)
        if hold is Hold.BULK:
            return Room(attempts, 0, tokens, min(wait, DAY_LOOK), likely)
        bulk = max(0, min(attempts, self.lanes * 3 // 4 - self._busy_with_bulk))
        return Room(attempts, bulk, tokens, wait, likely)

    def deal(
        self,
        waiting: Mapping[SenderName, Priority],
        room: Room,
        ceilings: Mapping[SenderName, int],
    ) -> dict[SenderName, int]:
        """Say how many attempts each of the waiting senders may start, in whose order.

        No sender gets above its ceiling, what its own limits let go.
        """
        free = room.attempts
        if room.likely:
            free = min(free, room.likely)
        else:
            # Nothing is heard of SES, perhaps for the mail of those who wait for it.
            waiting = {
                name: waiting[name] for name in waiting if not self._hearing.is_unheard(name)
            }
            ceilings = {name: min(1, ceilings.get(name, 1)) for name in waiting}
        return self._shares.deal(
            waiting,
            free=free,
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

    def pace(self, priority: Priority) -> float:
        """Return the seconds an attempt under way must wait before its next call."""
        now = self._clock.monotonic()
        hold = self._hold(now)
        if hold is Hold.ALL or (hold is Hold.BULK and priority is Priority.BULK):
            return DAY_LOOK
        return max(self._quiet_until - now, self._bucket.wait(now), 0.0)

    def condition(self) -> Condition:
        """Say how the account is doing."""
        now = self._clock.monotonic()
        self._heed_quota(now)
        quota, left = self._quota, self._day.left(now)
        return Condition(
            rate=self._granted * self._pace.share(now),
            granted=None if quota is None else quota.rate,
            daily=None if quota is None else quota.daily,
            used=None if quota is None or left == inf else quota.daily - left,
            hold=self._hold(now),
            breaker=self._breaker.state(now),
            reason=self._breaker.reason if self._breaker.is_open else "",
            probe_in=self._breaker.wait(now),
            under_way=self.busy.total(),
        )

    def passes(self) -> bool:
        """Whether an attempt under way may make another call."""
        return not self._closed and not self._breaker.is_open

    def enter(self, sender: SenderName, priority: Priority) -> Lane:
        """Occupy a lane."""
        self.busy[sender] += 1
        is_bulk = priority is Priority.BULK
        self._busy_with_bulk += is_bulk
        now = self._clock.monotonic()
        self._hearing.begun(sender, now)
        return Lane(sender, is_bulk, self._breaker.begun(now), self._hearing.age)

    def leave(self, lane: Lane) -> None:
        """Give the lane back."""
        self.busy[lane.sender] -= 1
        if not self.busy[lane.sender]:
            del self.busy[lane.sender]
        self._busy_with_bulk -= lane.is_bulk
        self._hearing.ended(lane.sender, lane.age)
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

    def learn(self, outcome: Outcome, recipients: int) -> None:
        """Let the verdict on a call for so many recipients move pace, quota and breaker."""
        self._listen(outcome)
        match outcome:
            case Relayed():
                self._day.sent(recipients)
                self._close()
            case Deferred(reason="throttled", wait=wait):
                self._slow_down(0.0 if wait is None else wait.total_seconds())
                self._close()
            case Deferred(reason="quota"):
                self._day.refused(self._clock.monotonic())
                self._close()
            case Deferred(reason=reason) if reason in ACCOUNT_TROUBLE:
                self._trip(reason, self._clock.monotonic())
            case Ambiguous(reason=reason):
                # SES counts what it took, whoever heard of it.
                self._day.sent(recipients)
                self._trip(reason, self._clock.monotonic())
            case Failed() | Deferred():
                self._close()

    def _listen(self, outcome: Outcome) -> None:
        match outcome:
            case Ambiguous(reason="timeout"):
                self._hearing.missed()
            case Deferred(reason="connection"):
                pass  # nothing was sent
            case _:
                self._hearing.heard(self._clock.monotonic())

    def _slow_down(self, wait: float) -> None:
        now = self._clock.monotonic()
        self._bucket.drain(now)
        self._quiet_until = max(self._quiet_until, now + wait)
        if self._pace.exceeded(now):
            self._set_rate(now)
            used = self._granted * self._pace.share(now)
            self._facts.slowed(self.account.name, used, self._granted)

    def _trip(self, reason: str, now: float) -> None:
        if self._breaker.failed(reason, now):
            self._facts.breaker(self.account.name, opened=True, reason=reason)

    def _close(self) -> None:
        was_open = self._breaker.is_open
        self._breaker.succeeded()
        if was_open:
            self._facts.breaker(self.account.name, opened=False, reason="")

    def _hold(self, now: float) -> Hold:
        hold = self._day.hold(now)
        if hold is not self._held:
            self._held = hold
            self._facts.daily_quota(self.account.name, hold, self._day.left(now))
        return hold

    def _heed_quota(self, now: float) -> None:
        quota = self.account.quota
        if quota is not None and quota is not self._quota:
            known, self._quota = self._quota, quota
            # Two readings may say the same, and the second one is news all the same.
            if known is None or quota != known or quota.number != known.number:
                self._day.read(quota.daily, quota.used, now)
            if quota.rate != self._granted:
                self._granted = quota.rate
                self._set_rate(now)
        if self._pace.is_cut:
            self._set_rate(now)

    def _set_rate(self, now: float) -> None:
        rate = self._granted * self._pace.share(now)
        self._bucket.change(rate * SHARE, rate * BURST, now)
