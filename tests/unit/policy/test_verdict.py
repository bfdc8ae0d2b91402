"""One row per answer of SES: what it means for the mail, and who can mend it."""

from __future__ import annotations

import pytest
from botocore.session import Session
from hypothesis import given
from hypothesis import strategies as st

from relay.mail.address import Address
from relay.mail.outcome import Ambiguous, Blame, Deferred, Failed, Relayed
from relay.mail.ses_headers import NOTHING_ASKED, SesHeaders
from relay.policy.verdict import (
    REASONS_DEFERRED,
    REASONS_FAILED,
    Accepted,
    Broken,
    Refused,
    Stage,
    verdict,
)

NOT_VERIFIED = (
    "Email address is not verified. The following identities failed the check in region "
    "EU-WEST-1: app@example.com"
)
PAUSED = "Sending paused for this account. For more information, please check the inbox"


# Of every AWS service (API Reference, "Common errors"), each as v1 and as v2 spells it.
COMMON_ERRORS = (
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InternalFailure",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "OptInRequired",
    "RequestEntityTooLargeException",
    "RequestExpired",
    "RequestTimeoutException",
    "ServiceUnavailable",
    "SignatureDoesNotMatch",
    "Throttling",
    "ThrottlingException",
    "UnrecognizedClientException",
)
# What says nothing without its text: it waits for somebody to read it.
INVALID_WITHOUT_TEXT = {"BadRequestException": "other"}


def test_an_accepted_call_is_relayed_not_delivered() -> None:
    assert verdict(Accepted("0102-000000")) == Relayed("0102-000000")


@pytest.mark.P8
@pytest.mark.parametrize(
    ("status", "code", "message", "reason", "blame", "reply"),
    [
        (400, "Throttling", "Maximum sending rate exceeded.", "throttled", "service", "451 4.4.5"),
        (429, "TooManyRequestsException", "Maximum sending rate exceeded.", "throttled", "service", "451 4.4.5"),
        (400, "Throttling", "Daily message quota exceeded.", "quota", "operator", "452 4.4.5"),
        (400, "LimitExceededException", "Daily message quota exceeded.", "quota", "operator", "452 4.4.5"),
        (429, "TooManyRequestsException", "Daily message quota exceeded.", "quota", "operator", "452 4.4.5"),
        (400, "ThrottlingException", "Rate exceeded", "throttled", "service", "451 4.4.5"),
        (400, "Throttling", "Maximum SigV2 SMTP sending rate exceeded", "throttled", "service", "451 4.4.5"),
        (400, "LimitExceededException", "Too many instances", "throttled", "service", "451 4.4.5"),
        (400, "MessageRejected", NOT_VERIFIED, "not_verified", "operator", "451 4.3.5"),
        (400, "MessageRejected", PAUSED, "paused", "operator", "451 4.3.2"),
        (400, "AccountSendingPausedException", "", "paused", "operator", "451 4.3.2"),
        (400, "SendingPausedException", "", "paused", "operator", "451 4.3.2"),
        (400, "AccountSuspendedException", "", "paused", "operator", "451 4.3.2"),
        (400, "AccountSendingPaused", "", "paused", "operator", "451 4.3.2"),
        (400, "MessageRejected", "This account is suspended.", "paused", "operator", "451 4.3.2"),
        (400, "ConfigurationSetSendingPausedException", "", "configuration", "operator", "451 4.3.2"),
        (400, "ConfigurationSetDoesNotExistException", "", "configuration", "operator", "451 4.3.5"),
        (400, "ConfigurationSetDoesNotExist", "Configuration set <x>", "configuration", "operator", "451 4.3.5"),
        (404, "NotFoundException", "", "configuration", "operator", "451 4.3.5"),
        (400, "MailFromDomainNotVerifiedException", "", "not_verified", "operator", "451 4.4.3"),
        (403, "AccessDenied", "User `arn' is not authorized", "access_denied", "operator", "451 4.3.5"),
        (403, "AccessDeniedException", "", "access_denied", "operator", "451 4.3.5"),
        (400, "NotAuthorized", "", "access_denied", "operator", "451 4.3.5"),
        (403, "ExpiredToken", "", "credentials", "operator", "451 4.3.5"),
        (403, "ExpiredTokenException", "", "credentials", "operator", "451 4.3.5"),
        (403, "UnrecognizedClientException", "", "credentials", "operator", "451 4.3.5"),
        (403, "InvalidSignatureException", "Signature not yet current", "credentials", "operator", "451 4.3.5"),
        (400, "IncompleteSignature", "", "credentials", "operator", "451 4.3.5"),
        (403, "IncompleteSignatureException", "", "credentials", "operator", "451 4.3.5"),
        (403, "MissingAuthenticationTokenException", "Missing Authentication Token", "credentials", "operator", "451 4.3.5"),
        (403, "OptInRequired", "", "credentials", "operator", "451 4.3.5"),
        (403, "RequestTimeTooSkewed", "", "credentials", "operator", "451 4.3.5"),
        (400, "RequestThrottledException", "Rate exceeded", "throttled", "service", "451 4.4.5"),
        (0, "MissingAuthenticationToken", "no AWS credentials were found", "credentials", "operator", "451 4.3.5"),
        (403, "InvalidClientTokenId", "", "credentials", "operator", "451 4.3.5"),
        (403, "SignatureDoesNotMatch", "", "credentials", "operator", "451 4.3.5"),
        (400, "RequestExpired", "", "credentials", "operator", "451 4.3.5"),
        (503, "ServiceUnavailable", "", "server", "service", "451 4.3.0"),
        (408, "RequestTimeoutException", "", "server", "service", "451 4.3.0"),
        (409, "ConflictException", "", "server", "service", "451 4.3.0"),
        (500, "ConcurrentModificationException", "", "server", "service", "451 4.3.0"),
    ],
)  # fmt: skip
def test_what_an_operator_or_ses_can_mend_never_fails_mail(
    status: int, code: str, message: str, reason: str, blame: str, reply: str
) -> None:
    outcome = verdict(Refused(status, code, message))
    assert isinstance(outcome, Deferred)
    assert (outcome.reason, outcome.blame) == (reason, blame)
    assert str(outcome.reply).startswith(reply)


