"""Recipients of one transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from relay.mail.feedback import Suppression, SuppressionReason
from relay.policy.sender import Limits, OnSuppressed
from relay.smtp.transaction import Transaction
from tests.builders import ARRIVED, a_ruleset, a_sender, addresses, an_address

JANE = an_address()
LISTED = Suppression("jane@example.net", SuppressionReason.BOUNCE, "hard bounce", ARRIVED)


def begun(on_suppressed: OnSuppressed = OnSuppressed.REJECT, **keys: Any) -> Transaction:
    sender = replace(a_sender(on_suppressed=on_suppressed), **keys)
    return Transaction(sender, an_address("billing@example.com"), a_ruleset(sender))


def test_recipients_are_kept_in_order() -> None:
    transaction = begun()
    one, two = addresses(2)
    for recipient in (two, one):
        assert recipient not in transaction
        assert transaction.add(recipient, None) is None
        assert recipient in transaction
    assert an_address("user1@EXAMPLE.net") in transaction
    assert transaction.envelope.recipients == (two, one)
    assert transaction.only_recipient is None


def test_only_the_domain_ignores_case() -> None:
    transaction = begun()
    transaction.add(an_address("Jane@example.net"), None)
    assert transaction.only_recipient == an_address("Jane@example.net")
    assert JANE not in transaction


@pytest.mark.P6
def test_there_is_a_limit() -> None:
    transaction = begun(limits=Limits(1000, recipients_per_message=20))
    found = addresses(21)
    assert all(transaction.add(recipient, None) is None for recipient in found[:-1])
    refusal = transaction.add(found[-1], None)
    assert refusal is not None
    assert str(refusal.reply) == (
        "452 4.5.3 No more than 20 recipients at once; send the rest in another transaction"
    )
    assert len(transaction.envelope.recipients) == 20


def test_a_suppressed_recipient_is_rejected_dropped_or_kept_as_the_sender_wants() -> None:
    transaction = begun()
    refusal = transaction.add(JANE, LISTED)
    assert refusal is not None
    assert str(refusal.reply) == "550 5.1.1 Suppressed since 2026-03-01: hard bounce"
    assert not transaction.has_recipient

    transaction = begun(OnSuppressed.DROP)
    assert transaction.add(JANE, LISTED) is None
    assert transaction.has_recipient
    assert transaction.is_for_nobody
    assert transaction.dropped == (JANE,)
    assert transaction.mailed == ()

    transaction = begun(OnSuppressed.IGNORE)
    assert transaction.add(JANE, LISTED) is None
    assert transaction.only_recipient == JANE


def test_redirected_mail_goes_to_one_address_whoever_it_was_for() -> None:
    staging = an_address("staging@example.com")
    transaction = begun(OnSuppressed.DROP, redirect_all=staging)
    for recipient in addresses(3):
        transaction.add(recipient, None)
    assert transaction.add(JANE, LISTED) is None
    assert transaction.envelope.recipients == (staging,)
    assert transaction.only_recipient == staging
    assert transaction.mailed == transaction.redirected == (*addresses(3), JANE)
    assert transaction.dropped == ()
