"""How fast each sender may begin transactions, counted over all sessions of the front door."""

from __future__ import annotations

from relay.mail.envelope import SenderName
from relay.policy.bucket import TokenBucket
from relay.policy.sender import Limits, OverLimit, Sender


class SenderRates:
    """One token bucket per sender that is refused, rather than paced, above its rate."""

    def __init__(self) -> None:
        self._buckets: dict[SenderName, tuple[Limits, TokenBucket]] = {}

    def admit(self, sender: Sender, now: float) -> bool:
        """Count one transaction, or say no. `now` is monotonic seconds."""
        limits = sender.limits
        if limits.rate is None or limits.over_limit is not OverLimit.REFUSE:
            return True
        known = self._buckets.get(sender.name)
        if known is None or known[0] != limits:
            # New limits begin with a full burst; a reload that leaves them alone changes nothing.
            bucket = TokenBucket(limits.rate.per_second, limits.burst, now)
            self._buckets[sender.name] = limits, bucket
        else:
            bucket = known[1]
        if bucket.wait(now) > 0:
            return False
        bucket.take(1, now)
        return True
