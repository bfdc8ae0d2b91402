"""What a queue hands out: an SES event in one of its three wrappers.

SNS-wrapped (the queue is subscribed to the topic), raw (the same with raw delivery), or from
EventBridge. Knows the wrappers; does not know events. A queue's policy says who may write to it, so
no signature is looked at.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


class UnknownWrapperError(ValueError):
    """Nothing that SES, SNS or EventBridge puts into a queue. The message is ours, safe to log."""


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """The event's JSON, the name it is known by wherever it comes from, and its topic if any."""

    message: str
    delivery_id: str
    topic: str


def unwrap(body: str, message_id: str) -> Unwrapped:
    """Take an event out of its wrapper; raise UnknownWrapperError.

    `message_id` is the queue's own, and stands in where the wrapper has no id: SNS's is the same
    on every way the message takes.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnknownWrapperError("the message is not JSON") from error
    if not isinstance(document, dict):
        raise UnknownWrapperError("the message is not a JSON object")
    if _is_text(document, "Type", "Message", "TopicArn"):
        delivery_id = document.get("MessageId")
        return Unwrapped(
            document["Message"],
            delivery_id if isinstance(delivery_id, str) and delivery_id else message_id,
            document["TopicArn"],
        )
    if "detail-type" in document and isinstance(document.get("detail"), dict):
        event_id = document.get("id")
        return Unwrapped(
            json.dumps(document["detail"]),
            event_id if isinstance(event_id, str) and event_id else message_id,
            "",
        )
    if "eventType" in document or "notificationType" in document:
        return Unwrapped(body, message_id, "")
    raise UnknownWrapperError("the message is neither SNS's, SES's nor EventBridge's")


def _is_text(document: dict[str, Any], *keys: str) -> bool:
    return all(isinstance(document.get(key), str) for key in keys)
