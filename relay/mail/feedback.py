"""What SES tells us later about mail it took, and the suppressions that follow. Values only.

Does not know JSON, SNS or how events arrive.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from relay.mail.envelope import AccountName, SenderName


class FeedbackKind(StrEnum):
    """SES event types (SES Developer Guide, "Event data that SES publishes"), plus the unknown."""

    SEND = "send"
    DELIVERY = "delivery"
    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    REJECT = "reject"
    DELIVERY_DELAY = "delivery_delay"
    RENDERING_FAILURE = "rendering_failure"
    SUBSCRIPTION = "subscription"
    OPEN = "open"
    CLICK = "click"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class FeedbackRecipient:
    """One recipient of an event, spelled as SES spelled it."""

    address: str
    status: str = ""
    diagnostic: str = ""


@dataclass(frozen=True, slots=True)
class FeedbackEvent:
    """One SES event. Fields SES left out are empty strings, never None.

    `kind_detail` is bounceType/bounceSubType, complaintFeedbackType or delayType, as SES wrote it.
    `queue_id`, `node` and `sender` are read back from the tags we set; empty for mail of someone
    else.
    """

    kind: FeedbackKind
    ses_message_id: str
    at: datetime
    recipients: tuple[FeedbackRecipient, ...]
    kind_detail: str = ""
    feedback_id: str = ""
    source: str = ""
    queue_id: str = ""
    node: str = ""
    sender: str = ""
    message_id: str = ""
    """Of the mail's own header, as its application wrote it."""


class SuppressionReason(StrEnum):
    """Why an address is not mailed."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    MANUAL = "manual"


EVERYBODY: Final = ""
"""The scope of what no sender may mail."""


def account_scope(account: AccountName) -> str:
    """Return the scope of mail that leaves by an account."""
    return f"account:{account}"


def sender_scope(sender: SenderName) -> str:
    """Return the scope of one sender's mail."""
    return f"sender:{sender}"


@dataclass(frozen=True, slots=True)
class Suppression:
    """One address that is not mailed, keyed by its folded spelling and its scope.

    `detail` says it in a line an operator can read; `event_id` names the event that caused it, or
    is empty for an operator's entry. `since` is when it was first seen, `last_seen` when last;
    from `until` on it holds no more (None: for ever). `spelling` is the address as SES spells it:
    its own list is asked by exactly that.
    """

    address: str
    reason: SuppressionReason
    detail: str
    since: datetime
    event_id: str = ""
    scope: str = EVERYBODY
    last_seen: datetime | None = None
    until: datetime | None = None
    spelling: str = ""

    def __post_init__(self) -> None:
        # Seen once, and spelled as it is: what nobody says otherwise.
        if self.last_seen is None:
            object.__setattr__(self, "last_seen", self.since)
        if not self.spelling:
            object.__setattr__(self, "spelling", self.address)


@dataclass(frozen=True, slots=True)
class SoftBounces:
    """How many transient bounces within which time keep an address from being mailed, how long."""

    count: int
    within: timedelta
    expiry: timedelta
