"""Recipients of one transaction."""

from __future__ import annotations

import pytest

from relay.mail.feedback import Suppression, SuppressionReason
from relay.mail.reply import Refusal
from relay.policy.sender import OnSuppressed
from relay.smtp.transaction import RECIPIENT_LIMIT, Transaction
from tests.builders import ARRIVED, a_sender, addresses, an_address
from tests.fakes import FakeSuppressions

JANE = an_address()
LISTED = FakeSuppressions(
    Suppression("jane@example.net", SuppressionReason.BOUNCE, "hard bounce", ARRIVED)
)
NONE = FakeSuppressions()


def begun(on_suppressed: OnSuppressed = OnSuppressed.REJECT) -> Transaction:
    sender = a_sender(on_suppressed=on_suppressed)
    return Transaction(sender, an_address("billing@example.com"), "relay.test")


def test_recipients_are_kept_once_and_in_order() -> None:
    transaction = begun()
    one, two = addresses(2)
    for recipient, is_new in (
        (two, True),
        (one, True),
        (two, False),
        (an_address("user1@EXAMPLE.net"), False),
    ):
        assert transaction.add(recipient, NONE) is is_new
    assert transaction.envelope.recipients == (two, one)
    assert transaction.only_recipient is None


def test_only_the_domain_ignores_case() -> None:
    transaction = begun()
    transaction.add(an_address("Jane@example.net"), NONE)
    assert transaction.only_recipient == an_address("Jane@example.net")
    transaction.add(JANE, NONE)
    assert len(transaction.envelope.recipients) == 2


@pytest.mark.P6
def test_there_is_a_limit_and_duplicates_do_not_count() -> None:
    transaction = begun()
    found = addresses(RECIPIENT_LIMIT + 1)
    assert all(transaction.add(recipient, NONE) is True for recipient in found[:-1])
    refusal = transaction.add(found[-1], NONE)
    assert isinstance(refusal, Refusal)
    assert str(refusal.reply).startswith("452 4.5.3 ")
    assert transaction.add(found[0], NONE) is False
    assert len(transaction.envelope.recipients) == RECIPIENT_LIMIT


def test_a_suppressed_recipient_is_rejected_dropped_or_kept_as_the_sender_wants() -> None:
    transaction = begun()
    refusal = transaction.add(JANE, LISTED)
    assert isinstance(refusal, Refusal)
    assert str(refusal.reply) == "550 5.1.1 Suppressed since 2026-03-01: hard bounce"
    assert not transaction.has_recipient

    transaction = begun(OnSuppressed.DROP)
    assert transaction.add(JANE, LISTED) is True
    assert transaction.has_recipient
    assert transaction.is_for_nobody
    assert transaction.dropped == (JANE,)

    transaction = begun(OnSuppressed.IGNORE)
    assert transaction.add(JANE, LISTED) is True
    assert transaction.only_recipient == JANE
