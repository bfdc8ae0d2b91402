"""How many calls may be begun that nothing was heard since.

In an outage a call is given up after a minute, and each one begun until then may have gone out. So
while SES is not heard, only a handful is begun, and one of each sender that has none under way: for
the mail of one sender may hang, and that of another not. Feeds neither breaker nor pace and is fed
by neither: whatever SES answers, it was heard. Knows no clock: callers pass monotonic seconds.
"""

from __future__ import annotations

from typing import Final

from relay.mail.envelope import SenderName

HANDFUL: Final = 5
"""Calls begun since SES was heard last. Every answer lets as many more begin, so that a burst after
a rest is under way in two or three round trips."""

# How many answers in so short a time let as many calls begin: at high rates answers come in bursts.
_SPAN: Final = 0.25  # seconds
# After so long a silence one more call is tried each time. Those before it may hang by themselves,
# and then the others must not wait for a minute.
_PROBES: Final = (1.0, 4.0, 16.0)  # seconds
_LOOK: Final = 4.0  # seconds


class Hearing:
    """What of the calls to one account was heard."""

    __slots__ = ("_before", "_count", "_now", "_since", "_slot", "_unheard", "age")

    def __init__(self) -> None:
        self.age = 0
        """Grows with each answer: calls begun at one age have heard nothing of each other."""
        self._count = 0
        self._unheard: dict[SenderName, int] = {}
        self._since = 0.0
        # Answers in this span of time, and in the one before it.
        self._slot = 0
        self._now = self._before = 0

    def begun(self, sender: SenderName, now: float) -> None:
        """Note that a call begins."""
        if not self._count:
            self._since = now
        self._count += 1
        self._unheard[sender] = self._unheard.get(sender, 0) + 1

    def heard(self, now: float) -> None:
        """Note that SES answered, whatever it said."""
        self.age += 1
        self._count = 0
        self._unheard.clear()
        self._turn(now)
        self._now += 1

    def missed(self) -> None:
        """Note that a call is given up unanswered: that it ends frees no place for another."""
        self._count += 1

    def ended(self, sender: SenderName, age: int) -> None:
        """Note that what was begun at that age has ended; unless SES was heard since, unheard."""
        if age != self.age:
            return
        self._count -= self._count > 0
        left = self._unheard.get(sender, 0) - 1
        if left > 0:
            self._unheard[sender] = left
        else:
            self._unheard.pop(sender, None)

    def is_unheard(self, sender: SenderName) -> bool:
        """Whether calls of that sender are under way, and nothing was heard since."""
        return sender in self._unheard

    def allows(self, now: float) -> int:
        """Return how many calls may begin now."""
        self._turn(now)
        most = max(HANDFUL, self._now + self._before)
        if self._count >= most:
            silence = now - self._since
            most += sum(silence >= probe for probe in _PROBES)
        return max(0, most - self._count)

    def wait(self, now: float) -> float:
        """Return the seconds until it is worth asking again where nothing may begin."""
        silence = now - self._since
        return min((probe - silence for probe in _PROBES if probe > silence), default=_LOOK)

    def _turn(self, now: float) -> None:
        slot = int(now / _SPAN)
        if slot != self._slot:
            self._before = self._now if slot == self._slot + 1 else 0
            self._now = 0
            self._slot = slot
