"""What is left of each sender's own limits: messages by a bucket, recipients by rolling quotas.

One register for the front door, which refuses above them, and for delivery, which paces. Knows no
clock: callers pass monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

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


class Allowance:
    """What one sender may still send."""

    __slots__ = ("_bucket", "_quotas", "limits")

    def __init__(self, limits: Limits, now: float) -> None:
        self.limits = limits
        rate = limits.rate
        self._bucket = None if rate is None else TokenBucket(rate.per_second, limits.burst, now)
        self._quotas = tuple(RollingQuota(limit) for limit in limits.recipients)

    def changed_to(self, limits: Limits, now: float) -> Allowance:
        """Return what is left under new limits: a full burst, and quotas used as far as before."""
        new = Allowance(limits, now)
        used = {quota.limit.seconds: quota for quota in self._quotas}
        for quota in new._quotas:
            if (before := used.get(quota.limit.seconds)) is not None:
                quota.go_on_from(before)
        return new

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

    def take_recipients(self, count: int, now: float) -> Taken:
        """Count recipients, be there room for them or not."""
        parts = {quota.limit.seconds: quota.take(count, now) for quota in self._quotas}
        return Taken(count, parts)

    def give_back_recipients(self, taken: Taken) -> None:
        """Take back recipients that were counted: their mail was not accepted after all."""
        for quota in self._quotas:
            part = taken.parts.get(quota.limit.seconds)
            if part is not None:
                quota.give_back(taken.recipients, part)


class Allowances:
    """The allowances of all senders. A reload that leaves a sender's limits alone changes none."""

    def __init__(self) -> None:
        self._by_name: dict[SenderName, tuple[int, Allowance]] = {}

    def give_back(self, name: SenderName, taken: Taken) -> None:
        """Take back recipients from what the sender has by now, new limits or old."""
        self._by_name[name][1].give_back_recipients(taken)

    def of(self, sender: Sender, generation: int, now: float) -> Allowance:
        """Return what the sender has left, by its limits in the ruleset of that generation.

        Who still goes by an older ruleset is told what is left under the newest seen.
        """
        seen, allowance = self._by_name.get(sender.name) or (generation, None)
        if allowance is None:
            allowance = Allowance(sender.limits, now)
        elif generation <= seen:
            return allowance
        elif allowance.limits != sender.limits:
            allowance = allowance.changed_to(sender.limits, now)
        self._by_name[sender.name] = generation, allowance
        return allowance
