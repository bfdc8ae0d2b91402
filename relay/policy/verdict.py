"""What SES's answer, or its absence, means for the mail.

One pure function over code, text, HTTP status and transport stage. The rows are the error list of
the SES API Reference (SendRawEmail, SendEmail, Common Errors) and texts seen in the field. A row
that is not here defers: a wrong deferral costs minutes, a wrong failure costs the mail (P5).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from relay.mail.address import Address
from relay.mail.outcome import Ambiguous, Blame, Deferred, Failed, Outcome, Relayed
from relay.mail.reply import Reply, printable
from relay.mail.ses_headers import NOTHING_ASKED, SesHeaders


@dataclass(frozen=True, slots=True)
class Accepted:
    """SES answered with a message id."""

    ses_message_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """SES answered with an error. `code` is empty when the body was not one of its own."""

    http_status: int
    code: str
    message: str


class Stage(StrEnum):
    """How far a call came before it broke."""

    NOT_SENT = "not-sent"
    """Before the last octet of the request was written: SES cannot have taken it."""
    NO_ANSWER = "no-answer"
    """After the last octet: it may have."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The call ended without an HTTP answer. `what` is our own short description."""

    stage: Stage
    what: str


Answer = Accepted | Refused | Broken

REASONS_DEFERRED: Final = (
    "throttled",
    "quota",
    "paused",
    "not_verified",
    "access_denied",
    "credentials",
    "configuration",
    "timeout",
    "connection",
    "server",
    "other",
)
REASONS_FAILED: Final = (
    "rejected",
    "too_large",
    "bad_recipient",
    "suppressed",
    "expired",
    "dropped",
)
# Trouble with the account as a whole or the way to it: all that the breaker counts.
ACCOUNT_TROUBLE: Final = frozenset({"credentials", "paused", "connection", "timeout", "server"})

# SES Developer Guide, "Handling throttling": back off; the daily quota is a rolling 24 hours.
RATE_WAIT: Final = timedelta(seconds=1)
QUOTA_WAIT: Final = timedelta(minutes=15)

_THROTTLING: Final = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "LimitExceededException",
    }
)
_CREDENTIALS: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "NotSignedUp",
        "OptInRequired",
        "RequestInTheFuture",
        "RequestTimeTooSkewed",
        "RequestExpired",
        "InvalidSignatureException",
    }
)
_PAUSED: Final = frozenset(
    {
        "AccountSendingPausedException",
        "AccountSendingPaused",
        "SendingPausedException",
        "AccountSuspendedException",
    }
)
_NOT_FOUND: Final = "NotFoundException"
_CONFIGURATION: Final = frozenset(
    {"ConfigurationSetDoesNotExist", "ConfigurationSetDoesNotExistException", _NOT_FOUND}
)
# One configuration set, and so not the account: others go on through theirs.
_SET_PAUSED: Final = frozenset(
    {"ConfigurationSetSendingPausedException", "ConfigurationSetSendingPaused"}
)
_DENIED: Final = frozenset(
    {"AccessDenied", "AccessDeniedException", "NotAuthorized", "UnauthorizedOperation"}
)
# An MX record that cannot be read now may be readable soon.
_MAIL_FROM: Final = frozenset({"MailFromDomainNotVerifiedException", "MailFromDomainNotVerified"})
# What an operator mends, whatever SES says with it: reason and enhanced status.
_OPERATORS: Final = {
    code: (reason, status)
    for codes, reason, status in (
        (_CREDENTIALS, "credentials", "4.3.5"),
        (_PAUSED, "paused", "4.3.2"),
        (_CONFIGURATION, "configuration", "4.3.5"),
        (_SET_PAUSED, "configuration", "4.3.2"),
        (_DENIED, "access_denied", "4.3.5"),
        (_MAIL_FROM, "not_verified", "4.4.3"),
    )
    for code in codes
}
# SES itself says that it did not do it.
_NOT_NOW: Final = frozenset(
    {
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ConflictException",
        "ConcurrentModificationException",
    }
)
_INVALID: Final = frozenset({"InvalidParameterValue", "BadRequestException"})
_TOO_LARGE: Final = frozenset({"RequestEntityTooLargeException", "RequestEntityTooLarge"})
# Inside SES, whatever HTTP status it comes with: nobody says that it was not taken.
_BROKE: Final = frozenset(
    {"InternalFailure", "InternalServiceError", "InternalServiceErrorException"}
)

# Texts seen in the field, from their beginning: the same words inside another sentence mean
# something else.
_ADDRESS_TEXT: Final = re.compile(
    r"(missing final '@domain'|missing (local name|domain)|local address (contains|starts|ends)"
    r"|domain (contains|starts|ends)|extra route-addr|invalid email address|illegal address"
    r"|address string must be 7-bit|user name is missing|domain is missing|non-ascii)",
    re.IGNORECASE,
)
_CONTENT_TEXT: Final = re.compile(
    r"(duplicate header|header section too long|empty header names|missing start boundary"
    r"|missing required header|empty required header|expected (disposition|'|mime)"
    r"|illegal filename|attachment|unknown encoding|nested group)",
    re.IGNORECASE,
)
# What of a call a refusal is about.
_LIST_TEXT: Final = re.compile(r"\b(list|topic)\b")
_TAG_TEXT: Final = re.compile(r"\b(message ?|email ?)?tags?\b")
_SET_ARN: Final = re.compile(r":configuration-set/([A-Za-z0-9_-]+)")
_HTTP_SERVER_ERROR: Final = 500


