"""Who may send what: decision tables over policy's functions."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_network

import pytest

from relay.mail.address import Address, AddressFault
from relay.mail.envelope import AccountName, SenderName
from relay.mail.feedback import Suppression, SuppressionReason
from relay.mail.header import HeaderBlock
from relay.mail.reply import Refusal
from relay.policy import admission
from relay.policy.admission import Auth
from relay.policy.patterns import AddressPatterns
from relay.policy.sender import (
    Limits,
    OnSuppressed,
    Route,
    Sender,
    Senders,
    host_of,
)

MIB = 1024 * 1024
JANE = Address.parse("jane@example.net")


def a_sender(
    name: str = "billing",
    *patterns: str,
    networks: tuple[str, ...] = (),
    login: str = "",
    on_suppressed: OnSuppressed = OnSuppressed.REJECT,
) -> Sender:
    return Sender(
        name=SenderName(name),
        allowed_from=AddressPatterns(patterns or ("billing@example.com", "@invoices.example.com")),
        limits=Limits(message_size=10 * MIB),
        route=Route(AccountName("main")),
        login=login,
        networks=tuple(ip_network(network) for network in networks),
        on_suppressed=on_suppressed,
    )


@pytest.mark.P7
@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("billing@example.com", True),
        ("BILLING@EXAMPLE.COM", True),
        ('"billing"@example.com', True),
        ("billing+x@example.com", False),
        ("other@example.com", False),
        ("any@invoices.example.com", True),
        ("any@sub.invoices.example.com", False),
        ("any@invoices.example.com.evil.example", False),
        ("any@evilinvoices.example.com", False),
        ("billing@example.com.evil.example", False),
        ('"billing@example.com"@evil.example', False),
        ("any@sub.parent.example", True),
        ("any@a.b.parent.example", True),
        ("any@parent.example", False),
        ("any@evilparent.example", False),
    ],
)
def test_a_sender_writes_only_as_its_own_addresses(address: str, *, allowed: bool) -> None:
    sender = a_sender("billing", "billing@example.com", "@invoices.example.com", "@.parent.example")
    parsed = Address.parse(address)
    refusal = admission.admit_reverse_path(sender, parsed, 0)
    assert (refusal is None) is allowed
    header = HeaderBlock.parse(f"From: X <{address}>\r\n".encode())
    assert (admission.admit_header(sender, header) is None) is allowed


@pytest.mark.P7
@pytest.mark.parametrize(
    ("auth", "host", "who"),
    [
        (Auth.REQUIRED, "10.20.1.1", admission.AUTH_REQUIRED),
        (Auth.OPTIONAL, "10.20.1.1", "printers"),
        (Auth.OFF, "10.20.1.1", "printers"),
        (Auth.OFF, "10.20.9.9", "lobby"),
        (Auth.OFF, "::ffff:10.20.1.1", "printers"),
        (Auth.OFF, "2001:db8::5", "v6"),
        (Auth.OFF, "192.0.2.1", admission.UNKNOWN_NETWORK),
        (Auth.OPTIONAL, "192.0.2.1", admission.AUTH_REQUIRED),
    ],
)
def test_the_most_specific_network_names_the_sender(
    auth: Auth, host: str, who: str | Refusal
) -> None:
    senders = Senders(
        [
            a_sender("printers", networks=("10.20.0.0/16",)),
            a_sender("lobby", networks=("10.20.9.0/24",)),
            a_sender("v6", networks=("2001:db8::/32",)),
        ]
    )
    found = admission.identify(senders, auth, authenticated=None, host=host_of(host))
    assert (found.name if isinstance(found, Sender) else found) == who


def test_whoever_authenticated_is_that_sender_wherever_it_sits() -> None:
    billing = a_sender(login="billing")
    senders = Senders([billing, a_sender("printers", networks=("10.0.0.0/8",))])
    found = admission.identify(
        senders, Auth.OPTIONAL, authenticated=billing, host=host_of("10.1.1.1")
    )
    assert found is billing


@pytest.mark.parametrize(
    ("reverse_path", "size", "reply"),
    [
        (None, 0, "550 5.7.1"),
        ("other@example.com", 0, "553 5.7.1"),
        ("billing@example.com", 11 * MIB, "552 5.3.4"),
        ("billing@example.com", 10 * MIB, None),
    ],
)
def test_mail_is_refused_with_a_text_that_says_what_to_do(
    reverse_path: str | None, size: int, reply: str | None
) -> None:
    parsed = None if reverse_path is None else Address.parse(reverse_path)
    refusal = admission.admit_reverse_path(a_sender(), parsed, size)
    assert (None if refusal is None else str(refusal.reply)[:9]) == reply


def suppressed(reason: SuppressionReason) -> Suppression:
    since = datetime(2026, 10, 3, tzinfo=UTC)
    return Suppression("jane@example.net", reason, "hard bounce (550 no such user)", since)


@pytest.mark.parametrize(
    ("reason", "mode", "reply"),
    [
        (SuppressionReason.BOUNCE, OnSuppressed.REJECT, "550 5.1.1 Suppressed since 2026-10-03"),
        (SuppressionReason.COMPLAINT, OnSuppressed.REJECT, "550 5.7.1 Suppressed since 2026-10-03"),
        (SuppressionReason.MANUAL, OnSuppressed.REJECT, "550 5.7.1 Suppressed since 2026-10-03"),
        (SuppressionReason.BOUNCE, OnSuppressed.DROP, None),
        (SuppressionReason.BOUNCE, OnSuppressed.IGNORE, None),
    ],
)
def test_a_suppressed_recipient_is_refused_with_reason_and_date(
    reason: SuppressionReason, mode: OnSuppressed, reply: str | None
) -> None:
    refusal = admission.admit_recipient(a_sender(on_suppressed=mode), JANE, suppressed(reason))
    assert (None if refusal is None else str(refusal.reply).partition(":")[0]) == reply


def test_nobody_is_refused_who_is_not_suppressed() -> None:
    assert admission.admit_recipient(a_sender(), JANE, None) is None


@pytest.mark.parametrize("literal", ["jane@[192.0.2.1]", "jane@[IPv6:2001:db8::1]"])
def test_ses_sends_to_no_address_literal(literal: str) -> None:
    refusal = admission.admit_recipient(a_sender(), Address.parse(literal), None)
    assert refusal is not None
    assert str(refusal.reply).startswith("553 5.1.3")


@pytest.mark.P7
@pytest.mark.parametrize(
    ("header", "reply"),
    [
        (b"From: billing@example.com\r\n", None),
        (b"From: billing@example.com, x@invoices.example.com\r\n", None),
        (b"From: billing@example.com, x@evil.example\r\n", "550 5.7.1"),
        (b"From: x@evil.example\r\n", "550 5.7.1"),
        (b"From: billing@example.com\r\nSender: x@evil.example\r\n", "550 5.7.1"),
        (b"From: billing@example.com\r\nSender: x@invoices.example.com\r\n", None),
        (b"From: billing@example.com\r\nFrom: billing@example.com\r\n", "550 5.6.0"),
        (b"From: billing@example.com\r\nfROM : x@evil.example\r\n", "550 5.6.0"),
        (b"Subject: no author\r\n", "550 5.6.0"),
        (b"", "550 5.6.0"),
        (b"From:\r\n", "550 5.6.0"),
        (b"From: x@evil.example <billing@example.com>\r\n", "550 5.6.0"),
        (b"Received: x\r\n" * 100 + b"From: billing@example.com\r\n", None),
        (b"Received: x\r\n" * 101 + b"From: billing@example.com\r\n", "554 5.4.6"),
    ],
)
def test_the_author_must_be_the_senders_own(header: bytes, reply: str | None) -> None:
    refusal = admission.admit_header(a_sender(), HeaderBlock.parse(header))
    assert (None if refusal is None else str(refusal.reply)[:9]) == reply


@pytest.mark.parametrize(
    ("fault", "reverse_path", "reply"),
    [
        (AddressFault.SYNTAX, True, "553 5.1.7"),
        (AddressFault.SYNTAX, False, "553 5.1.3"),
        (AddressFault.TOO_LONG, False, "553 5.1.3"),
        (AddressFault.NON_ASCII, True, "553 5.6.7"),
        (AddressFault.NON_ASCII, False, "553 5.6.7"),
    ],
)
def test_bad_addresses_have_their_own_status(
    fault: AddressFault, *, reverse_path: bool, reply: str
) -> None:
    refusal = admission.refuse_address(fault, reverse_path=reverse_path)
    assert str(refusal.reply)[:9] == reply


@pytest.mark.P2
@pytest.mark.parametrize(
    ("name", "removed"),
    [
        (b"bcc", True),
        (b"resent-bcc", True),
        (b"return-path", True),
        (b"x-ses-configuration-set", True),
        (b"x-ses-", True),
        (b"cc", False),
        (b"x-sesame", False),
        (b"dkim-signature", False),
    ],
)
def test_only_declared_fields_are_removed(name: bytes, *, removed: bool) -> None:
    assert admission.is_removed(name) is removed


def test_every_refusal_has_a_reason_that_metrics_know() -> None:
    known = {*admission.MAIL_REASONS, *admission.RCPT_REASONS, *admission.DATA_REASONS}
    constants = [value for value in vars(admission).values() if isinstance(value, Refusal)]
    assert constants
    assert {refusal.reason for refusal in constants} <= known