@pytest.mark.parametrize(
    ("status", "code", "message", "reason", "blame", "reply"),
    [
        (400, "MessageRejected", "Illegal content", "rejected", "message", "554 5.6.0"),
        (400, "MessageRejected", "Address blacklisted.", "bad_recipient", "recipient", "554 5.1.3"),
        (400, "InvalidParameterValue", "Message length is more than 10485760 bytes long: '12078147'.", "too_large", "message", "552 5.3.4"),
        (413, "RequestEntityTooLargeException", "", "too_large", "message", "552 5.3.4"),
        (400, "InvalidParameterValue", "Missing final '@domain'", "bad_recipient", "recipient", "554 5.1.3"),
        (400, "InvalidParameterValue", "Local address contains control or whitespace", "bad_recipient", "recipient", "554 5.1.3"),
        (400, "InvalidParameterValue", "Domain contains control or whitespace", "bad_recipient", "recipient", "554 5.1.3"),
        (400, "InvalidParameterValue", "Missing local name", "bad_recipient", "recipient", "554 5.1.3"),
        (400, "InvalidParameterValue", "Extra route-addr", "bad_recipient", "recipient", "554 5.1.3"),
        (400, "InvalidParameterValue", "Non-ASCII characters in the address", "bad_recipient", "recipient", "554 5.1.3"),
        (400, "BadRequestException", "Invalid email address", "bad_recipient", "recipient", "554 5.1.3"),
        (400, "InvalidParameterValue", "Duplicate header 'DKIM-Signature'.", "rejected", "message", "554 5.6.0"),
        (400, "InvalidParameterValue", "Header section too long.", "rejected", "message", "554 5.6.0"),
        (400, "InvalidParameterValue", "Missing start boundary", "rejected", "message", "554 5.6.0"),
        (400, "InvalidParameterValue", "Empty header names are illegal.", "rejected", "message", "554 5.6.0"),
        (400, "InvalidParameterValue", "Expected disposition, got =", "rejected", "message", "554 5.6.0"),
        (400, "BadRequestException", "Duplicate header 'From'.", "rejected", "message", "554 5.6.0"),
        (400, "BadRequestException", "Message length is more than 41943040 bytes long: '5'.", "too_large", "message", "552 5.3.4"),
    ],
)  # fmt: skip
def test_what_trying_again_cannot_mend_fails(
    status: int, code: str, message: str, reason: str, blame: str, reply: str
) -> None:
    outcome = verdict(Refused(status, code, message))
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.blame) == (reason, blame)
    assert str(outcome.reply).startswith(reply)
    assert message[:40] in outcome.reply.text


