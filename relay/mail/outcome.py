"""What became of an attempt to relay. Knows no SES code: relay.policy.verdict translates those."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TypeAlias

from relay.mail.reply import Reply


class Blame(StrEnum):
    """Who can mend a refusal. It decides what the refusal may touch."""

    MESSAGE = "message"
    """This content: no other mail is affected."""
    RECIPIENT = "recipient"
    """One recipient of the call: the others go out without it."""
    SENDER = "sender"
    """The sending application or its limits."""
    OPERATOR = "operator"
    """Our configuration, credentials or account: mail is held, never failed (promise P8)."""
    SERVICE = "service"
    """SES or the way to it."""


@dataclass(frozen=True, slots=True)
class Relayed:
    """SES took the mail and is responsible for it now. Not the same as delivered (promise P4)."""

    ses_message_id: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """SES did not take the mail; it is tried again.

    `reason` is one of the closed set that metrics count; `wait` is the first wait where SES's
    answer implies one; the ordinary backoff otherwise.
    """

    reply: Reply
    reason: str
    blame: Blame
    wait: timedelta | None = None
    is_divisible: bool = False
    """Whether it may be due to one recipient of the call and not to the others."""
    final: Reply | None = None
    """What a client that waits for SES's answer hears instead, where that is a 5xx: mail in the
    queue waits for an operator, and who keeps its own should not try in vain."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The mail will never be taken as it is; trying again is pointless."""

    reply: Reply
    reason: str
    blame: Blame
    is_divisible: bool = False
    """Whether it may be due to one recipient of the call and not to the others."""


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """The whole request was written and no answer came: SES may or may not have the mail."""

    reply: Reply
    reason: str


Outcome: TypeAlias = Relayed | Deferred | Failed | Ambiguous
