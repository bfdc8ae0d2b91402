"""What SES refuses, rule by rule, with its code and its words."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from relay.simulator.address import parse_mailbox
from relay.simulator.content import Content
from relay.simulator.errors import ApiError
from relay.simulator.form import Form
from relay.simulator.lists import BLOCKED_EXTENSIONS, SINGLE_INSTANCE_HEADERS
from relay.simulator.rules import MAX_SIZE, Case, covering_identity, judge
from relay.simulator.settings import Sending, Settings
from relay.simulator.submission import Submission

if TYPE_CHECKING:
    from collections.abc import Mapping

SETTINGS = Settings(
    identities=frozenset({"example.com", "Ann@example.org"}),
    configuration_sets=frozenset({"default", "other"}),
    paused_configuration_sets=frozenset({"paused"}),
)
PLAIN = b"From: billing@example.com\r\nTo: jane@example.net\r\nSubject: x\r\n\r\nhello\r\n"
ONE = {"Destinations.member.1": "jane@example.net"}


def call(content: bytes = PLAIN, fields: Mapping[str, str] = ONE) -> Submission:
    encoded = {"RawMessage.Data": base64.b64encode(content).decode(), **fields}
    read = Submission.read(Form(urlencode(encoded).encode()))
    assert isinstance(read, Submission)
    return read


def with_content(octets: bytes) -> Submission:
    """A call whose message is too large to be worth encoding and decoding first."""
    return replace(call(), content=Content.read(octets))


def headers(*lines: str, body: bytes = b"hello\r\n") -> bytes:
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def refusal(submission: Submission, settings: Settings = SETTINGS) -> tuple[str, str] | None:
    found = judge(submission, settings)
    return (found.code, found.text) if isinstance(found, ApiError) else None


def judged(submission: Submission, settings: Settings = SETTINGS) -> Case:
    found = judge(submission, settings)
    assert isinstance(found, Case)
    return found


def invalid(text: str) -> tuple[str, str]:
    return "InvalidParameterValue", text


def unverified(names: str) -> tuple[str, str]:
    return (
        "MessageRejected",
        (
            "Email address is not verified. The following identities failed the check in region "
            f"EU-WEST-1: {names}"
        ),
    )


def test_a_plain_message_is_taken() -> None:
    assert refusal(call()) is None


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (headers("To: a@b.c"), "Missing required header 'From'."),
        (headers("From:", "To: a@b.c"), "Empty required header 'From'."),
        (headers("From: a@example.com", "To:"), "Empty required header 'To'."),
        (headers("From: a@example.com", "To: "), "Empty required header 'To'."),
        (headers("From: nobody:;"), "Missing final '@domain'"),
        (headers("From: root", "To: a@b.c"), "Missing final '@domain'"),
        (headers("From: a@example.com", "Cc: root"), "Missing final '@domain'"),
        (headers("From: a@example.com", "Reply-To: root"), "Missing final '@domain'"),
        (headers("From: a@example.com", "Sender: <>"), "Missing final '@domain'"),
        (headers("From: a@example.com", "Return-Path: <>"), "Missing final '@domain'"),
        (headers("From: a@example.com", "glued"), "Empty header names are illegal."),
        (
            headers("From: a@example.com, b@example.com"),
            "Missing required header 'Sender'.",
        ),
        (
            headers("From: a@example.com", "Content-Type: multipart/mixed; boundary=x"),
            "Missing start boundary",
        ),
    ],
)
def test_malformed_messages_are_refused(content: bytes, text: str) -> None:
    assert refusal(call(content)) == invalid(text)


def test_the_source_may_stand_for_a_missing_from() -> None:
    submission = call(headers("To: a@b.c"), {**ONE, "Source": "billing@example.com"})
    assert str(judged(submission).parties.envelope_from) == "billing@example.com"


@pytest.mark.parametrize("name", SINGLE_INSTANCE_HEADERS)
def test_a_single_instance_header_may_not_come_twice(name: str) -> None:
    content = headers("From: a@example.com", f"{name}: a@example.com", f"{name.lower()}: b@b.c")
    assert refusal(call(content)) == invalid(f"Duplicate header '{name}'.")


def test_other_headers_may_come_twice() -> None:
    content = headers("From: a@example.com", *["Received: x", "To: a@b.c", "X-A: b"] * 2)
    assert refusal(call(content)) is None


@pytest.mark.parametrize(
    ("recipient", "text"),
    [
        ("root", "Missing final '@domain'"),
        ("", "Missing final '@domain'"),
        ("jörg@example.net", "Local address contains control or whitespace"),
        ("jane@müller.example", "Domain contains illegal character"),
        ("a@b.c, d@e.f", "Illegal address"),
    ],
)
def test_a_recipient_must_be_an_address(recipient: str, text: str) -> None:
    assert refusal(call(fields={"Destinations.member.1": recipient})) == invalid(text)


def test_without_destinations_the_headers_say_who_gets_it() -> None:
    content = headers("From: a@example.com", "To: b@b.c", "Cc: C <c@b.c>", "Bcc: d@b.c, e@b.c")
    recipients = judged(call(content, {})).parties.recipients
    assert list(map(str, recipients)) == ["b@b.c", "c@b.c", "d@b.c", "e@b.c"]


def test_with_destinations_the_headers_do_not() -> None:
    content = headers("From: a@example.com", "To: b@b.c", "Bcc: d@b.c")
    assert list(map(str, judged(call(content)).parties.recipients)) == ["jane@example.net"]


def test_somebody_must_get_it() -> None:
    content = headers("From: a@example.com", "To: undisclosed-recipients:;")
    assert refusal(call(content, {})) == invalid("Missing required header 'To'.")
    assert refusal(call(content)) is None


def test_fifty_recipients_are_the_most() -> None:
    many = {f"Destinations.member.{n}": f"r{n}@example.net" for n in range(1, 52)}
    assert refusal(call(fields=many)) == invalid("Recipient count exceeds 50.")
    del many["Destinations.member.51"]
    assert refusal(call(fields=many)) is None


def test_the_size_is_counted_in_bytes_of_the_message() -> None:
    whole = PLAIN + b"x" * (MAX_SIZE - len(PLAIN))
    assert refusal(with_content(whole)) is None
    assert refusal(with_content(whole + b"x")) == invalid(
        "Message length is more than 10485760 bytes long: '10485761'."
    )


def test_the_size_can_be_counted_as_base64() -> None:
    settings = replace(SETTINGS, size_counts_base64=True)
    fits = PLAIN + b"x" * (MAX_SIZE // 4 * 3 - len(PLAIN))
    assert refusal(with_content(fits), settings) is None
    assert refusal(with_content(fits + b"x"), settings) == invalid(
        "Message length is more than 10485760 bytes long: '10485764'."
    )


@pytest.mark.parametrize(
    ("lines", "fields", "names"),
    [
        (["From: a@example.net"], {}, "a@example.net"),
        (["From: A <a@example.net>"], {"Source": "a@example.net"}, "a@example.net"),
        (["From: a@example.com"], {"Source": "B <b@example.net>"}, "b@example.net"),
        (["From: a@example.com", "Sender: b@example.net"], {}, "b@example.net"),
        (["From: a@example.com", "Return-Path: <b@example.net>"], {}, "b@example.net"),
        (["From: a@example.net"], {"Source": "b@example.net"}, "a@example.net, b@example.net"),
        (["From: ann@example.org"], {}, "ann@example.org"),
        (["From: joe@example.org"], {}, "joe@example.org"),
        (["From: a@badexample.com"], {}, "a@badexample.com"),
    ],
)
def test_every_identity_used_must_be_verified(
    lines: list[str], fields: dict[str, str], names: str
) -> None:
    assert refusal(call(headers(*lines), {**ONE, **fields})) == unverified(names)


@pytest.mark.parametrize(
    ("author", "identity"),
    [
        ("a@example.com", "example.com"),
        ("a@EXAMPLE.com", "example.com"),
        ("a@deep.sub.example.com", "example.com"),
        ("Ann@example.org", "Ann@example.org"),
        ("Ann+news@example.org", "Ann@example.org"),
        ("ann@example.org", None),
        ("a@notexample.com", None),
    ],
)
def test_a_domain_covers_its_subdomains_and_an_address_itself(
    author: str, identity: str | None
) -> None:
    assert covering_identity(parse_mailbox(author), SETTINGS.identities, SETTINGS) == identity


def test_the_nearest_identity_covers() -> None:
    identities = frozenset({"example.com", "mail.example.com", "a@mail.example.com"})
    assert covering_identity(parse_mailbox("b@mail.example.com"), identities, SETTINGS) == (
        "mail.example.com"
    )
    assert covering_identity(parse_mailbox("a@mail.example.com"), identities, SETTINGS) == (
        "a@mail.example.com"
    )


def test_the_case_of_a_verified_address_can_be_ignored() -> None:
    settings = replace(SETTINGS, identities_ignore_case=True)
    assert refusal(call(headers("From: ann@EXAMPLE.org")), settings) is None


def test_the_sandbox_wants_verified_recipients_or_the_mailbox_simulator() -> None:
    settings = replace(SETTINGS, sandbox=True)
    assert refusal(call(), settings) == unverified("jane@example.net")
    assert refusal(call(fields={"Destinations.member.1": "x@example.com"}), settings) is None
    simulated = {"Destinations.member.1": "bounce+1@simulator.amazonses.com"}
    assert refusal(call(fields=simulated), settings) is None


def test_a_long_list_of_failed_identities_is_cut() -> None:
    many = {f"Destinations.member.{n}": f"r{n}@example.net" for n in range(1, 13)}
    found = refusal(call(fields=many), replace(SETTINGS, sandbox=True))
    assert found is not None
    assert found[1].endswith("r10@example.net...")


SHARED = "arn:aws:ses:eu-west-1:999999999999:identity/partner.example"


def test_a_shared_identity_may_be_used_with_its_arn_only() -> None:
    settings = replace(SETTINGS, shared_identities=frozenset({SHARED}))
    content = headers("From: a@partner.example")
    assert refusal(call(content, {**ONE, "FromArn": SHARED}), settings) is None
    assert refusal(call(content), settings) == unverified("a@partner.example")
    own = "arn:aws:ses:eu-west-1:123456789012:identity/example.com"
    assert refusal(call(fields={**ONE, "SourceArn": own}), settings) is None


def test_an_identity_that_was_not_shared_is_denied() -> None:
    found = judge(call(fields={**ONE, "FromArn": SHARED}), SETTINGS)
    assert found == ApiError(
        "AccessDenied",
        "User `arn:aws:iam::123456789012:user/simulator-caller' is not authorized to perform "
        f"`ses:SendRawEmail' on resource `{SHARED}'",
        403,
    )


@pytest.mark.parametrize(
    ("fields", "header", "expected"),
    [
        ({"ConfigurationSetName": "default"}, None, None),
        ({"ConfigurationSetName": ""}, None, None),
        ({"ConfigurationSetName": "no"}, None, "ConfigurationSetDoesNotExist"),
        ({}, "no", "ConfigurationSetDoesNotExist"),
        ({"ConfigurationSetName": "paused"}, None, "ConfigurationSetSendingPausedException"),
        ({"ConfigurationSetName": "default"}, "no", "ConfigurationSetDoesNotExist"),
    ],
)
def test_a_configuration_set_must_exist_and_send(
    fields: dict[str, str], header: str | None, expected: str | None
) -> None:
    lines = ["From: a@example.com", *([f"X-SES-CONFIGURATION-SET: {header}"] if header else [])]
    found = refusal(call(headers(*lines), {**ONE, **fields}))
    assert (found[0] if found else None) == expected


def test_a_missing_configuration_set_is_named() -> None:
    found = refusal(call(fields={**ONE, "ConfigurationSetName": "no"}))
    assert found == ("ConfigurationSetDoesNotExist", "Configuration set <no> does not exist.")


@pytest.mark.parametrize(("header_wins", "expected"), [(True, "other"), (False, "default")])
def test_which_configuration_set_counts_is_a_switch(header_wins: bool, expected: str) -> None:
    settings = replace(SETTINGS, configuration_set_header_wins=header_wins)
    content = headers("From: a@example.com", "X-SES-CONFIGURATION-SET: other")
    submission = call(content, {**ONE, "ConfigurationSetName": "default"})
    assert submission.effective_configuration_set(settings) == expected


def test_the_default_configuration_set_is_the_last_resort() -> None:
    settings = replace(SETTINGS, default_configuration_set="other")
    assert call().effective_configuration_set(settings) == "other"
    assert call().effective_configuration_set(SETTINGS) is None


def tag(name: str, value: str) -> dict[str, str]:
    return {"Tags.member.1.Name": name, "Tags.member.1.Value": value}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (tag("app", "billing_1-A"), None),
        (tag("ses:feedback-id-a", "x"), None),
        (tag("a" * 256, "b" * 256), None),
        (tag("a" * 257, "b"), "Tag name cannot exceed 256 characters."),
        (tag("a", "b" * 257), "Tag value cannot exceed 256 characters."),
        (tag("", "b"), "The tag name must be specified."),
        (tag("a", ""), "The tag value must be specified."),
        (
            tag("a b", "c"),
            "Invalid tag name <a b>: only alphanumeric ASCII characters, '_', and '-' are allowed.",
        ),
        (
            tag("a", "c:1"),
            (
                "Invalid tag value <c:1>: only alphanumeric ASCII characters, '_', and '-' are "
                "allowed."
            ),
        ),
        (
            tag("ses:operation", "x"),
            (
                "Invalid tag name <ses:operation>: only alphanumeric ASCII characters, '_', and '-' "
                "are allowed."
            ),
        ),
    ],
)
def test_tags_are_short_and_plain(fields: dict[str, str], text: str | None) -> None:
    assert refusal(call(fields={**ONE, **fields})) == (invalid(text) if text else None)


def test_header_tags_count_only_without_the_parameter() -> None:
    content = headers("From: a@example.com", "X-SES-MESSAGE-TAGS: a=1, b = 2,")
    assert call(content).effective_tags() == (("a", "1"), ("b", "2"))
    assert call(content, {**ONE, **tag("c", "3")}).effective_tags() == (("c", "3"),)
    bad = headers("From: a@example.com", "X-SES-MESSAGE-TAGS: a=x y")
    assert refusal(call(bad)) is not None


def test_a_paused_account_sends_nothing() -> None:
    assert refusal(call(), replace(SETTINGS, sending=Sending.PAUSED_BY_CUSTOMER)) == (
        "AccountSendingPausedException",
        "Email sending is disabled for your entire Amazon SES account.",
    )
    assert refusal(call(), replace(SETTINGS, sending=Sending.PAUSED_BY_AWS)) == (
        "MessageRejected",
        (
            "Sending paused for this account. For more information, please check the inbox of the "
            "email address associated with your AWS account."
        ),
    )


@pytest.mark.parametrize("extension", ["exe", "vbs", "ps1xml"])
def test_blocked_attachments_are_refused(extension: str) -> None:
    assert extension in BLOCKED_EXTENSIONS
    content = headers(
        "From: a@example.com",
        "Content-Type: application/octet-stream",
        f'Content-Disposition: attachment; filename="a.{extension}"',
    )
    assert refusal(call(content)) == invalid(f"Illegal filename 'a.{extension}'.")


def test_a_message_has_at_most_so_many_parts() -> None:
    body = b"--x\r\n\r\na\r\n" * 3 + b"--x--\r\n"
    content = headers("From: a@example.com", "Content-Type: multipart/mixed; boundary=x", body=body)
    assert refusal(call(content), replace(SETTINGS, max_mime_parts=2)) == invalid(
        "Message has more than 2 MIME parts."
    )
    for limit in (3, None):
        assert refusal(call(content), replace(SETTINGS, max_mime_parts=limit)) is None


@pytest.mark.parametrize(
    ("changes", "content"),
    [
        ({"several_authors_need_sender": False}, headers("From: a@example.com, b@example.com")),
        ({"header_addresses_checked": False}, headers("From: a@example.com", "To: root")),
    ],
)
def test_the_lenient_readings_can_be_chosen(changes: dict[str, Any], content: bytes) -> None:
    assert refusal(call(content)) is not None
    assert refusal(call(content), replace(SETTINGS, **changes)) is None


@pytest.mark.parametrize(
    ("fields", "code"),
    [({}, "ValidationError"), ({"RawMessage.Data": "not base64!"}, "MalformedInput")],
)
def test_the_message_must_be_there_and_be_base64(fields: dict[str, str], code: str) -> None:
    found = Submission.read(Form(urlencode(fields).encode()))
    assert isinstance(found, ApiError)
    assert found.code == code
