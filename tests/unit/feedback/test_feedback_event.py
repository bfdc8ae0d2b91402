"""SES's event JSON, in both its formats, read tolerantly."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.feedback.event import VALIDATION_TEXT, read_event
from relay.mail.feedback import FeedbackKind
from tests.sns import NOW, bounce

MAIL = {
    "timestamp": "2026-03-02T09:15:04.118Z",
    "messageId": "m-1",
    "source": "billing@example.com",
    "destination": ["jane@example.net", "joe@example.net"],
    "tags": {"relay-id": ["06H04YCY58GVCD1MB7KG"], "relay-node": ["n1"], "ses:operation": ["x"]},
}


def an_event(name: str, key: str, particulars: dict[str, Any]) -> str:
    return json.dumps({"eventType": name, "mail": MAIL, key: particulars})


def test_a_bounce_names_its_recipients_reason_and_mail() -> None:
    event = read_event(bounce("jane@example.net"), now=NOW)
    assert event is not None
    assert event.kind is FeedbackKind.BOUNCE
    assert event.kind_detail == "Permanent/General"
    assert event.ses_message_id == "010001941c2f5e7a-000000"
    assert event.feedback_id == "010001941c2f9b21-000000"
    assert event.queue_id == "06H04YCY58GVCD1MB7KG"
    assert event.node == "node-1"
    assert event.at == datetime(2026, 3, 2, 9, 15, 6, 402000, tzinfo=UTC)
    (recipient,) = event.recipients
    assert (recipient.address, recipient.status) == ("jane@example.net", "5.1.1")


def test_identity_notifications_are_read_alike() -> None:
    document = json.loads(bounce("jane@example.net"))
    document["notificationType"] = document.pop("eventType")
    del document["mail"]["tags"]
    event = read_event(json.dumps(document), now=NOW)
    assert event is not None
    assert event.kind is FeedbackKind.BOUNCE
    assert event.queue_id == ""


@pytest.mark.parametrize(
    ("name", "key", "particulars", "kind", "addresses", "detail"),
    [
        ("Send", "send", {}, "send", ["jane@example.net", "joe@example.net"], ""),
        ("Delivery", "delivery", {"recipients": ["jane@example.net"], "smtpResponse": "250 ok"}, "delivery", ["jane@example.net"], ""),
        ("Complaint", "complaint", {"complainedRecipients": [{"emailAddress": "jane@example.net"}], "complaintFeedbackType": "abuse"}, "complaint", ["jane@example.net"], "abuse"),
        ("Reject", "reject", {"reason": "Bad content"}, "reject", ["jane@example.net", "joe@example.net"], "Bad content"),
        ("DeliveryDelay", "deliveryDelay", {"delayType": "MailboxFull", "delayedRecipients": [{"emailAddress": "joe@example.net", "status": "4.2.2"}]}, "delivery_delay", ["joe@example.net"], "MailboxFull"),
        ("Rendering Failure", "failure", {"errorMessage": "x"}, "rendering_failure", ["jane@example.net", "joe@example.net"], ""),
        ("Subscription", "subscription", {}, "subscription", ["jane@example.net", "joe@example.net"], ""),
        ("Open", "open", {}, "open", ["jane@example.net", "joe@example.net"], ""),
        ("Click", "click", {}, "click", ["jane@example.net", "joe@example.net"], ""),
        ("Brand New", "brandNew", {}, "unknown", ["jane@example.net", "joe@example.net"], "Brand New"),
    ],
)  # fmt: skip
def test_every_event_type_is_read(
    name: str,
    key: str,
    particulars: dict[str, Any],
    kind: str,
    addresses: list[str],
    detail: str,
) -> None:
    event = read_event(an_event(name, key, particulars), now=NOW)
    assert event is not None
    assert event.kind == kind
    assert [one.address for one in event.recipients] == addresses
    assert event.kind_detail == detail


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-03-02T09:15:06.402Z", datetime(2026, 3, 2, 9, 15, 6, 402000, tzinfo=UTC)),
        ("2018-10-08T14:05:45 +0000", datetime(2018, 10, 8, 14, 5, 45, tzinfo=UTC)),
        ("2026-03-02T04:15:06-05:00", datetime(2026, 3, 2, 9, 15, 6, tzinfo=UTC)),
        ("yesterday", NOW),
        ("0001-01-01T00:00:00+23:59", NOW),
        ("9999-12-31T23:59:59-23:59", NOW),
    ],
)
def test_the_times_seen_in_samples_are_read(text: str, at: datetime) -> None:
    event = read_event(an_event("Delivery", "delivery", {"timestamp": text}), now=NOW)
    assert event is not None
    assert event.at == at


@pytest.mark.parametrize(
    ("spelt", "address"),
    [
        ("jane@example.net", "jane@example.net"),
        ("Jane Doe <Jane@Example.net>", "Jane@Example.net"),
        ('"Doe, <J>" <jane@example.net>', "jane@example.net"),
        (" jane@example.net ", "jane@example.net"),
        ("half\ud800@example.net", "half?@example.net"),
    ],
)
def test_recipients_are_addresses_whatever_surrounds_them(spelt: str, address: str) -> None:
    event = read_event(bounce(spelt), now=NOW)
    assert event is not None
    assert event.recipients[0].address == address


@pytest.mark.P5
@pytest.mark.parametrize(
    "message",
    [
        VALIDATION_TEXT,
        "",
        "[]",
        "null",
        "{}",
        '{"eventType": "Bounce"}',
        '{"eventType": 7, "mail": {"messageId": "m"}}',
        "[" * 100_000,
    ],
)
def test_what_is_no_event_is_none_not_an_error(message: str) -> None:
    assert read_event(message, now=NOW) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@pytest.mark.P5
@given(
    name=st.sampled_from(["Bounce", "Complaint", "Delivery", "DeliveryDelay", "Send", "New"]),
    particulars=JSON,
    mail=JSON,
    inner=JSON,
)
def test_no_shape_of_json_is_too_strange(
    name: str, particulars: object, mail: object, inner: object
) -> None:
    key = {"DeliveryDelay": "deliveryDelay"}.get(name, name.lower())
    for shape in (
        particulars,
        {"bouncedRecipients": inner, "recipients": inner, "timestamp": inner},
        {"complainedRecipients": [inner], "delayedRecipients": [inner]},
    ):
        for envelope in (mail, {"tags": inner, "destination": inner}):
            document = {"eventType": name, key: shape, "mail": envelope}
            event = read_event(json.dumps(document), now=NOW)
            assert event is None or event.at.tzinfo is not None
