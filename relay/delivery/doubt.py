"""Whether the wall clock is believed, and so whether mail may be given up for its age.

Tells when it is not, and when it is again. What a step is the policy says (relay.policy.steps).
"""

from __future__ import annotations

from relay.facts import Facts
from relay.policy.expiry import PROVING
from relay.policy.steps import ClockWatch
from relay.ports import Clock


class ClockDoubt:
    """Looks at the clock whenever it is asked."""

    def __init__(self, clock: Clock, facts: Facts) -> None:
        self._clock = clock
        self._facts = facts
        self._watch = ClockWatch(clock.now(), clock.monotonic())
        self.steps = 0
        """How often the wall clock has stepped."""

    def may_expire(self) -> bool:
        """Whether mail may be given up for its age: not for an hour after a step of the clock."""
        now = self._clock.monotonic()
        step = self._watch.look(self._clock.now(), now)
        if step is not None:
            self.steps += 1
            self._facts.clock_stepped(step, PROVING)
        elif self._watch.settles(now):
            self._facts.clock_settled()
        return not self._watch.is_in_doubt
