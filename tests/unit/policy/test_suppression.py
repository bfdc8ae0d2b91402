"""Which feedback suppresses, and which must not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from relay.mail.feedback import (
    FeedbackEvent,
    FeedbackKind,
    FeedbackRecipient,
    SuppressionReason,
)
from relay.policy.suppression import suppressions

AT = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)


def an_event(kind: FeedbackKind, detail: str, *addresses: str) -> FeedbackEvent:
    recipients = tuple(FeedbackRecipient(a, "5.1.1", "smtp; 550 no such user") for a in addresses)
    return FeedbackEvent(kind, "m-1", AT, recipients, kind_detail=detail, feedback_id="f-1")


@pytest.mark.parametrize(
    ("kind", "detail", "addresses", "suppressed"),
    [
        (FeedbackKind.BOUNCE, "Permanent/General", ["Jane@Example.net"], ["jane@example.net"]),
        (FeedbackKind.BOUNCE, "Permanent/NewSubtype", ["a@x.example"], ["a@x.example"]),
        (FeedbackKind.BOUNCE, "Permanent/General", ["a@x.example", "b@x.example"], ["a@x.example", "b@x.example"]),
        (FeedbackKind.BOUNCE, "Transient/MailboxFull", ["a@x.example"], []),
        (FeedbackKind.BOUNCE, "Undetermined/Undetermined", ["a@x.example"], []),
        (FeedbackKind.COMPLAINT, "abuse", ["a@x.example"], ["a@x.example"]),
        (FeedbackKind.COMPLAINT, "", ["a@x.example"], ["a@x.example"]),
        (FeedbackKind.COMPLAINT, "not-spam", ["a@x.example"], []),
        (FeedbackKind.COMPLAINT, "abuse", ["a@x.example", "b@x.example"], []),
        (FeedbackKind.DELIVERY, "", ["a@x.example"], []),
        (FeedbackKind.DELIVERY_DELAY, "MailboxFull", ["a@x.example"], []),
        (FeedbackKind.UNKNOWN, "Permanent/General", ["a@x.example"], []),
    ],
)  # fmt: skip
def test_feedback_suppresses_only_whom_it_surely_names(
    kind: FeedbackKind, detail: str, addresses: list[str], suppressed: list[str]
) -> None:
    found = list(suppressions(an_event(kind, detail, *addresses)))
    assert [one.address for one in found] == suppressed
    assert all(one.since == AT and one.event_id == "f-1" for one in found)


def test_a_suppression_says_why_in_words_for_people() -> None:
    (one,) = suppressions(an_event(FeedbackKind.BOUNCE, "Permanent/General", "a@x.example"))
    assert one.reason is SuppressionReason.BOUNCE
    assert one.detail == "hard bounce (smtp; 550 no such user)"
