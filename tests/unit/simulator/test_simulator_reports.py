"""Events that no mail brings about, and the format of identity notifications: both are read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from relay.feedback.event import read_event
from relay.simulator.reports import NOTIFIED_TYPES, OTHER_TYPES, as_notification, other_event

AT = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)
SEND: dict[str, Any] = {
    "eventType": "Send",
    "send": {},
    "mail": {"messageId": "m-1", "destination": ["jane@example.net"], "tags": {"relay-id": ["x"]}},
}


@pytest.mark.parametrize("kind", OTHER_TYPES)
def test_every_other_type_is_read(kind: str) -> None:
    event = read_event(json.dumps(other_event(kind, SEND, AT)), now=AT)
    assert event is not None
    assert event.kind.value == kind.lower().replace(" ", "_")
    assert event.ses_message_id == "m-1"


@pytest.mark.parametrize("kind", NOTIFIED_TYPES)
def test_the_notification_says_the_same_without_tags(kind: str) -> None:
    event = {**SEND, "eventType": kind, kind.lower(): {"feedbackId": "f-1"}}
    found = read_event(json.dumps(as_notification(event)), now=AT)
    assert found is not None
    assert (found.kind.value, found.queue_id) == (kind.lower(), "")


def test_identities_are_notified_of_nothing_else() -> None:
    with pytest.raises(ValueError, match="not notified of Send"):
        as_notification(SEND)
