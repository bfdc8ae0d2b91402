"""SES's event JSON to FeedbackEvent. Tolerates unknown fields and subtypes; invents nothing.

Reads both formats: event publishing (`eventType`) and identity notifications (`notificationType`)
(SES Developer Guide, "Contents of event data that SES publishes to Amazon SNS").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from relay.mail.feedback import FeedbackEvent, FeedbackKind, FeedbackRecipient

VALIDATION_TEXT: Final = "Successfully validated SNS topic for Amazon SES event publishing."

# SES's name of the type -> kind, and the key under which its particulars stand.
_KINDS: Final = {
    "Send": (FeedbackKind.SEND, "send"),
    "Delivery": (FeedbackKind.DELIVERY, "delivery"),
    "Bounce": (FeedbackKind.BOUNCE, "bounce"),
    "Complaint": (FeedbackKind.COMPLAINT, "complaint"),
    "Reject": (FeedbackKind.REJECT, "reject"),
    "DeliveryDelay": (FeedbackKind.DELIVERY_DELAY, "deliveryDelay"),
    "Rendering Failure": (FeedbackKind.RENDERING_FAILURE, "failure"),
    "Subscription": (FeedbackKind.SUBSCRIPTION, "subscription"),
    "Open": (FeedbackKind.OPEN, "open"),
    "Click": (FeedbackKind.CLICK, "click"),
}
_RECIPIENTS: Final = {
    FeedbackKind.BOUNCE: "bouncedRecipients",
    FeedbackKind.COMPLAINT: "complainedRecipients",
    FeedbackKind.DELIVERY_DELAY: "delayedRecipients",
}
# Foreign text is kept for people to read, not for ever.
_TEXT_LIMIT: Final = 500


def read_event(message: str, *, now: datetime) -> FeedbackEvent | None:
    """Read the Message of a notification; None for what is not an SES event.

    `now` stands in where a time is missing or unreadable.
    """
    document = _document(message)
    if not isinstance(document, dict):
        return None
    mail = _object(document, "mail")
    name = _text(document, "eventType") or _text(document, "notificationType")
    if not name or not mail:
        return None
    kind, key = _KINDS.get(name, (FeedbackKind.UNKNOWN, ""))
    particulars = _object(document, key)
    tags = _object(mail, "tags")
    return FeedbackEvent(
        kind=kind,
        ses_message_id=_text(mail, "messageId"),
        at=_time(_text(particulars, "timestamp") or _text(mail, "timestamp"), now),
        recipients=_recipients(kind, particulars, mail),
        kind_detail=_kind_detail(kind, name, particulars),
        feedback_id=_text(particulars, "feedbackId"),
        source=_text(mail, "source"),
        queue_id=_first(tags, "relay-id"),
        node=_first(tags, "relay-node"),
        sender=_first(tags, "relay-sender"),
        message_id=_text(_object(mail, "commonHeaders"), "messageId"),
    )


def _document(message: str) -> Any:
    """Read JSON, also what is none in the strictest sense; None for what is none in any."""
    try:
        return orjson.loads(message)
    except ValueError:
        # Half a surrogate pair, for one: SES repeats what a header said.
        try:
            return json.loads(message)
        except (ValueError, RecursionError):
            return None


def _recipients(
    kind: FeedbackKind, particulars: Mapping[str, Any], mail: Mapping[str, Any]
) -> tuple[FeedbackRecipient, ...]:
    if kind is FeedbackKind.DELIVERY:
        said = _text(particulars, "smtpResponse")
        return tuple(
            FeedbackRecipient(_address(_clean(address)), diagnostic=said)
            for address in _list(particulars, "recipients")
            if isinstance(address, str)
        )
    if kind in _RECIPIENTS:
        return tuple(
            FeedbackRecipient(
                _address(_text(one, "emailAddress")),
                _text(one, "status"),
                _text(one, "diagnosticCode"),
            )
            for one in _list(particulars, _RECIPIENTS[kind])
            if isinstance(one, dict) and _text(one, "emailAddress")
        )
    return tuple(
        FeedbackRecipient(_address(_clean(address)))
        for address in _list(mail, "destination")
        if isinstance(address, str)
    )


def _kind_detail(kind: FeedbackKind, name: str, particulars: Mapping[str, Any]) -> str:
    match kind:
        case FeedbackKind.BOUNCE:
            return f"{_text(particulars, 'bounceType')}/{_text(particulars, 'bounceSubType')}"
        case FeedbackKind.COMPLAINT:
            said = _text(particulars, "complaintFeedbackType")
            return said or _text(particulars, "complaintSubType")
        case FeedbackKind.DELIVERY_DELAY:
            return _text(particulars, "delayType")
        case FeedbackKind.REJECT:
            return _text(particulars, "reason")
        case FeedbackKind.UNKNOWN:
            return name
        case _:
            return ""


def _time(text: str, now: datetime) -> datetime:
    """Read SES's times; samples show `...Z`, `... +0000` and offsets."""
    try:
        at = datetime.fromisoformat(text.replace(" +", "+"))
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return now


def _object(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def _list(parent: Mapping[str, Any], key: str) -> list[Any]:
    value = parent.get(key)
    return value if isinstance(value, list) else []


def _text(parent: Mapping[str, Any], key: str) -> str:
    value = parent.get(key)
    return _clean(value) if isinstance(value, str) else ""


def _clean(text: str) -> str:
    """Shorten foreign text, and make it text that can be stored: JSON may hold half a pair."""
    text = text[:_TEXT_LIMIT]
    return text if text.isascii() else text.encode(errors="replace").decode()


def _address(text: str) -> str:
    """Return the address alone; SES repeats what a header said, display name and all."""
    _, bracket, rest = text.rpartition("<")
    return rest.partition(">")[0].strip() if bracket else text.strip()


def _first(tags: Mapping[str, Any], key: str) -> str:
    values = tags.get(key)
    if isinstance(values, list) and values and isinstance(values[0], str):
        return _clean(values[0])
    return ""
