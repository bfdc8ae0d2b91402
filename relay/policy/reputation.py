"""How a sender's mail is received, in numbers, and when that breaks its circuit (R10).

Knows rates and thresholds. Does not know where they are counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LEAST_SENT: Final = 1000
"""Below so many sends in 24 hours a rate says nothing."""
MOST_BOUNCED: Final = 20
MOST_COMPLAINED: Final = 5
# SES reviews an account from 5 % bounces and 0.1 % complaints (SES Developer Guide, "reputation").
BOUNCE_RATE: Final = 0.05
COMPLAINT_RATE: Final = 0.001


@dataclass(frozen=True, slots=True)
class Reception:
    """What became of a sender's mail within some time, in recipients."""

    sent: int = 0
    delivered: int = 0
    bounced: int = 0
    complained: int = 0

    @property
    def bounce_rate(self) -> float:
        """Bounced, of those sent: a share of 1; 0 where nothing was sent."""
        return self.bounced / self.sent if self.sent else 0.0

    @property
    def complaint_rate(self) -> float:
        """Complained, of those sent."""
        return self.complained / self.sent if self.sent else 0.0


NOTHING: Final = Reception()


def complaint_about(day: Reception) -> str:
    """Say what breaks the circuit of a sender by its last 24 hours, or nothing.

    From 1,000 sends, and 20 bounces or 5 complaints: then a rate that SES would review.
    """
    if day.sent < LEAST_SENT:
        return ""
    if day.bounced >= MOST_BOUNCED and day.bounce_rate >= BOUNCE_RATE:
        return f"{day.bounced} of {day.sent} bounced in 24 h ({day.bounce_rate:.1%})"
    if day.complained >= MOST_COMPLAINED and day.complaint_rate >= COMPLAINT_RATE:
        return f"{day.complained} of {day.sent} complained in 24 h ({day.complaint_rate:.2%})"
    return ""
