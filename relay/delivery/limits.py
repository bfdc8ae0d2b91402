"""What senders' own limits let go, and what is counted towards them. Does not know accounts."""

from __future__ import annotations

from math import inf

from relay.policy.allowance import Allowances
from relay.policy.ruleset import Ruleset
from relay.policy.sender import Sender
from relay.ports import Clock


class SenderLimits:
    """The limits of senders that are paced; those of others are none of ours."""

    def __init__(self, allowances: Allowances, clock: Clock) -> None:
        self._allowances = allowances
        self._clock = clock

    def ceiling(self, ruleset: Ruleset, sender: Sender) -> tuple[int | None, float]:
        """Return how many of its messages may go now, None: any number; if 0, the wait."""
        if not sender.limits.is_paced:
            return None, inf
        now = self._clock.monotonic()
        allowance = self._allowances.of(sender, ruleset.generation, now)
        whole = allowance.messages(now)
        return whole, inf if whole else allowance.wait(now)

    def charge(self, sender: Sender, generation: int, recipients: int) -> None:
        """Count a message to so many recipients; to none, it has been counted before."""
        if sender.limits.is_paced and recipients:
            now = self._clock.monotonic()
            allowance = self._allowances.of(sender, generation, now)
            allowance.take_message(now)
            allowance.take_recipients(recipients, now)
