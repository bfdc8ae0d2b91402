"""When a recipient is tried again, and when that ends.

Knows the schedule. Does not know the clock, the spool or SES: callers pass `now` and `jitter`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, assert_never

from relay.mail.entry import Settled
from relay.mail.outcome import Ambiguous, Blame, Deferred, Failed, Outcome, Relayed
from relay.mail.reply import Reply

# An attempt that may have gone out waits long enough for SES's Send event to say so first.
AMBIGUOUS_WITH_EVENTS: Final = timedelta(minutes=10)
AMBIGUOUS_WITHOUT_EVENTS: Final = timedelta(minutes=30)
# What only an operator can mend outlives the ordinary lifetime by this much.
OPERATOR_GRACE: Final = timedelta(days=10)

# SES Developer Guide, "Handling throttling": back off from a second to a minute.
PACED_CEILING: Final = timedelta(seconds=60)

_EXPIRED: Final = "expired"


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """Exponential backoff between `first` and `ceiling`, until `lifetime` has passed."""

    first: timedelta
    ceiling: timedelta
    lifetime: timedelta

    def delay(self, attempts: int, first: timedelta, jitter: float) -> timedelta:
        """Return the wait after that many attempts.

        `jitter`, drawn from [0, 1), stretches it by up to a quarter, so that mail deferred together
        does not come back together.
        """
        doublings = min(max(attempts - 1, 0), 20)
        return min(first * (1 << doublings), self.ceiling) * (1 + jitter / 4)

    def _has_expired(self, outcome: Deferred, waited: timedelta, held: timedelta) -> bool:
        if outcome.blame is Blame.OPERATOR:
            return waited + held >= self.lifetime + OPERATOR_GRACE
        return waited >= self.lifetime

    def _wait(self, outcome: Deferred, attempts: int, jitter: float) -> timedelta:
        if outcome.wait is None:
            return self.delay(attempts, self.first, jitter)
        # SES said slow down: seconds, not the minutes an outage deserves.
        paced = RetrySchedule(outcome.wait, max(outcome.wait, PACED_CEILING), self.lifetime)
        return paced.delay(attempts, outcome.wait, jitter)

    def settle(
        self,
        outcome: Outcome,
        *,
        attempts: int,
        waited: timedelta,
        held: timedelta,
        now: datetime,
        jitter: float,
        events_seen: bool,
    ) -> Settled:
        """Turn one recipient's outcome into what is recorded: final, or due again at a time.

        `attempts` counts this one. `waited` is how long the mail could have been attempted, `held`
        how long it was held; time in which the relay was down counts for neither. `events_seen`
        says whether SES's Send events have been arriving, and so whether one may still settle an
        ambiguous attempt. Only called after an attempt, so nothing expires without one.
        """
        match outcome:
            case Relayed() | Failed():
                return Settled(outcome, None)
            case Deferred():
                if self._has_expired(outcome, waited, held):
                    return Settled(_expired(outcome), None)
                return Settled(outcome, now + self._wait(outcome, attempts, jitter))
            case Ambiguous():
                if waited >= self.lifetime:
                    return Settled(_unknown(outcome), None)
                first = AMBIGUOUS_WITH_EVENTS if events_seen else AMBIGUOUS_WITHOUT_EVENTS
                # The ceiling of ordinary retries may be shorter than the patience this needs.
                return Settled(outcome, now + max(self.delay(attempts, first, jitter), first))
            case _:
                assert_never(outcome)


def _expired(outcome: Deferred) -> Failed:
    """RFC 3463 X.4.7: delivery time expired."""
    text = f"Lifetime expired; last answer: {outcome.reply.text}"
    return Failed(Reply(554, "5.4.7", text[:480]), _EXPIRED, outcome.blame)


def _unknown(outcome: Ambiguous) -> Failed:
    """Say what is true: whether the mail went out is not known, so never "not sent"."""
    text = f"Lifetime expired; it is not known whether SES took the message: {outcome.reply.text}"
    return Failed(Reply(554, "5.4.7", text[:480]), _EXPIRED, Blame.SERVICE)
