"""How far this machine's clock is from SES's, as SES's refusal of a signature tells.

Signatures are good for some minutes around their time. A wrong clock need not stop mail: SES's
answer bears the time at SES. Knows no clock and no network: callers pass both times.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from relay.ses.http1 import Response

REFUSED: Final = frozenset(
    {
        "InvalidSignatureException",
        "RequestExpired",
        "RequestInTheFuture",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)
"""SES's codes for a signature of another time; some of them have other causes too."""

# SES takes what is some minutes off; a Date field has whole seconds, and answers take a while.
TOLERATED: Final = timedelta(minutes=1)


class Skew:
    """What is added to this machine's time to get SES's; nothing until SES has refused one."""

    def __init__(self) -> None:
        self.offset = timedelta(0)

    def learn(self, response: Response, now: datetime) -> bool:
        """Take the time at SES from an answer; return whether the offset changed by it.

        `now` is this machine's time, uncorrected. A clock that was set right again is found out the
        same way.
        """
        there = _date(response)
        if there is None:
            return False
        offset = there - now
        if abs(offset) <= TOLERATED:
            offset = timedelta(0)
        if abs(offset - self.offset) <= TOLERATED:
            return False
        self.offset = offset
        return True


def _date(response: Response) -> datetime | None:
    """Return the time of the Date field (RFC 9110 section 6.6.1)."""
    field = response.fields.get(b"date", b"").decode("latin-1")
    try:
        found = parsedate_to_datetime(field)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
