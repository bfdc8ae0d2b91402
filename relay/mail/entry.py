"""The life of a spooled mail in words: its states, and the turns that change them.

Which turn leads where is one table in relay.store.states; these are the names both sides use.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from relay.mail.address import Address
from relay.mail.envelope import Mail, QueueId, SenderName
from relay.mail.outcome import Outcome


class State(StrEnum):
    """Where an entry stands."""

    READY = "ready"
    IN_FLIGHT = "in-flight"
    SCHEDULED = "scheduled"
    """Deferred; due again at a known time, for a known reason."""
    HELD = "held"
    """Set aside for a reason an operator can mend; may have a time at which it is probed."""
    AMBIGUOUS = "ambiguous"
    """An attempt may have gone out; due again on the patient schedule."""
    FAILED = "failed"
    """At least one recipient was given up and none is left to try; kept for the operator."""
    CORRUPT = "corrupt"


class Turn(StrEnum):
    """What can happen to an entry."""

    CLAIM = "claim"
    RELAYED = "relayed"
    DEFERRED = "deferred"
    HELD = "held"
    AMBIGUOUS = "ambiguous"
    FAILED = "failed"
    RELEASED = "released"
    """The attempt ended before its request: nothing was sent."""
    SENDER_REMOVED = "sender-removed"
    DAMAGED = "damaged"
    EXPIRED = "expired"
    CRASH = "crash"
    RESTART = "restart"
    RELOAD = "reload"
    SETTLED_BY_EVENT = "settled-by-event"
    HOLD = "hold"
    RELEASE = "release"
    RETRY = "retry"
    DROP = "drop"


class Backlog(NamedTuple):
    """How much mail of one sender the spool keeps, failed and corrupt mail with it."""

    messages: int
    octets: int
    room: int = 0
    """Octets of mail that the spool could keep in all, whoever's: what is kept, and what is free
    above the floor.
    """


@dataclass(frozen=True, slots=True)
class Settled:
    """One recipient's outcome and, unless it is final, when it is due again."""

    outcome: Outcome
    due_at: datetime | None


@dataclass(frozen=True, slots=True)
class QueuedRecipient:
    """A recipient still known to the spool, as an operator sees it."""

    address: Address
    state: State
    attempts: int
    reason: str


@dataclass(frozen=True, slots=True)
class QueuedMail:
    """A spooled mail as an operator sees it. `due_at` is None where no time is set."""

    mail: Mail
    state: State
    due_at: datetime | None
    reason: str
    recipients: tuple[QueuedRecipient, ...]


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """What one attempt, one order or one feedback event said of one recipient.

    `fact` is a word of the mail log (relayed, deferred, failed, expired, ambiguous, held, released,
    retried, dropped, delivered, bounced, complained, delayed, ...); `detail` is SES's or our text,
    or says which operator gave the order, and why.
    """

    queue_id: QueueId
    sender: SenderName
    recipient: str
    at: datetime
    fact: str
    detail: str
    ses_message_id: str