@pytest.mark.P5
@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, "SomethingNew", "never seen"),
        (404, "", "not found"),
        (302, "", "moved"),
        (400, "InvalidParameterValue", "never seen"),
        (200, "", "no message id"),
        (413, "", "<html>a proxy's page</html>"),
        (400, "InvalidParameterValue", "an unexpected error in the header of the request"),
        (400, "InvalidParameterValue", "content-type of the request is wrong"),
        # What only a bug of ours brings about.
        (400, "InvalidParameterValue", "Recipient count exceeds 50."),
        (400, "InvalidParameterValue", "No recipients specified."),
        (400, "ValidationError", "1 validation error detected"),
        (400, "MalformedInput", "RawMessage.Data is not valid base64"),
        (404, "InvalidAction", "Could not find operation"),
    ],
)
def test_what_is_not_understood_is_deferred_never_failed(
    status: int, code: str, message: str
) -> None:
    outcome = verdict(Refused(status, code, message))
    assert isinstance(outcome, Deferred)
    assert outcome.reason == "other"
    assert outcome.blame is Blame.OPERATOR, "nobody is told of it"


@pytest.mark.P3
def test_a_call_broken_before_its_last_octet_is_simply_not_sent() -> None:
    outcome = verdict(Broken(Stage.NOT_SENT, "connection refused"))
    assert isinstance(outcome, Deferred)
    assert outcome.reason == "connection"


@pytest.mark.P3
def test_a_call_broken_after_its_last_octet_is_ambiguous_and_says_so() -> None:
    outcome = verdict(Broken(Stage.NO_ANSWER, "no answer within 60 s"))
    assert isinstance(outcome, Ambiguous)
    assert "may be sent more than once" in outcome.reply.text


@pytest.mark.P5
@given(st.integers(100, 599), st.text(max_size=40), st.text(max_size=800))
def test_any_answer_has_a_verdict_with_a_known_reason(status: int, code: str, message: str) -> None:
    outcome = verdict(Refused(status, code, message))
    assert isinstance(outcome, Deferred | Failed | Ambiguous)
    known = REASONS_FAILED if isinstance(outcome, Failed) else REASONS_DEFERRED
    assert outcome.reason in known


@pytest.mark.P3
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (500, "InternalFailure"),
        (400, "InternalFailure"),
        (500, "InternalServiceErrorException"),
        (500, ""),
        (502, ""),
        (503, ""),
        (504, ""),
    ],
)
def test_what_broke_inside_ses_may_have_been_taken(status: int, code: str) -> None:
    outcome = verdict(Refused(status, code, "oops"))
    assert isinstance(outcome, Ambiguous)
    assert outcome.reason in REASONS_DEFERRED
    assert "may be sent more than once" in outcome.reply.text


def _named_by_botocore() -> list[str]:
    """Return every error that its models know of the two calls that send mail."""
    session = Session()
    calls = (("ses", "SendRawEmail"), ("sesv2", "SendEmail"))
    models = [session.get_service_model(service).operation_model(name) for service, name in calls]
    shapes = [shape for model in models for shape in model.error_shapes]
    return sorted({name for shape in shapes for name in (shape.name, shape.error_code)})


@pytest.mark.P5
@pytest.mark.parametrize("code", [*_named_by_botocore(), *COMMON_ERRORS])
def test_every_error_the_models_name_has_a_row_of_its_own(code: str) -> None:
    outcome = verdict(Refused(400, code, "said with other words than those we know"))
    known = INVALID_WITHOUT_TEXT.get(code)
    assert not isinstance(outcome, Relayed)
    assert outcome.reason == known or (known is None and outcome.reason != "other"), (
        f"{code} falls through to the row of what is not understood"
    )


