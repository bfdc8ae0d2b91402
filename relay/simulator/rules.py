"""What SES refuses, and in which words.

One function a rule, each with the AWS page or API name it stands for. Does not know quotas, which
have a memory (`quota`), nor the signature (`signature`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from relay.simulator.errors import ApiError, invalid, rejected
from relay.simulator.lists import BLOCKED_EXTENSIONS, SINGLE_INSTANCE_HEADERS
from relay.simulator.mailbox import is_simulator
from relay.simulator.settings import Sending
from relay.simulator.submission import Api, Parties, Submission

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.simulator.address import Mailbox
    from relay.simulator.settings import Settings

MAX_RECIPIENTS: Final = 50
MAX_SIZE: Final = 10_485_760
MAX_TAG_LENGTH: Final = 256
# SES cuts a long list of identities; where is not documented.
_SHOWN_IDENTITIES: Final = 10

_TAG_CHARACTERS: Final = re.compile(r"[A-Za-z0-9_-]+")
# Reserved names that a caller may set all the same (SES Developer Guide, event publishing).
_CALLER_SET_TAGS: Final = frozenset({"ses:feedback-id-a", "ses:feedback-id-b"})


@dataclass(frozen=True, slots=True)
class Case:
    """What a rule judges."""

    submission: Submission
    parties: Parties
    settings: Settings


Rule: TypeAlias = "Callable[[Case], ApiError | None]"


def judge(submission: Submission, settings: Settings) -> Case | ApiError:
    """The submission with its addresses read, or the first rule's refusal."""
    refusal = (
        account_may_send(settings)
        or size_is_allowed(submission, settings)
        or header_block_is_sound(submission)
        or single_headers_are_single(submission)
        or required_headers_are_there(submission)
    )
    if refusal:
        return refusal
    parties = Parties.read(submission, settings)
    if isinstance(parties, ApiError):
        return parties
    case = Case(submission, parties, settings)
    return next((error for rule in _RULES if (error := rule(case))), case)


def account_may_send(settings: Settings) -> ApiError | None:
    """SES API Reference, AccountSendingPausedException; and the pause that AWS itself imposes."""
    match settings.sending:
        case Sending.ENABLED:
            return None
        case Sending.PAUSED_BY_CUSTOMER:
            return ApiError(
                "AccountSendingPausedException",
                "Email sending is disabled for your entire Amazon SES account.",
            )
        case Sending.PAUSED_BY_AWS:
            return rejected(
                "Sending paused for this account. For more information, please check the inbox of "
                "the email address associated with your AWS account."
            )


def size_is_allowed(submission: Submission, settings: Settings) -> ApiError | None:
    """SES Developer Guide, service quotas: 40 MB for v2, 10 MB for v1, enforced as 10,485,760."""
    limit = MAX_SIZE if submission.api is Api.V1 else settings.max_size_v2
    size = len(submission.content.octets)
    if settings.size_counts_base64:
        size = (size + 2) // 3 * 4
    if size <= limit:
        return None
    return invalid(f"Message length is more than {limit} bytes long: '{size}'.")


def header_block_is_sound(submission: Submission) -> ApiError | None:
    """A line of the header block without a name: the body glued to it, or a bare CR."""
    return (
        invalid("Empty header names are illegal.")
        if submission.content.header_block_broken
        else None
    )


def single_headers_are_single(submission: Submission) -> ApiError | None:
    """SES Developer Guide, header fields in SES: fields that may occur once only."""
    seen = [header.name.lower() for header in submission.content.headers]
    for name in SINGLE_INSTANCE_HEADERS:
        if seen.count(name.lower()) > 1:
            return invalid(f"Duplicate header '{name}'.")
    return None


def required_headers_are_there(submission: Submission) -> ApiError | None:
    """SES API Reference, SendRawEmail: Source may stand for From, Destinations for To.

    A To header may be missing when the call names its recipients, but not be empty.
    """
    content = submission.content
    author = content.first("From")
    if author is None and submission.source is None:
        return invalid("Missing required header 'From'.")
    if author == "":
        return invalid("Empty required header 'From'.")
    if any(not value for value in content.all("To")):
        return invalid("Empty required header 'To'.")
    return None


def somebody_gets_it(case: Case) -> ApiError | None:
    """SES Developer Guide, errors: no recipients, neither in the call nor in the headers."""
    return None if case.parties.recipients else invalid("Missing required header 'To'.")


def recipients_fit_one_call(case: Case) -> ApiError | None:
    """SES Developer Guide, service quotas: 50 recipients a message."""
    if len(case.parties.recipients) <= MAX_RECIPIENTS:
        return None
    return invalid(f"Recipient count exceeds {MAX_RECIPIENTS}.")


def several_authors_have_a_sender(case: Case) -> ApiError | None:
    """RFC 5322 section 3.6.2. Whether SES insists is not documented, nor is the text."""
    if not case.settings.several_authors_need_sender or len(case.parties.authors) <= 1:
        return None
    return None if case.parties.sender else invalid("Missing required header 'Sender'.")


def identities_may_be_used(case: Case) -> ApiError | None:
    """SES Developer Guide, sending authorization: an ARN needs its owner's policy."""
    settings = case.settings
    for arn in case.submission.identity_arns:
        own = f"arn:aws:ses:{settings.region}:{settings.account_id}:identity/"
        if arn in settings.shared_identities:
            continue
        if arn.startswith(own) and arn.removeprefix(own) in settings.identities:
            continue
        caller = f"arn:aws:iam::{settings.account_id}:user/simulator-caller"
        return ApiError(
            "AccessDenied",
            f"User `{caller}' is not authorized to perform `ses:SendRawEmail' on resource `{arn}'",
            403,
        )
    return None


