"""When the time of a mail is over, whether it may be given up then, and what is said of it.

Knows durations and what was tried. Does not know the clock or the spool: callers measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from relay.mail.outcome import Blame, Failed
from relay.mail.reply import Reply, printable

OPERATOR_GRACE: Final = timedelta(days=10)
"""What only an operator can mend outlives the ordinary lifetime by this much."""

PROVING: Final = timedelta(hours=1)
"""How long the relay has been up, its clock in order and the mail free to go, before mail expires
that was not tried meanwhile."""

EXPIRED: Final = "expired"
"""The reason of mail that was given up because its time was over."""

DEDUPLICATED: Final = timedelta(days=14)
"""For how long at least it is remembered which reports of SES have been seen: it may report again
whatever was not answered."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How long what is kept.

    Mail for its `lifetime`; once given up, for `keep_failed`; what became of it, for `history`. No
    mail waits longer for its next attempt than `longest_wait`, unless the clock was wrong.
    """

    lifetime: timedelta
    longest_wait: timedelta
    keep_failed: timedelta
    history: timedelta

    @property
    def held_lifetime(self) -> timedelta:
        """How old mail becomes that only an operator can let go."""
        return self.lifetime + OPERATOR_GRACE


def is_over(
    lifetime: timedelta, *, waited: timedelta, held: timedelta, needs_operator: bool
) -> bool:
    """Whether a mail has had its time.

    `waited` is how long it could have been attempted, `held` how long it was held; time in which
    the relay was down is in neither. `needs_operator`: what keeps it only an operator can mend.
    """
    if needs_operator:
        return waited + held >= lifetime + OPERATOR_GRACE
    return waited >= lifetime


def may_expire(*, is_tried: bool, is_held: bool, free: timedelta) -> bool:
    """Whether a recipient whose time is over may be given up.

    `is_tried`: it had an attempt since the relay started and since it was last let go. `free` is
    for how long the relay has been up and the mail let go: long enough, and that nothing was tried
    is nobody's mistake that ends with the next start.
    """
    return is_tried or (not is_held and free >= PROVING)


def expired(last: str, *, in_doubt: bool, blame: Blame) -> Failed:
    """Return the outcome of a recipient whose time is over; `last` is what SES last answered.

    `in_doubt`: some attempt may have gone out. Then whether it did is not known, and it is never
    said that it did not (RFC 3463: X.4.7, delivery time expired, of the class that leaves it open).
    """
    text = "Lifetime expired"
    if in_doubt:
        text += "; it is not known whether SES took the message"
        blame = Blame.SERVICE
    if last:
        text += f"; last answer: {last}"
    code, status = (451, "4.4.7") if in_doubt else (554, "5.4.7")
    return Failed(Reply(code, status, printable(text)), EXPIRED, blame)
