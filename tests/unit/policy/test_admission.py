"""Who may send what: decision tables over policy's functions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from math import inf

import pytest

from relay.mail.address import Address, AddressFault
from relay.mail.entry import Backlog
from relay.mail.envelope import AccountName, SenderName
from relay.mail.feedback import Suppression, SuppressionReason
from relay.mail.header import HeaderBlock
from relay.mail.reply import Refusal
from relay.mail.ses_headers import NOTHING_ASKED, SesHeaders
from relay.policy import admission
from relay.policy.admission import Auth
from relay.policy.allowance import Lack
from relay.policy.patterns import AddressPatterns
from relay.policy.rewrite import Rewrite, When
from relay.policy.sender import (
    Destinations,
    Limits,
    OnSuppressed,
    QueueShare,
    Rate,
    Route,
    Sender,
    Senders,
    host_of,
)
from relay.policy.ses_headers import HeededHeaders

MIB = 1024 * 1024
REWRITTEN = b"From: Scanner <scanner@invoices.example.com>\r\n"
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
    assert (admission.admit_reverse_path(sender, parsed, 0) == parsed) is allowed
    header = HeaderBlock.parse(f"From: X <{address}>\r\n".encode())
    assert (admission.admit_header(sender, header) is header) is allowed


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


@pytest.mark.P7
@pytest.mark.parametrize(
    ("names", "who"),
    [
        (("KIOSK@example.com",), "kiosk"),
        (("other.example.com", "kiosk@example.com"), "kiosk"),
        (("\u212aiosk@example.com",), None),
        (("kiosk@example.com", "billing.internal"), None),
        ((), None),
    ],
)
def test_a_certificate_stands_for_one_sender_or_none(
    names: tuple[str, ...], who: str | None
) -> None:
    senders = Senders(
        [
            replace(a_sender("kiosk"), certificates=("kiosk@example.com",)),
            replace(a_sender(), certificates=("billing.internal",)),
        ]
    )
    found = senders.with_certificate(names)
    assert (None if found is None else found.name) == who


def test_whoever_authenticated_is_that_sender_wherever_it_sits() -> None:
    billing = a_sender(login="billing")
    senders = Senders([billing, a_sender("printers", networks=("10.0.0.0/8",))])
    found = admission.identify(
        senders, Auth.OPTIONAL, authenticated=billing, host=host_of("10.1.1.1")
    )
    assert found is billing


BILLING = Address.parse("billing@example.com")
SCANNER = Address.parse("scanner@invoices.example.com")
OTHER = Address.parse("other@example.com")
REWRITE = Rewrite(reverse_path=SCANNER, author="Scanner <scanner@invoices.example.com>")
ALWAYS = replace(REWRITE, when=When.ALWAYS)


def outcome(answer: Address | HeaderBlock | Refusal | None) -> object:
    return str(answer.reply)[:9] if isinstance(answer, Refusal) else answer


@pytest.mark.parametrize(
    ("reverse_path", "size", "reply"),
    [
        (None, 0, "550 5.7.1"),
        (AddressFault.UNQUALIFIED, 0, "553 5.1.7"),
        (AddressFault.SYNTAX, 0, "553 5.1.7"),
        (AddressFault.TOO_LONG, 0, "553 5.1.7"),
        (AddressFault.NON_ASCII, 0, "553 5.6.7"),
        (OTHER, 0, "553 5.7.1"),
        (BILLING, 11 * MIB, "552 5.3.4"),
        (BILLING, 10 * MIB, BILLING),
    ],
)
def test_mail_is_refused_with_a_text_that_says_what_to_do(
    reverse_path: Address | AddressFault | None, size: int, reply: object
) -> None:
    assert outcome(admission.admit_reverse_path(a_sender(), reverse_path, size)) == reply


@pytest.mark.parametrize(
    ("rewrite", "reverse_path", "size", "reply"),
    [
        (REWRITE, None, 0, SCANNER),
        (REWRITE, AddressFault.UNQUALIFIED, 0, SCANNER),
        (REWRITE, AddressFault.SYNTAX, 0, SCANNER),
        (REWRITE, AddressFault.TOO_LONG, 0, "553 5.1.7"),
        (REWRITE, AddressFault.NON_ASCII, 0, "553 5.6.7"),
        (REWRITE, OTHER, 0, SCANNER),
        (REWRITE, BILLING, 0, BILLING),
        (REWRITE, BILLING, 11 * MIB, "552 5.3.4"),
        (ALWAYS, BILLING, 0, SCANNER),
        (ALWAYS, OTHER, 11 * MIB, "552 5.3.4"),
        (replace(REWRITE, reverse_path=None), None, 0, "550 5.7.1"),
        (replace(REWRITE, reverse_path=None), OTHER, 0, "553 5.7.1"),
    ],
)
def test_a_rewrite_takes_the_place_of_a_reverse_path_that_may_not_be_used(
    rewrite: Rewrite, reverse_path: Address | AddressFault | None, size: int, reply: object
) -> None:
    sender = replace(a_sender(), rewrite=rewrite)
    assert outcome(admission.admit_reverse_path(sender, reverse_path, size)) == reply


def test_null_and_unqualified_senders_are_told_what_to_do() -> None:
    for refusal in (admission.NULL_SENDER, admission.UNQUALIFIED_SENDER):
        assert "in your application, or ask the operator for a rewrite" in refusal.reply.text


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
    block = HeaderBlock.parse(header)
    assert outcome(admission.admit_header(a_sender(), block)) == (reply or block)


@pytest.mark.parametrize(
    ("rewrite", "header", "expected"),
    [
        (REWRITE, b"From: root\r\nA: b\r\n", REWRITTEN + b"X-Original-From: root\r\nA: b\r\n"),
        (REWRITE, b"A: b\r\n", b"A: b\r\n" + REWRITTEN),
        (
            REWRITE,
            b"From: x@evil.example\r\nBcc: a@b.example\r\n",
            REWRITTEN + b"X-Original-From: x@evil.example\r\n",
        ),
        (REWRITE, b"From: billing@example.com\r\n", b"From: billing@example.com\r\n"),
        (
            REWRITE,
            b"From: billing@example.com\r\nSender: root\r\nDKIM-Signature: v=1\r\n",
            b"From: billing@example.com\r\n",
        ),
        (
            ALWAYS,
            b"From: billing@example.com\r\nDKIM-Signature: v=1\r\n",
            REWRITTEN + b"X-Original-From: billing@example.com\r\n",
        ),
        (replace(ALWAYS, keep_original=False), b"From: a@b.example\r\n", REWRITTEN),
        (replace(REWRITE, author=""), b"From: x@evil.example\r\n", "550 5.7.1"),
        (replace(REWRITE, author=""), b"From: root\r\n", "550 5.6.0"),
        (
            replace(REWRITE, author=""),
            b"From: billing@example.com\r\nSender: root\r\n",
            "550 5.6.0",
        ),
        (REWRITE, b"X-Relay-Id: x\r\n" * 101 + b"From: billing@example.com\r\n", "554 5.4.6"),
    ],
)
def test_a_rewrite_takes_the_place_of_an_author_that_may_not_be_used(
    rewrite: Rewrite, header: bytes, expected: bytes | str
) -> None:
    sender = replace(a_sender(), rewrite=rewrite)
    answer = admission.admit_header(sender, HeaderBlock.parse(header))
    found = answer.octets if isinstance(answer, HeaderBlock) else outcome(answer)
    assert found == expected


@pytest.mark.parametrize(
    ("to", "reply"),
    [
        (Destinations(), None),
        (Destinations(AddressPatterns(("@example.net",))), None),
        (Destinations(AddressPatterns(("@example.org", "JANE@example.net"))), None),
        (Destinations(AddressPatterns(("@example.org",))), "550 5.7.1"),
        (Destinations(AddressPatterns(())), "550 5.7.1"),
        (Destinations(None, AddressPatterns(("@.example.net",))), None),
        (Destinations(None, AddressPatterns(("jane@example.net",))), "550 5.7.1"),
        (
            Destinations(AddressPatterns(("@example.net",)), AddressPatterns(("@example.net",))),
            "550 5.7.1",
        ),
    ],
)
def test_a_sender_writes_only_to_whom_it_may(to: Destinations, reply: str | None) -> None:
    assert outcome(admission.admit_recipient(replace(a_sender(), to=to), JANE, None)) == reply


def test_who_is_not_mailed_anyway_may_be_suppressed() -> None:
    sender = replace(a_sender(), redirect_all=OTHER)
    found = suppressed(SuppressionReason.BOUNCE)
    assert admission.admit_recipient(sender, JANE, found) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "in 1 second"),
        (1.1, "in 2 seconds"),
        (120, "in 120 seconds"),
        (121, "in 3 minutes"),
        (7200, "in 120 minutes"),
        (7201, "in 3 hours"),
        (172_801, "in 3 days"),
        (inf, "with fewer"),
    ],
)
def test_whoever_is_over_a_limit_is_told_when_to_come_again(seconds: float, words: str) -> None:
    lack = Lack(Rate(5000, 86_400.0), seconds)
    refusal = admission.quota_exceeded(lack)
    assert str(refusal.reply) == (
        f"452 4.7.1 Your quota of 5000 recipients per day is used up; try again {words}"
    )
    refusal = admission.rate_limited(lack._replace(limit=Rate(10, 1.0)))
    assert str(refusal.reply) == (
        f"451 4.7.1 Your limit of 10 messages per second is exceeded; try again {words}"
    )


@pytest.mark.parametrize(
    ("fault", "reverse_path", "reply"),
    [
        (AddressFault.UNQUALIFIED, True, "553 5.1.7"),
        (AddressFault.UNQUALIFIED, False, "553 5.1.3"),
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
@pytest.mark.P2
@pytest.mark.parametrize(
    ("name", "removed"),
    [
        (b"bcc", True),
        (b"Bcc ", True),
        (b"X-Ses-Source-ARN", True),
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
    kept, given = b"From: billing@example.com\r\n", name + b": x\r\n\ty\r\n"
    answer = admission.admit_header(a_sender(), HeaderBlock.parse(kept + given))
    assert isinstance(answer, HeaderBlock)
    assert answer.octets == (kept if removed else kept + given)


def test_every_refusal_has_a_reason_that_metrics_know() -> None:
    known = {*admission.MAIL_REASONS, *admission.RCPT_REASONS, *admission.DATA_REASONS}
    constants = [value for value in vars(admission).values() if isinstance(value, Refusal)]
    assert constants
    assert {refusal.reason for refusal in constants} <= known


@pytest.mark.P6
@pytest.mark.parametrize(
    ("kept", "room", "size", "is_full"),
    [
        (0, 1000, 250, False),
        (0, 1000, 251, True),
        (200, 1000, 50, False),
        (250, 1000, 0, True),
        (0, 0, 0, True),
    ],
)
def test_a_share_of_the_queue_follows_what_there_is_room_for(
    kept: int, room: int, size: int, *, is_full: bool
) -> None:
    sender = replace(a_sender(), limits=Limits(1000, queue=QueueShare(fraction=0.25)))
    refusal = admission.admit_to_queue(sender, Backlog(1, kept, room), size)
    assert (refusal is not None) is is_full
    assert refusal is None or str(refusal.reply).startswith("452 4.3.1")


# --- X-SES fields ---------------------------------------------------------------------------------

HEEDED = HeededHeaders(("X-SES-CONFIGURATION-SET", "X-SES-MESSAGE-TAGS"))
ASKING = (
    b"From: billing@example.com\r\nx-ses-configuration-set : bulk\r\n"
    b"X-SES-Message-Tags: app=shop,\r\n run=7\r\nX-SES-TENANT: someone-elses\r\n"
)


def heeding(*tags: tuple[str, str]) -> Sender:
    sender = a_sender()
    return replace(sender, ses_headers=HEEDED, route=replace(sender.route, tags=tags))


@pytest.mark.P2
def test_heeded_fields_become_what_is_asked_and_are_removed_like_all_others() -> None:
    header = HeaderBlock.parse(ASKING)
    sender = heeding(("app", "billing"), ("team", "a"))
    asked = admission.admit_ses_headers(sender, header)
    assert asked == SesHeaders("bulk", (("app", "shop"), ("run", "7"))), "the tenant was heeded"
    kept = admission.admit_header(sender, header)
    assert isinstance(kept, HeaderBlock)
    assert kept.octets == b"From: billing@example.com\r\n"
    route = sender.route.asked_by(asked)
    assert route.configuration_set == "bulk"
    assert route.tags == (("app", "shop"), ("team", "a"), ("run", "7"))
    assert route.account == "main"
    assert not route.needs_v2
    assert sender.route.asked_by(SesHeaders(contact_list="readers")).needs_v2


def test_without_a_rule_no_field_is_read() -> None:
    nonsense = HeaderBlock.parse(b"X-SES-MESSAGE-TAGS: nonsense\r\n")
    assert admission.admit_ses_headers(a_sender(), nonsense) is NOTHING_ASKED
    assert admission.admit_ses_headers(heeding(), HeaderBlock.parse(b"A: b\r\n")) is NOTHING_ASKED


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (b"X-SES-Message-Tags: app", "X-SES-MESSAGE-TAGS, tag 1: a tag is written name=value"),
        (b"X-SES-Message-Tags: app=\xc3\xbc", "X-SES-MESSAGE-TAGS has characters beyond ASCII"),
        (b"X-SES-Message-Tags: relay-id=1", "the relay itself sets relay-id"),
        (
            b"X-SES-Message-Tags: " + b",".join(b"t%d=1" % n for n in range(47)),
            "with those of the relay there are 51 tags, and 50 at most are possible",
        ),
    ],
)
def test_a_malformed_field_is_refused_with_words_that_help(field: bytes, words: str) -> None:
    header = HeaderBlock.parse(field + b"\r\n")
    refusal = admission.admit_ses_headers(heeding(("app", "x")), header)
    assert isinstance(refusal, Refusal)
    assert str(refusal.reply).startswith("550 5.6.0 Not understood: ")
    assert words in refusal.reply.text
    assert refusal.reason in admission.DATA_REASONS
