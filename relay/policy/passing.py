"""What a client hears that waits for SES: one answer for all recipients, whatever each met with.

Knows outcomes and modes. Does not know when a mail is passed on, or where it is kept.

A reply after DATA is for all recipients at once (RFC 5321 section 4.5.3.1.10 leaves no other way),
and SES may have taken a mail for some and not for others. The rule: once SES has taken it for
anybody, the client must not send it again, so the answer is 250, and the relay keeps the mail for
the others, as it would have in mode queued: who was refused is failed there and shown to operators,
who was deferred, or not asked for yet, is tried again. As long as SES took it for nobody, nothing
keeps the client from hearing no.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from relay.mail.outcome import Ambiguous, Deferred, Failed, Outcome, Relayed
from relay.mail.reply import Refusal, Reply, printable
from relay.policy.sender import Accept


class Ending(StrEnum):
    """How it ended for a client that waits for SES; the closed set that metrics count."""

    RELAYED = "relayed"
    """SES took it for everybody: 250 with its message id."""
    PARTLY = "partly"
    """SES took it for some, and it is in the queue for the others: 250."""
    QUEUED = "queued"
    """It is in the queue: 250."""
    REFUSED = "refused"
    """SES will not take it: 5xx."""
    DEFERRED = "deferred"
    """SES did not take it, or was not asked: 4xx."""
    AMBIGUOUS = "ambiguous"
    """SES was asked and may have taken it: 4xx, and the client may send it again."""
    WITHDRAWN = "withdrawn"
    """The client was gone before SES was asked: nothing was done."""


# Why SES is not asked within a client's patience, beside what its own answers are counted by.
REASONS_NOT_ASKED: Final = ("pace", "breaker", "sender_paused", "draining", "account_removed")

_PERMANENT: Final = 500

SENDER_PAUSED: Final = Refusal(
    Reply(451, "4.3.2", "Sending is paused for this sender; try again later"), "sender_paused"
)
DRAINING: Final = Refusal(Reply(451, "4.3.2", "The relay is being stopped"), "draining")
ACCOUNT_REMOVED: Final = Refusal(
    Reply(451, "4.3.2", "The rules for this sender have changed; try again"), "account_removed"
)
OUT_OF_PATIENCE: Final = Refusal(
    Reply(451, "4.4.5", "Amazon SES could not be asked in time, as its rate allows; try again"),
    "pace",
)
DAY_IS_OVER: Final = Refusal(
    Reply(452, "4.4.5", "The daily quota of the Amazon SES account is used up; try again later"),
    "quota",
)


def answer(accept: Accept, outcomes: Sequence[Outcome | None]) -> Ending | Refusal:
    """Say what one answer follows from those of all recipients; None is who was not asked for.

    RELAYED, or QUEUED and PARTLY where the mail is to be kept for those SES did not take it for; or
    what the client is to be refused with, who then has the mail still.
    """
    taken = sum(isinstance(one, Relayed) for one in outcomes)
    if taken:
        return Ending.RELAYED if taken == len(outcomes) else Ending.PARTLY
    if accept is Accept.RELAYED_OR_QUEUED and not all(isinstance(o, Failed) for o in outcomes):
        return Ending.QUEUED
    # What may have gone out first, then what another try may mend: a 5xx would end both.
    refusals = [_refusal(one) for one in outcomes]
    doubtful = [isinstance(one, Ambiguous) for one in outcomes]
    if any(doubtful):
        return refusals[doubtful.index(True)]
    for refusal in refusals:
        if refusal.reply.code < _PERMANENT:
            return refusal
    return refusals[0]


def ending_of(refusal: Refusal, outcomes: Sequence[Outcome | None]) -> Ending:
    """Say how it ended that a client was refused."""
    if any(isinstance(one, Ambiguous | Relayed) for one in outcomes):
        return Ending.AMBIGUOUS
    return Ending.REFUSED if refusal.reply.code >= _PERMANENT else Ending.DEFERRED


def _refusal(outcome: Outcome | None) -> Refusal:
    match outcome:
        case Deferred():
            return Refusal(outcome.final or outcome.reply, outcome.reason)
        case Ambiguous():
            text = f"The message may have been sent. {outcome.reply.text}"
            return Refusal(Reply(451, "4.4.2", printable(text)), outcome.reason)
        case Failed():
            return Refusal(outcome.reply, outcome.reason)
        case Relayed() | None:
            return OUT_OF_PATIENCE


def breaker_open(reason: str) -> Refusal:
    """Say that the account is suspended, and by what."""
    text = f"Amazon SES cannot be asked at present ({reason}); try again later"
    return Refusal(Reply(451, "4.4.5", printable(text)), "breaker")
