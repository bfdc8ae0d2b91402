"""Events that no mail brings about by itself, and the other format of those that it does.

For tests of whoever takes events in. SES Developer Guide, "Contents of event data that Amazon SES
publishes to Amazon SNS" and "Contents of Amazon SNS notifications".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.simulator.events import timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from relay.simulator.events import Event

#: What a recipient, a template or a contact list brings about: by event type, key and body.
_OTHERS: Final[Mapping[str, tuple[str, Event]]] = {
    "Open": ("open", {"ipAddress": "203.0.113.80", "userAgent": "Mozilla/5.0"}),
    "Click": (
        "click",
        {
            "ipAddress": "203.0.113.80",
            "userAgent": "Mozilla/5.0",
            "link": "https://www.example.com/",
            "linkTags": {"kind": ["cta"]},
        },
    ),
    "Rendering Failure": (
        "failure",
        {"templateName": "Invoice", "errorMessage": "Attribute 'amount' is not present."},
    ),
    "Subscription": (
        "subscription",
        {
            "contactList": "customers",
            "source": "UnsubscribeHeader",
            "newTopicPreferences": {"unsubscribeAll": True, "topicSubscriptionStatus": []},
            "oldTopicPreferences": {"unsubscribeAll": False, "topicSubscriptionStatus": []},
        },
    ),
}
OTHER_TYPES: Final = tuple(_OTHERS)
#: The only ones that identities are notified of.
NOTIFIED_TYPES: Final = ("Bounce", "Complaint", "Delivery")


def other_event(kind: str, send: Event, at: datetime) -> Event:
    """An event of that type about the mail of a Send event."""
    key, body = _OTHERS[kind]
    body = body if key == "failure" else {**body, "timestamp": timestamp(at)}
    return {"eventType": kind, "mail": send["mail"], key: body}


def as_notification(event: Event) -> Event:
    """The same as the identity's feedback notification: without tags, and by another name."""
    mail = event["mail"]
    if event["eventType"] not in NOTIFIED_TYPES or not isinstance(mail, dict):
        raise ValueError(f"identities are not notified of {event['eventType']}")
    rest = {key: value for key, value in event.items() if key != "eventType"}
    told = {key: value for key, value in mail.items() if key != "tags"}
    extra = {"sourceIp": "192.0.2.10", "callerIdentity": "simulator-caller"}
    return {"notificationType": event["eventType"], **rest, "mail": {**told, **extra}}
