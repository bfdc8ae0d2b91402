"""What is left of each sender's own limits: messages by a bucket, recipients by rolling quotas.

One register for the front door, which refuses above them, and for delivery, which paces. Knows no
clock: callers pass monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from relay.mail.envelope import SenderName
from relay.policy.bucket import MANY, TokenBucket
from relay.policy.quota import RollingQuota
from relay.policy.sender import Limits, Rate, Sender


class Lack(NamedTuple):
    """A limit that is used up, and the seconds until it no longer is (infinite: never)."""

    limit: Rate
    wait: float


class Taken(NamedTuple):
    """Recipients that were counted: how many, and in which part of each window."""

    recipients: int
    parts: Mapping[float, int]


# How much more may be used than was written down, as a share of the limit. A kill costs the sender
# this much at most, and writing down is needed that seldom.
_MARGIN: Final = 0.01


@dataclass(frozen=True, slots=True)
class Usage:
    """How far a sender's limits were used, written down for the next start.

    `rate` and `burst` are those the `tokens` belong to; None without a rate. `quotas` has for each
    window, by its seconds, what was taken how long ago. Up to `messages` and `recipients` more may
    have been used since.
    """

    rate: Rate | None
    burst: int
    tokens: float
    quotas: Mapping[float, Sequence[tuple[float, int]]]
    messages: int
    recipients: int


class Allowance:
    """What one sender may still send.

    `on_uncovered` is called when more was used than is written down somewhere: first of all, and
    then whenever a hundredth of a limit was used since `usage` was last asked for.
    """

    __slots__ = ("_bucket", "_messages", "_on_uncovered", "_quotas", "_recipients", "limits")

    def __init__(
        self, limits: Limits, now: float, on_uncovered: Callable[[], None] = lambda: None
    ) -> None:
        self.limits = limits
        rate = limits.rate
        self._bucket = None if rate is None else TokenBucket(rate.per_second, limits.burst, now)
        self._quotas = tuple(RollingQuota(limit) for limit in limits.recipients)
        self._on_uncovered = on_uncovered
        # What may still be used before it is to be written down how much was.
        self._messages = 0
        self._recipients = 0

    def changed_to(self, limits: Limits, now: float) -> Allowance:
        """Return what is left under new limits: a full burst, and quotas used as far as before."""
        new = Allowance(limits, now, self._on_uncovered)
        used = {quota.limit.seconds: quota for quota in self._quotas}
        for quota in new._quotas:
            if (before := used.get(quota.limit.seconds)) is not None:
                quota.go_on_from(before)
        return new

    def recall(self, usage: Usage, elapsed: float, now: float) -> None:
        """Go on from what was written down so many seconds ago.

        As by a reload, other limits begin with a full burst, and with quotas used as far as before.
        What may have been used since is taken to have been, and just now.
        """
        limits, bucket = self.limits, self._bucket
        if bucket is not None and (limits.rate, limits.burst) == (usage.rate, usage.burst):
            tokens = min(bucket.burst, usage.tokens + elapsed * bucket.rate)
            bucket.set_level(tokens - usage.messages, now)
        for quota in self._quotas:
            ages = usage.quotas.get(quota.limit.seconds)
            if ages is not None:
                quota.recall([(age + elapsed, taken) for age, taken in ages], now)
                if usage.recipients:
                    quota.take(usage.recipients, now)

    def usage(self, now: float, *, is_last: bool = False) -> Usage:
        """Return how far the limits are used, to be written down.

        Covers a little that is not used yet, unless nothing more will be (`is_last`).
        """
        messages, recipients = (0, 0) if is_last else self._margins()
        self._messages, self._recipients = messages, recipients
        bucket = self._bucket
        return Usage(
            rate=self.limits.rate,
            burst=self.limits.burst,
            tokens=0.0 if bucket is None else bucket.level(now),
            quotas={quota.limit.seconds: quota.ages(now) for quota in self._quotas},
            messages=messages,
            recipients=recipients,
        )

    def uncover(self) -> None:
        """Take note that what was to be written down could not be."""
        self._messages = self._recipients = 0

    def _margins(self) -> tuple[int, int]:
        bucket = self._bucket
        # A second's worth of a fast rate: what is written down several times a second is too much.
        messages = 0 if bucket is None else int(max(1.0, bucket.burst * _MARGIN, bucket.rate))
        recipients = min((quota.limit.count for quota in self._quotas), default=0)
        return messages, max(1, int(recipients * _MARGIN)) if recipients else 0

    def lack_of_messages(self, now: float) -> Lack | None:
        """Say what keeps the next message, if its rate does."""
        if self._bucket is None or self.limits.rate is None:
            return None
        wait = self._bucket.wait(now)
        return Lack(self.limits.rate, wait) if wait > 0 else None

    def lack_of_recipients(self, count: int, now: float) -> Lack | None:
        """Say which quota keeps so many recipients: the one that does longest."""
        lacks = [Lack(quota.limit, quota.wait(now, count)) for quota in self._quotas]
        lack = max(lacks, key=lambda lack: lack.wait, default=None)
        return lack if lack is not None and lack.wait > 0 else None

    def messages(self, now: float) -> int:
        """Return how many messages may go now, each with a recipient at least."""
        room = [MANY if self._bucket is None else self._bucket.whole(now)]
        return min(room + [quota.room(now) for quota in self._quotas])

    def wait(self, now: float) -> float:
        """Return the seconds until a message with one recipient may go; 0 if one may now."""
        lacks = (self.lack_of_messages(now), self.lack_of_recipients(1, now))
        return max((lack.wait for lack in lacks if lack is not None), default=0.0)

    def take_message(self, now: float) -> None:
        """Count a message."""
        if self._bucket is not None:
            self._bucket.take(1, now)
            self._messages -= 1
            if self._messages < 0:
                self._on_uncovered()

    def take_recipients(self, count: int, now: float) -> Taken:
        """Count recipients, be there room for them or not."""
        parts = {quota.limit.seconds: quota.take(count, now) for quota in self._quotas}
        if parts:
            self._recipients -= count
            if self._recipients < 0:
                self._on_uncovered()
        return Taken(count, parts)

    def give_back_recipients(self, taken: Taken) -> None:
        """Take back recipients that were counted: their mail was not accepted after all."""
        for quota in self._quotas:
            part = taken.parts.get(quota.limit.seconds)
            if part is not None:
                quota.give_back(taken.recipients, part)


class Recalled(NamedTuple):
    """What an earlier run wrote down of a sender, and the seconds that have passed since."""

    usage: Usage
    elapsed: float


class Allowances:
    """The allowances of all senders. A reload that leaves a sender's limits alone changes none."""

    def __init__(self) -> None:
        self._by_name: dict[SenderName, tuple[int, Allowance]] = {}
        self._recalled: dict[SenderName, tuple[Recalled, float]] = {}
        self.on_uncovered: Callable[[SenderName], None] = lambda _: None
        """Called with a sender that has used more of its limits than is written down."""

    def recall(self, recalled: Mapping[SenderName, Recalled], now: float) -> None:
        """Go on from what an earlier run wrote down; to be called before anything is asked."""
        self._recalled = {name: (one, now) for name, one in recalled.items()}

    def usages(self, now: float) -> Iterable[tuple[SenderName, Usage]]:
        """Yield how far each sender's limits are used, when nothing more will be."""
        for name, (_, allowance) in self._by_name.items():
            yield name, allowance.usage(now, is_last=True)

    def give_back(self, name: SenderName, taken: Taken) -> None:
        """Take back recipients from what the sender has by now, new limits or old."""
        self._by_name[name][1].give_back_recipients(taken)

    def usage_of(self, name: SenderName, now: float) -> Usage:
        """Return how far a sender's limits are used, and a little more."""
        return self._by_name[name][1].usage(now)

    def uncover(self, name: SenderName) -> None:
        """Take note that the usage of a sender could not be written down."""
        self._by_name[name][1].uncover()

    def of(self, sender: Sender, generation: int, now: float) -> Allowance:
        """Return what the sender has left, by its limits in the ruleset of that generation.

        Who still goes by an older ruleset is told what is left under the newest seen.
        """
        seen, allowance = self._by_name.get(sender.name) or (generation, None)
        if allowance is None:
            allowance = self._begun(sender, now)
        elif generation <= seen:
            return allowance
        elif allowance.limits != sender.limits:
            allowance = allowance.changed_to(sender.limits, now)
        self._by_name[sender.name] = generation, allowance
        return allowance

    def _begun(self, sender: Sender, now: float) -> Allowance:
        name = sender.name
        allowance = Allowance(sender.limits, now, partial(self._uncovered, name))
        if (recalled := self._recalled.pop(name, None)) is not None:
            (usage, elapsed), since = recalled
            allowance.recall(usage, elapsed + now - since, now)
        return allowance

    def _uncovered(self, name: SenderName) -> None:
        self.on_uncovered(name)