def verdict(
    answer: Answer, recipients: Sequence[Address] = (), asked: SesHeaders = NOTHING_ASKED
) -> Outcome:
    """Return what the answer means for every recipient of the call.

    Where one of several recipients may be at fault, SES took nothing and does not say which: the
    outcome is divisible, and the caller halves and asks again until one stands alone. `recipients`
    are those of the call; their names in a refusal are what tells them from our own identities.
    `asked` is what the mail itself asked for: what SES refuses of that is the mail's fault, and
    what it refuses of our configuration is the operator's.
    """
    match answer:
        case Accepted():
            return Relayed(answer.ses_message_id)
        case Broken(stage=Stage.NOT_SENT):
            # Nothing was taken: no duplicate can follow.
            return _deferred("connection", Blame.SERVICE, 451, "4.4.1", f"SES: {answer.what}")
        case Broken():
            text = f"SES: {answer.what}; the message may be sent more than once"
            return Ambiguous(Reply(451, "4.4.2", printable(text)), "timeout")
        case Refused():
            return _refused(answer, recipients, asked)


def _refused(answer: Refused, recipients: Sequence[Address], asked: SesHeaders) -> Outcome:
    code, message = answer.code, answer.message
    words = f"SES {code or answer.http_status}: {message}"
    if asked and _is_about(asked, code, message):
        return _failed("rejected", Blame.MESSAGE, "5.3.5", f"{words} (an X-SES header of the mail)")
    if code in _THROTTLING:
        return _throttled(message, words)
    if code in _OPERATORS:
        reason, status = _OPERATORS[code]
        return _deferred(reason, Blame.OPERATOR, 451, status, words)
    if code == "MessageRejected":
        return _rejected(message, words, recipients)
    if code in _INVALID:
        return _invalid(message, words)
    if code in _TOO_LARGE:
        return _failed("too_large", Blame.MESSAGE, "5.3.4", words)
    if code in _NOT_NOW:
        return _deferred("server", Blame.SERVICE, 451, "4.3.0", words)
    if code in _BROKE or answer.http_status >= _HTTP_SERVER_ERROR:
        # It broke inside SES, or a proxy gave up waiting: nobody says that it was not taken.
        text = f"{words}; the message may be sent more than once"
        return Ambiguous(Reply(451, "4.3.0", printable(text)), "server")
    return _deferred("other", Blame.OPERATOR, 451, "4.3.0", words)


def _is_about(asked: SesHeaders, code: str, message: str) -> bool:
    """Whether a refusal is due to what the mail asked for in its header, and not to us.

    A set that is paused is none: it is there, and somebody paused it who will let it go.
    """
    text = message.lower()
    names_set = bool(asked.configuration_set)
    if code in _CONFIGURATION:
        if code != _NOT_FOUND:
            return names_set
        # Of what may be missing by v2, the text tells; that of a list may be called either.
        return (
            (names_set and "configuration set" in text)
            or (bool(asked.tenant) and "tenant" in text)
            or (bool(asked.contact_list) and _LIST_TEXT.search(text) is not None)
        )
    if code in _DENIED and names_set:
        return _SET_ARN.findall(message) == [asked.configuration_set]
    # Those of our configuration were looked at when that was read.
    return code in _INVALID and bool(asked.tags) and _TAG_TEXT.search(text) is not None


def _throttled(message: str, words: str) -> Outcome:
    text = message.lower()
    # Any other text too: whatever there is too much of, less of it is what helps.
    if "daily message quota" in text:
        return _deferred("quota", Blame.OPERATOR, 452, "4.4.5", words, QUOTA_WAIT)
    return _deferred("throttled", Blame.SERVICE, 451, "4.4.5", words, RATE_WAIT)


def _rejected(message: str, words: str, recipients: Sequence[Address]) -> Outcome:
    text = message.lower()
    if "not verified" in text:
        # Our own policy admitted that From, so the client is not at fault (P8). In the sandbox
        # recipients must be verified too, and then it is they who are named.
        named = any(recipient.folded in text for recipient in recipients)
        text = printable(words)
        return Deferred(
            Reply(451, "4.3.5", text),
            "not_verified",
            Blame.OPERATOR,
            is_divisible=named,
            final=Reply(554, "5.7.1", text),
        )
    if "blacklisted" in text:
        return _bad_recipient(words)
    if "sending paused" in text or "paused" in text or "suspended" in text:
        return _deferred("paused", Blame.OPERATOR, 451, "4.3.2", words)
    return _failed("rejected", Blame.MESSAGE, "5.6.0", words)


def _invalid(message: str, words: str) -> Outcome:
    if "message length is more than" in message.lower():
        return _failed("too_large", Blame.MESSAGE, "5.3.4", words)
    if _ADDRESS_TEXT.match(message):
        return _bad_recipient(words)
    if _CONTENT_TEXT.match(message):
        return _failed("rejected", Blame.MESSAGE, "5.6.0", words)
    return _deferred("other", Blame.OPERATOR, 451, "4.3.0", words)


def _bad_recipient(words: str) -> Failed:
    reply = Reply(554, "5.1.3", printable(words))
    return Failed(reply, "bad_recipient", Blame.RECIPIENT, is_divisible=True)


def _deferred(
    reason: str,
    blame: Blame,
    code: int,
    status: str,
    words: str,
    wait: timedelta | None = None,
) -> Deferred:
    return Deferred(Reply(code, status, printable(words)), reason, blame, wait)


def _failed(reason: str, blame: Blame, status: str, words: str) -> Failed:
    # RFC 5321 section 4.2.3: 552 is for what exceeds storage, 554 for what fails otherwise.
    code = 552 if reason == "too_large" else 554
    return Failed(Reply(code, status, printable(words)), reason, blame)