@pytest.mark.P6
def test_in_the_sandbox_the_unverified_recipient_is_told_from_the_others() -> None:
    jane, joe = Address.parse("Jane@example.net"), Address.parse("joe@example.net")
    said = f"{NOT_VERIFIED}, jane@example.net"
    named = verdict(Refused(400, "MessageRejected", said), [joe, jane])
    ours = verdict(Refused(400, "MessageRejected", NOT_VERIFIED), [joe, jane])
    assert isinstance(named, Deferred)
    assert isinstance(ours, Deferred)
    assert (named.is_divisible, ours.is_divisible) == (True, False)
    assert named.blame is ours.blame is Blame.OPERATOR


@pytest.mark.P6
@pytest.mark.parametrize("message", ["Missing final '@domain'", "Domain ends with dot"])
def test_a_bad_address_is_told_from_the_others(message: str) -> None:
    outcome = verdict(Refused(400, "InvalidParameterValue", message))
    assert isinstance(outcome, Failed)
    assert outcome.is_divisible


ASKED = SesHeaders(
    configuration_set="bulk", tags=(("a", "b"),), tenant="acme", contact_list="readers"
)
SET_ARN = "arn:aws:ses:eu-west-1:123456789012:configuration-set"
DENIED = "User `arn:x' is not authorized to perform `ses:SendRawEmail' on resource `{}/{}'"


@pytest.mark.P8
@pytest.mark.parametrize(
    ("asked", "code", "message", "fails"),
    [
        (ASKED, "ConfigurationSetDoesNotExist", "Configuration set <bulk> does not exist.", True),
        (ASKED, "NotFoundException", "Configuration set <bulk> does not exist.", True),
        (ASKED, "NotFoundException", "Tenant <acme> does not exist.", True),
        (ASKED, "NotFoundException", "List with name: readers doesn't exist.", True),
        (ASKED, "NotFoundException", "Something else is missing.", False),
        (ASKED, "InvalidParameterValue", "Invalid tag value <b>: only alphanumeric", True),
        (ASKED, "BadRequestException", "Duplicate EmailTags.", True),
        (ASKED, "InvalidParameterValue", "The stage is empty.", False),
        (ASKED, "AccessDenied", DENIED.format(SET_ARN, "bulk"), True),
        (ASKED, "AccessDenied", DENIED.format(SET_ARN, "bulk-2"), False),
        (ASKED, "AccessDenied", "not authorized on identity/bulk", False),
        # It is there: somebody paused it, and will let it go.
        (ASKED, "ConfigurationSetSendingPausedException", "paused for <bulk>", False),
        (ASKED, "AccountSendingPausedException", "configuration set tag tenant list", False),
        # The same of what is configured.
        (SesHeaders(tenant="acme"), "ConfigurationSetDoesNotExist", "", False),
        (SesHeaders(configuration_set="bulk"), "NotFoundException", "Tenant <x>", False),
        (SesHeaders(configuration_set="bulk"), "InvalidParameterValue", "Invalid tag", False),
        (NOTHING_ASKED, "InvalidParameterValue", "Invalid tag value <b>", False),
    ],
)
def test_what_a_header_named_fails_and_what_is_configured_is_held(
    asked: SesHeaders, code: str, message: str, *, fails: bool
) -> None:
    outcome = verdict(Refused(400, code, message), (), asked)
    if fails:
        assert isinstance(outcome, Failed)
        assert (outcome.reason, outcome.blame) == ("rejected", Blame.MESSAGE)
        assert str(outcome.reply).startswith("554 5.3.5 SES ")
        assert "(an X-SES header of the mail)" in outcome.reply.text
        assert not outcome.is_divisible
    else:
        assert isinstance(outcome, Deferred)
        assert outcome.blame is Blame.OPERATOR
        assert outcome == verdict(Refused(400, code, message)), "what is asked made a difference"
