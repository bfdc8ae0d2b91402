"""How long a client may take over one content. Reckons with seconds; waits for nothing."""

from __future__ import annotations

from relay.smtp.settings import Deadlines


class Pace:
    """The time one content has been given, and what came of it.

    Only time in which we wait for the client counts against its rate: what our disk takes is no
    fault of its. `now`, here and below, is loop time in seconds.
    """

    __slots__ = ("_block", "_ends", "_per_octet", "under_stress")

    def __init__(self, deadlines: Deadlines, now: float) -> None:
        self._block = deadlines.data_block
        self._ends = now + deadlines.data
        self._per_octet = 1 / deadlines.data_rate
        self.under_stress = deadlines.data_grace
        """For how many seconds to wait while others wait for what this client holds.

        Every octet earns some, every second costs one (Postfix, STRESS_README).
        """

    def patience(self, now: float) -> float:
        """Return for how many seconds to wait for the next octets; not positive: for none."""
        return min(self._ends - now, self._block)

    def took(self, octets: int, seconds: float) -> None:
        """Take note that so many octets were waited for so long."""
        self.under_stress += octets * self._per_octet - seconds
