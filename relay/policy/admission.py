"""Whether a mail is admitted, step by step as SMTP asks: sender, MAIL, RCPT, header.

Each function returns a Refusal or None. Does not know sockets, TLS or the spool; listeners and
sessions bring the facts.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from relay.mail.address import Address, AddressFault
from relay.mail.feedback import Suppression, SuppressionReason
from relay.mail.header import HeaderBlock, HeaderError, mailboxes
from relay.mail.reply import Refusal, Reply, printable
from relay.policy.sender import Host, OnSuppressed, Sender, Senders


class Auth(StrEnum):
    """What a listener asks of its clients."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    OFF = "off"


# The closed set by which refusals are counted, by the phase of the transaction.
MAIL_REASONS: Final = (
    "auth_required",
    "tls_required",
    "unknown_network",
    "sender_not_allowed",
    "null_sender",
    "bad_address",
    "too_large",
    "rate_limited",
    "disk",
)
RCPT_REASONS: Final = ("bad_address", "suppressed", "too_many_recipients")
DATA_REASONS: Final = (
    "bad_content",
    "sender_not_allowed",
    "too_large",
    "loop",
    "spool",
    "timeout",
)

AUTH_REQUIRED: Final = Refusal(Reply(530, "5.7.0", "Authentication required"), "auth_required")
UNKNOWN_NETWORK: Final = Refusal(
    Reply(550, "5.7.1", "No sender is configured for your network"), "unknown_network"
)
SENDER_NOT_ALLOWED: Final = Refusal(
    Reply(553, "5.7.1", "You may not send as this reverse-path; ask the operator to allow it"),
    "sender_not_allowed",
)
NULL_SENDER: Final = Refusal(
    Reply(
        550,
        "5.7.1",
        "Amazon SES needs a reverse-path; set an envelope sender in your application",
    ),
    "null_sender",
)
FROM_NOT_ALLOWED: Final = Refusal(
    Reply(550, "5.7.1", "You may not send as the address in the From or Sender header"),
    "sender_not_allowed",
)
NO_FROM: Final = Refusal(
    Reply(550, "5.6.0", "The message has no From header, which Amazon SES needs"), "bad_content"
)
TWO_FROMS: Final = Refusal(
    Reply(550, "5.6.0", "The message has more than one From or Sender header"), "bad_content"
)
RATE_LIMITED: Final = Refusal(
    Reply(451, "4.7.1", "Your sending rate is exceeded; try again later"), "rate_limited"
)
NO_LITERALS: Final = Refusal(
    Reply(553, "5.1.3", "Amazon SES sends to domain names only, not to address literals"),
    "bad_address",
)
TOO_MANY_HOPS: Final = Refusal(
    Reply(554, "5.4.6", "Too many Received headers; this looks like a mail loop"), "loop"
)

# RFC 5321 section 6.3: at least 100.
HOP_LIMIT: Final = 100


def identify(
    senders: Senders, auth: Auth, *, authenticated: Sender | None, host: Host
) -> Sender | Refusal:
    """Say which configured sender this client is (promise P7: or refuse it).

    A client that authenticated is who it proved to be; otherwise its network names it, and only on
    listeners that do not require AUTH.
    """
    if authenticated is not None:
        return authenticated
    if auth is Auth.REQUIRED:
        return AUTH_REQUIRED
    sender = senders.at(host)
    if sender is not None:
        return sender
    return AUTH_REQUIRED if auth is Auth.OPTIONAL else UNKNOWN_NETWORK


def admit_reverse_path(
    sender: Sender, reverse_path: Address | None, announced_size: int
) -> Refusal | None:
    """Decide MAIL. `announced_size` is the SIZE parameter in octets, 0 when none was given."""
    if announced_size > sender.limits.message_size:
        return too_large(sender)
    if reverse_path is None:
        return NULL_SENDER
    if not sender.allowed_from.hold(reverse_path):
        return SENDER_NOT_ALLOWED
    return None


def too_large(sender: Sender) -> Refusal:
    """Refuse content over the sender's limit (RFC 1870 section 6)."""
    text = f"Message exceeds the limit of {sender.limits.message_size} octets"
    return Refusal(Reply(552, "5.3.4", text), "too_large")


def refuse_address(fault: AddressFault, *, reverse_path: bool) -> Refusal:
    """Refuse what is not a mailbox, in MAIL (5.1.7) or RCPT (5.1.3)."""
    match fault:
        case AddressFault.NON_ASCII:
            # RFC 6531 section 3.5; SES has no SMTPUTF8.
            reply = Reply(553, "5.6.7", "Addresses beyond ASCII cannot be sent through Amazon SES")
        case AddressFault.TOO_LONG | AddressFault.SYNTAX:
            status = "5.1.7" if reverse_path else "5.1.3"
            long = fault is AddressFault.TOO_LONG
            text = "Address is longer than RFC 5321 allows" if long else "Address is not valid"
            reply = Reply(553, status, text)
    return Refusal(reply, "bad_address")


def admit_recipient(
    sender: Sender, recipient: Address, suppression: Suppression | None
) -> Refusal | None:
    """Decide RCPT for a recipient; `suppression` is what the list says of it."""
    if recipient.domain.startswith("["):
        return NO_LITERALS
    if suppression is None or sender.on_suppressed is not OnSuppressed.REJECT:
        return None
    bounced = suppression.reason is SuppressionReason.BOUNCE
    text = f"Suppressed since {suppression.since:%Y-%m-%d}: {suppression.detail}"
    reply = Reply(550, "5.1.1" if bounced else "5.7.1", printable(text))
    return Refusal(reply, "suppressed")


def admit_header(sender: Sender, header: HeaderBlock) -> Refusal | None:
    """Decide on the author: every From and Sender address must be one the sender may write as."""
    hops = authors = 0
    seen: set[bytes] = set()
    for field in header.fields:
        name = field.name
        if name == b"received":
            hops += 1
        elif name in (b"from", b"sender"):
            if name in seen:
                return TWO_FROMS
            seen.add(name)
            try:
                addresses = mailboxes(field.value)
            except HeaderError as error:
                text = f"The {name.decode().title()} header cannot be read: {error}"
                return Refusal(Reply(550, "5.6.0", text), "bad_content")
            if not all(sender.allowed_from.hold(address) for address in addresses):
                return FROM_NOT_ALLOWED
            authors += name == b"from"
    if not authors:
        return NO_FROM
    return TOO_MANY_HOPS if hops > HOP_LIMIT else None


def is_removed(name: bytes) -> bool:
    """Whether a (lower-case) header field is removed before SES sees it; declared in promise P2.

    Bcc would show blind recipients; X-SES-* would let a client choose configuration set, tags and
    ARNs that are the operator's to choose (SES Developer Guide, "Amazon SES header fields").
    """
    return name in (b"bcc", b"resent-bcc", b"return-path") or name.startswith(b"x-ses-")