def identities_are_verified(case: Case) -> ApiError | None:
    """SES Developer Guide, verified identities: From, Source, Sender and Return-Path.

    In the sandbox the recipients too, but for those of the mailbox simulator.
    """
    parties, settings = case.parties, case.settings
    lent = {
        arn.partition(":identity/")[2]
        for arn in case.submission.identity_arns
        if arn in settings.shared_identities
    }
    checked = [*parties.authors, parties.source, parties.sender, parties.return_path]
    if settings.sandbox:
        checked += [mailbox for mailbox in parties.recipients if not is_simulator(mailbox)]
    failed = dict.fromkeys(
        str(mailbox)
        for mailbox in checked
        if mailbox and covering_identity(mailbox, settings.identities | lent, settings) is None
    )
    if not failed:
        return None
    shown = ", ".join(list(failed)[:_SHOWN_IDENTITIES])
    ellipsis = "..." if len(failed) > _SHOWN_IDENTITIES else ""
    return rejected(
        "Email address is not verified. The following identities failed the check in region "
        f"{settings.region.upper()}: {shown}{ellipsis}"
    )


def covering_identity(
    mailbox: Mailbox, identities: frozenset[str] | set[str], settings: Settings
) -> str | None:
    """The identity that verifies this mailbox: the address itself, its domain, or one above it.

    SES Developer Guide, verified identities: a domain is compared without regard to case and covers
    its subdomains, an address is case-sensitive, and a verified address covers its `+label`s.
    """
    fold = str.lower if settings.identities_ignore_case else str
    for candidate in (str(mailbox), str(mailbox.unlabelled)):
        for identity in identities:
            if "@" in identity and fold(identity) == fold(candidate):
                return identity
    domain = mailbox.domain.lower()
    domains = [identity for identity in identities if "@" not in identity]
    covering = [identity for identity in domains if f".{domain}".endswith(f".{identity.lower()}")]
    return max(covering, key=len, default=None)


def configuration_set_is_usable(case: Case) -> ApiError | None:
    """SES API Reference, ConfigurationSetDoesNotExist, ConfigurationSetSendingPausedException."""
    name = case.submission.effective_configuration_set(case.settings)
    if name is None:
        return None
    if name not in case.settings.configuration_sets | case.settings.paused_configuration_sets:
        return ApiError(
            "ConfigurationSetDoesNotExist", f"Configuration set <{name}> does not exist."
        )
    if name in case.settings.paused_configuration_sets:
        return ApiError(
            "ConfigurationSetSendingPausedException",
            f"Sending is paused for configuration set <{name}>",
        )
    return None


def tenant_is_usable(case: Case) -> ApiError | None:
    """SES API v2 Reference, SendEmail, TenantName: identity and configuration set are its own.

    AWS documents none of the texts, nor the code for what is not associated.
    """
    submission, settings = case.submission, case.settings
    name = submission.effective_tenant()
    if name is None:
        return None
    if name not in settings.tenants:
        return ApiError("NotFoundException", f"Tenant <{name}> does not exist.", 404)
    if name in settings.paused_tenants:
        return ApiError("SendingPausedException", f"Sending is paused for tenant <{name}>")
    envelope_from = case.parties.envelope_from
    used = (
        submission.effective_configuration_set(settings),
        envelope_from and covering_identity(envelope_from, settings.identities, settings),
    )
    for resource in used:
        if resource is not None and resource not in settings.tenants[name]:
            return ApiError(
                "NotFoundException", f"<{resource}> is not associated with tenant <{name}>.", 404
            )
    return None


def tags_are_well_formed(case: Case) -> ApiError | None:
    """SES API Reference, MessageTag: letters, digits, `_` and `-`, at most 256 of them."""
    for name, value in case.submission.effective_tags():
        for part, text in (("name", name), ("value", value)):
            if not text:
                return invalid(f"The tag {part} must be specified.")
            if len(text) > MAX_TAG_LENGTH:
                return invalid(f"Tag {part} cannot exceed {MAX_TAG_LENGTH} characters.")
            if part == "name" and text in _CALLER_SET_TAGS:
                continue
            if not _TAG_CHARACTERS.fullmatch(text):
                return invalid(
                    f"Invalid tag {part} <{text}>: only alphanumeric ASCII characters, '_', "
                    "and '-' are allowed."
                )
    return None


def mime_is_sound(case: Case) -> ApiError | None:
    """SES Developer Guide, service quotas (MIME parts) and unsupported attachment types.

    AWS documents neither text.
    """
    content, limit = case.submission.content, case.settings.max_mime_parts
    if content.start_boundary_missing:
        return invalid("Missing start boundary")
    if limit is not None and content.has_more_parts_than(limit):
        return invalid(f"Message has more than {limit} MIME parts.")
    if name := content.attachment_ending_in(BLOCKED_EXTENSIONS):
        return invalid(f"Illegal filename '{name}'.")
    return None


_RULES: Final[tuple[Rule, ...]] = (
    somebody_gets_it,
    recipients_fit_one_call,
    several_authors_have_a_sender,
    identities_may_be_used,
    identities_are_verified,
    configuration_set_is_usable,
    tenant_is_usable,
    tags_are_well_formed,
    mime_is_sound,
)
