"""When a recipient is tried again, and when that ends.

Knows the schedule. Does not know the clock, the spool or SES: callers pass `now` and `jitter`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, assert_never

from relay.mail.entry import Settled
from relay.mail.outcome import Ambiguous, Blame, Deferred, Failed, Outcome, Relayed
from relay.policy.expiry import expired, is_over

# An attempt that may have gone out waits long enough for SES's Send event to say so first.
AMBIGUOUS_WITH_EVENTS: Final = timedelta(minutes=10)
AMBIGUOUS_WITHOUT_EVENTS: Final = timedelta(minutes=30)

# SES Developer Guide, "Handling throttling": back off from a second to a minute.
PACED_CEILING: Final = timedelta(seconds=60)
# How much longer a wait becomes by chance, at most.
_STRETCH: Final = 1.25


@dataclass(frozen=True, slots=True)
class Past:
    """What lies behind a recipient.

    `attempts` counts this one. `waited` is how long the mail could have been attempted, `held` how
    long it was held; time in which the relay was down counts for neither. `in_doubt`: an earlier
    attempt may have gone out.
    """

    attempts: int
    waited: timedelta
    held: timedelta
    in_doubt: bool


@dataclass(frozen=True, slots=True)
class RetrySchedule:
    """Exponential backoff between `first` and `ceiling`, until `lifetime` has passed."""

    first: timedelta
    ceiling: timedelta
    lifetime: timedelta

    @property
    def longest_wait(self) -> timedelta:
        """How far ahead anything is ever due."""
        return max(self.ceiling, AMBIGUOUS_WITHOUT_EVENTS) * _STRETCH

    def delay(self, attempts: int, first: timedelta, jitter: float) -> timedelta:
        """Return the wait after that many attempts.

        `jitter`, drawn from [0, 1), stretches it by up to a quarter, so that mail deferred together
        does not come back together.
        """
        doublings = min(max(attempts - 1, 0), 20)
        return min(first * (1 << doublings), self.ceiling) * (1 + jitter * (_STRETCH - 1))

    def _wait(self, outcome: Deferred, attempts: int, jitter: float) -> timedelta:
        if outcome.wait is None:
            return self.delay(attempts, self.first, jitter)
        # SES said slow down: seconds, not the minutes an outage deserves.
        paced = RetrySchedule(outcome.wait, max(outcome.wait, PACED_CEILING), self.lifetime)
        return paced.delay(attempts, outcome.wait, jitter)

    def settle(
        self,
        outcome: Outcome,
        past: Past,
        *,
        now: datetime,
        jitter: float,
        events_seen: bool,
        may_expire: bool,
    ) -> Settled:
        """Turn one recipient's outcome into what is recorded: final, or due again at a time.

        `events_seen` says whether SES's Send events have been arriving, and so whether one may
        still settle an ambiguous attempt. Without `may_expire` nothing is given up for its age.
        Only called after an attempt, so nothing expires without one.
        """
        match outcome:
            case Relayed() | Failed():
                return Settled(outcome, None)
            case Deferred(blame=blame):
                if may_expire and self._is_over(past, needs_operator=blame is Blame.OPERATOR):
                    last = outcome.reply.text
                    return Settled(expired(last, in_doubt=past.in_doubt, blame=blame), None)
                return Settled(outcome, now + self._wait(outcome, past.attempts, jitter))
            case Ambiguous():
                if may_expire and self._is_over(past, needs_operator=False):
                    last = outcome.reply.text
                    return Settled(expired(last, in_doubt=True, blame=Blame.SERVICE), None)
                first = AMBIGUOUS_WITH_EVENTS if events_seen else AMBIGUOUS_WITHOUT_EVENTS
                # The ceiling of ordinary retries may be shorter than the patience this needs.
                return Settled(outcome, now + max(self.delay(past.attempts, first, jitter), first))
            case _:
                assert_never(outcome)

    def _is_over(self, past: Past, *, needs_operator: bool) -> bool:
        return is_over(
            self.lifetime, waited=past.waited, held=past.held, needs_operator=needs_operator
        )
