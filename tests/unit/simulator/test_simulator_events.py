"""What becomes of recipients, and how SES tells it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from relay.simulator.address import parse_mailbox
from relay.simulator.content import Content
from relay.simulator.events import events_of, timestamp
from relay.simulator.mailbox import fate_of, is_simulator
from relay.simulator.settings import Fate, Settings
from relay.simulator.shelf import Message, ses_id
from relay.simulator.submission import Api

NOW = datetime(2026, 3, 2, 9, 15, 4, 118_000, tzinfo=UTC)
LATER = NOW + timedelta(milliseconds=1793)
MESSAGE_ID = "010201941c2f5e7a-3b0f1c62-8d4e-4a51-9f0a-6c2d1e7b9a34-000000"
RAW = (
    b'From: "Billing, Inc" <billing@example.com>\r\n'
    b"To: Jane <jane@example.net>, joe@example.net\r\n"
    b"Date: Mon, 2 Mar 2026 09:15:00 +0000\r\n"
    b"Subject: Invoice\r\n 1042\r\n"
    b"Message-ID: <1042.app@erp.example.com>\r\n"
    b"X-Relay-Id: 01HZX4\r\n\r\nhello\r\n"
)


def message(*recipients: str, raw: bytes = RAW, source: str | None = "b@example.com") -> Message:
    return Message(
        id=MESSAGE_ID,
        api=Api.V1,
        received_at=NOW,
        source=source,
        destinations=recipients,
        recipients=tuple(map(parse_mailbox, recipients)),
        envelope_from=parse_mailbox(source or "billing@example.com"),
        identity="example.com",
        content=Content.read(raw),
        tags=(("app", "billing"), ("ses:feedback-id-a", "x")),
        configuration_set="default",
        tenant=None,
        access_key="AKIATEST",
        caller="relay-role",
        client="192.0.2.10",
    )


def events(sent: Message, settings: Settings | None = None) -> list[dict[str, Any]]:
    """The events as a subscriber reads them."""
    built = events_of(sent, settings or Settings(), at=LATER)
    return [json.loads(json.dumps(event)) for event in built]


def types(sent: Message, settings: Settings | None = None) -> list[str]:
    return [event["eventType"] for event in events(sent, settings)]


@pytest.mark.parametrize(
    ("address", "fate"),
    [
        ("success@simulator.amazonses.com", Fate.DELIVERED),
        ("bounce@simulator.amazonses.com", Fate.BOUNCED),
        ("Bounce+a1@Simulator.AmazonSES.com", Fate.BOUNCED),
        ("complaint+x@simulator.amazonses.com", Fate.COMPLAINED),
        ("ooto@simulator.amazonses.com", Fate.AUTO_REPLIED),
        ("suppressionlist@simulator.amazonses.com", Fate.ON_GLOBAL_LIST),
        ("nobody@simulator.amazonses.com", Fate.BOUNCED),
        ("bounce@example.net", Fate.DELIVERED),
        ("Full@example.net", Fate.MAILBOX_FULL),
        ("other@Bad.example", Fate.SILENT),
        ("good@bad.example", Fate.DELAYED),
    ],
)
def test_the_address_decides_its_fate(address: str, fate: Fate) -> None:
    settings = Settings(
        fates={
            "full@example.net": Fate.MAILBOX_FULL,
            "@bad.example": Fate.SILENT,
            "good@bad.example": Fate.DELAYED,
        }
    )
    assert fate_of(parse_mailbox(address), settings) is fate


def test_the_fate_of_all_others_can_be_set() -> None:
    mailbox = parse_mailbox("jane@example.net")
    assert fate_of(mailbox, Settings(other_recipients=Fate.BOUNCED)) is Fate.BOUNCED
    assert not is_simulator(mailbox)


def test_a_send_event_says_what_was_sent() -> None:
    send = events(message("jane@example.net", "joe@example.net"))[0]
    assert send == {
        "eventType": "Send",
        "mail": {
            "timestamp": "2026-03-02T09:15:04.118Z",
            "source": "b@example.com",
            "sourceArn": "arn:aws:ses:eu-west-1:123456789012:identity/example.com",
            "sendingAccountId": "123456789012",
            "messageId": MESSAGE_ID,
            "destination": ["jane@example.net", "joe@example.net"],
            "headersTruncated": False,
            "headers": [
                {"name": "From", "value": '"Billing, Inc" <billing@example.com>'},
                {"name": "To", "value": "Jane <jane@example.net>, joe@example.net"},
                {"name": "Date", "value": "Mon, 2 Mar 2026 09:15:00 +0000"},
                {"name": "Subject", "value": "Invoice 1042"},
                {"name": "Message-ID", "value": "<1042.app@erp.example.com>"},
                {"name": "X-Relay-Id", "value": "01HZX4"},
            ],
            "commonHeaders": {
                "from": ['"Billing, Inc" <billing@example.com>'],
                "to": ["Jane <jane@example.net>", "joe@example.net"],
                "date": "Mon, 2 Mar 2026 09:15:00 +0000",
                "messageId": "<1042.app@erp.example.com>",
                "subject": "Invoice 1042",
            },
            "tags": {
                "ses:operation": ["SendRawEmail"],
                "ses:configuration-set": ["default"],
                "ses:source-ip": ["192.0.2.10"],
                "ses:from-domain": ["example.com"],
                "ses:caller-identity": ["relay-role"],
                "app": ["billing"],
                "ses:feedback-id-a": ["x"],
            },
        },
        "send": {},
    }


def test_a_delivery_follows_the_send_for_each_recipient() -> None:
    send, first, second = events(message("jane@example.net", "joe@example.net"))
    assert send["eventType"] == "Send"
    assert first["delivery"] == {
        "timestamp": "2026-03-02T09:15:05.911Z",
        "processingTimeMillis": 1793,
        "recipients": ["jane@example.net"],
        "smtpResponse": "250 2.0.0 OK queued by the simulator",
        "reportingMTA": "a7-21.smtp-out.eu-west-1.amazonses.com",
    }
    assert first["mail"]["tags"]["ses:outgoing-ip"] == ["198.51.100.7"]
    assert second["delivery"]["recipients"] == ["joe@example.net"]


@pytest.mark.parametrize(
    ("fate", "bounce_type", "sub_type", "status", "reporter"),
    [
        (Fate.BOUNCED, "Permanent", "General", "5.1.1", "a7-21.smtp-out.eu-west-1.amazonses.com"),
        (
            Fate.MAILBOX_FULL,
            "Transient",
            "MailboxFull",
            "5.2.2",
            "a7-21.smtp-out.eu-west-1.amazonses.com",
        ),
        (Fate.ON_GLOBAL_LIST, "Permanent", "Suppressed", "5.1.1", "amazonses.com"),
        (Fate.ON_ACCOUNT_LIST, "Permanent", "OnAccountSuppressionList", "5.1.1", "amazonses.com"),
    ],
)
def test_a_bounce_says_why(
    fate: Fate, bounce_type: str, sub_type: str, status: str, reporter: str
) -> None:
    settings = Settings(other_recipients=fate)
    _, event = events(message("jane@example.net"), settings)
    bounce = event["bounce"]
    assert (bounce["bounceType"], bounce["bounceSubType"]) == (bounce_type, sub_type)
    assert bounce["reportingMTA"] == f"dns; {reporter}"
    assert bounce["timestamp"] == "2026-03-02T09:15:05.911Z"
    (bounced,) = bounce["bouncedRecipients"]
    assert bounced["emailAddress"] == "jane@example.net"
    assert (bounced["action"], bounced["status"]) == ("failed", status)
    assert bounced["diagnosticCode"]


def test_a_complaint_comes_after_the_delivery() -> None:
    sent = message("complaint+1@simulator.amazonses.com")
    assert types(sent) == ["Send", "Delivery", "Complaint"]
    complaint = events(sent)[2]["complaint"]
    assert complaint["complainedRecipients"] == [
        {"emailAddress": "complaint+1@simulator.amazonses.com"}
    ]
    assert complaint["complaintFeedbackType"] == "abuse"
    assert complaint["complaintSubType"] is None
    assert complaint["arrivalDate"] == "2026-03-02T09:15:04.118Z"


def test_a_delay_comes_before_the_delivery_and_silence_is_silent() -> None:
    assert types(message("a@b.c"), Settings(other_recipients=Fate.DELAYED)) == [
        "Send",
        "DeliveryDelay",
        "Delivery",
    ]
    delay = events(message("a@b.c"), Settings(other_recipients=Fate.DELAYED))[1]["deliveryDelay"]
    assert delay["expirationTime"] == "2026-03-02T23:15:04.118Z"
    assert types(message("a@b.c"), Settings(other_recipients=Fate.SILENT)) == ["Send"]
    assert types(message("ooto@simulator.amazonses.com")) == ["Send", "Delivery"]


def test_simulated_bounces_of_one_call_are_merged_unless_switched_off() -> None:
    addresses = [f"bounce+{n}@simulator.amazonses.com" for n in (1, 2)]
    sent = message(addresses[0], "jane@example.net", addresses[1])
    assert types(sent) == ["Send", "Delivery", "Bounce"]
    merged = events(sent)[2]["bounce"]["bouncedRecipients"]
    assert [bounced["emailAddress"] for bounced in merged] == addresses
    apart = Settings(simulated_bounces_merged=False)
    assert types(sent, apart) == ["Send", "Bounce", "Delivery", "Bounce"]


def test_other_bounces_are_never_merged() -> None:
    settings = Settings(other_recipients=Fate.BOUNCED)
    assert types(message("a@b.c", "d@b.c"), settings) == ["Send", "Bounce", "Bounce"]


def test_a_virus_is_rejected_after_it_was_accepted() -> None:
    raw = RAW + b"$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!"
    (event,) = events(message("jane@example.net", raw=raw))
    assert event["eventType"] == "Reject"
    assert event["reject"] == {"reason": "Bad content"}


def test_headers_beyond_ten_kilobytes_are_left_out() -> None:
    raw = b"From: a@example.com\r\nX-Long: " + b"x" * 10_300 + b"\r\nSubject: y\r\n\r\n"
    mail = events(message("jane@example.net", raw=raw))[0]["mail"]
    assert mail["headersTruncated"] is True
    assert [header["name"] for header in mail["headers"]] == ["From"]
    assert mail["commonHeaders"]["subject"] == "y"


def test_octets_that_are_no_text_are_replaced() -> None:
    raw = b"From: a@example.com\r\nSubject: caf\xe9\r\n\r\n"
    mail = events(message("jane@example.net", raw=raw, source=None))[0]["mail"]
    assert mail["commonHeaders"]["subject"] == "caf\N{REPLACEMENT CHARACTER}"
    assert mail["source"] == "billing@example.com"


def test_an_id_has_the_shape_of_ses_and_the_order_of_time() -> None:
    first, second = ses_id(NOW), ses_id(LATER)
    assert first < second
    assert [len(part) for part in first.split("-")] == [16, 8, 4, 4, 4, 12, 6]
    assert first.endswith("-000000")
    assert ses_id(NOW) != first


def test_moments_are_written_with_milliseconds() -> None:
    assert timestamp(NOW.replace(microsecond=7_999)) == "2026-03-02T09:15:04.007Z"
