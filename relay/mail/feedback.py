"""What SES tells us later about mail it took, and the suppressions that follow. Values only.

Does not know JSON, SNS or how events arrive.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


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
    `queue_id` and `node` are read back from the tags we set; empty for mail of someone else.
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


class SuppressionReason(StrEnum):
    """Why an address is not mailed."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Suppression:
    """One address that is not mailed, keyed by its folded spelling.

    `detail` says it in a line an operator can read; `event_id` names the event that caused it, or
    is empty for an operator's entry.
    """

    address: str
    reason: SuppressionReason
    detail: str
    since: datetime
    event_id: str = ""
