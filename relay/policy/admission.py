"""Whether a mail is admitted, step by step as SMTP asks: sender, MAIL, RCPT, header.

Each function returns a Refusal or None. Does not know sockets, TLS or the spool; listeners and
sessions bring the facts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from math import ceil, isinf
from typing import Final

from relay.mail.address import Address, AddressFault
from relay.mail.entry import Backlog
from relay.mail.feedback import Suppression, SuppressionReason
from relay.mail.header import Field, FieldNames, HeaderBlock, HeaderError, mailboxes
from relay.mail.reply import Refusal, Reply, printable
from relay.mail.ses_headers import NOTHING_ASKED, SesHeaderError, SesHeaders
from relay.policy.allowance import Lack
from relay.policy.rewrite import with_author, without_sender
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
    "queue_full",
    "disk",
)
RCPT_REASONS: Final = (
    "bad_address",
    "suppressed",
    "too_many_recipients",
    "recipient_not_allowed",
    "rate_limited",
)
DATA_REASONS: Final = (
    "bad_content",
    "sender_not_allowed",
    "too_large",
    "loop",
    "rate_limited",
    "queue_full",
    "spool",
    "busy",
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
# Both are what scripts and printers send; the text must be enough for whoever minds them.
NULL_SENDER: Final = Refusal(
    Reply(
        550,
        "5.7.1",
        "Amazon SES needs a reverse-path; set an envelope sender in your application, or ask the "
        "operator for a rewrite",
    ),
    "null_sender",
)
UNQUALIFIED_SENDER: Final = Refusal(
    Reply(
        553,
        "5.1.7",
        "The reverse-path has no domain; set a full address in your application, or ask the "
        "operator for a rewrite",
    ),
    "bad_address",
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
RECIPIENT_NOT_ALLOWED: Final = Refusal(
    Reply(550, "5.7.1", "You may not send to this recipient; ask the operator to allow it"),
    "recipient_not_allowed",
)
NO_LITERALS: Final = Refusal(
    Reply(553, "5.1.3", "Amazon SES sends to domain names only, not to address literals"),
    "bad_address",
)
TOO_MANY_HOPS: Final = Refusal(
    Reply(554, "5.4.6", "Too many Received headers; this looks like a mail loop"), "loop"
)

# What is removed before SES sees it, as promise P2 declares: Bcc shows blind recipients; X-SES-*
# lets a client choose configuration set, tags and ARNs, which are for the operator to choose (SES
# Developer Guide, "Amazon SES header fields"). Those the operator heeds become parameters of the
# call, so they are removed all the same.
_REMOVED: Final = ("bcc", "resent-bcc", "return-path", "x-ses-*")
_TRIMMED: Final = FieldNames(*_REMOVED)
_DECISIVE: Final = FieldNames("from", "sender", *_REMOVED)
_HOPS: Final = FieldNames("received", "x-relay-id")

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
    sender: Sender, reverse_path: Address | AddressFault | None, announced_size: int
) -> Address | Refusal:
    """Decide MAIL: return the reverse-path the mail goes on with.

    `reverse_path` is None for `<>`, and a fault for what is no mailbox. `announced_size` is the
    SIZE parameter in octets, 0 when none was given.
    """
    if announced_size > sender.limits.message_size:
        return too_large(sender)
    rewrite = sender.rewrite
    instead = None if rewrite is None else rewrite.reverse_path
    if instead is not None and rewrite is not None and rewrite.is_always:
        return instead
    match reverse_path:
        case Address():
            if sender.allowed_from.hold(reverse_path):
                return reverse_path
            return instead or SENDER_NOT_ALLOWED
        case None:
            return instead or NULL_SENDER
        case AddressFault.NON_ASCII | AddressFault.TOO_LONG:
            # Nobody's habit: whoever sends this should hear of it.
            return refuse_address(reverse_path, reverse_path=True)
    return instead or refuse_address(reverse_path, reverse_path=True)


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
        case AddressFault.UNQUALIFIED if reverse_path:
            return UNQUALIFIED_SENDER
        case AddressFault.UNQUALIFIED:
            reply = Reply(553, "5.1.3", "The recipient has no domain; write user@example.com")
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
    if not sender.to.permit(recipient):
        return RECIPIENT_NOT_ALLOWED
    if suppression is None or sender.on_suppressed is not OnSuppressed.REJECT:
        return None
    if sender.redirect_all is not None:
        return None  # it is not mailed
    bounced = suppression.reason is SuppressionReason.BOUNCE
    text = f"Suppressed since {suppression.since:%Y-%m-%d}: {suppression.detail}"
    reply = Reply(550, "5.1.1" if bounced else "5.7.1", printable(text))
    return Refusal(reply, "suppressed")


def rate_limited(lack: Lack) -> Refusal:
    """Refuse MAIL above a sender's rate, and say when it may come again."""
    text = f"Your limit of {lack.limit.of('messages')} is exceeded; try again {_in(lack.wait)}"
    return Refusal(Reply(451, "4.7.1", text), "rate_limited")


def quota_exceeded(lack: Lack) -> Refusal:
    """Refuse RCPT, or DATA, above a sender's recipient quota."""
    text = f"Your quota of {lack.limit.of('recipients')} is used up; try again {_in(lack.wait)}"
    return Refusal(Reply(452, "4.7.1", text), "rate_limited")


def admit_to_queue(sender: Sender, backlog: Backlog, size: int) -> Refusal | None:
    """Decide MAIL, and content, by how much of the sender's mail the spool keeps already.

    `size` is what would be added, in octets: announced with MAIL (0 when it was not), or come.
    """
    share = sender.limits.queue
    most = share.octets if share.fraction is None else int(share.fraction * backlog.room)
    if share.messages is not None and backlog.messages >= share.messages:
        text = f"Your limit of {share.messages} waiting messages is reached; try again later"
    elif most is not None and backlog.octets + max(1, size) > most:
        text = f"Your limit of {most} waiting octets is reached; try again later"
    else:
        return None
    return Refusal(Reply(452, "4.3.1", text), "queue_full")


def too_many_recipients(sender: Sender) -> Refusal:
    """Refuse RCPT above a sender's cap (RFC 5321 section 4.5.3.1.10)."""
    most = sender.limits.recipients_per_message
    text = f"No more than {most} recipients at once; send the rest in another transaction"
    return Refusal(Reply(452, "4.5.3", text), "too_many_recipients")


def admit_header(sender: Sender, header: HeaderBlock) -> HeaderBlock | Refusal:
    """Decide on the author, and return the header as SES is to see it, trace fields aside.

    Every From and Sender address must be one the sender may write as. Where its rewrite mends that,
    the author is replaced; the declared removals of promise P2 are made in any case.
    """
    # There are no more hops than lines.
    if header.octets.count(b"\n") > HOP_LIMIT and _hops(header) > HOP_LIMIT:
        return TOO_MANY_HOPS
    authors, senders = [], []
    is_trimmed = False
    for field in header.among(_DECISIVE):
        if field.name == b"from":
            authors.append(field)
        elif field.name == b"sender":
            senders.append(field)
        else:
            is_trimmed = True
    refusal = _author_fault(sender, authors) if authors else NO_FROM
    impostor = _author_fault(sender, senders) if senders else None
    rewrite = sender.rewrite
    if rewrite is not None and rewrite.author and (refusal or rewrite.is_always):
        header = with_author(header, rewrite)
    elif refusal is not None:
        return refusal
    elif impostor is not None:
        if rewrite is None or not rewrite.author:
            return impostor
        header = without_sender(header)
    return header.without(_TRIMMED) if is_trimmed else header


def admit_ses_headers(sender: Sender, header: HeaderBlock) -> SesHeaders | Refusal:
    """Return what a mail asks of SES by X-SES-* fields, as far as its sender may."""
    heeded = sender.ses_headers
    if heeded is None:
        return NOTHING_ASKED
    try:
        return heeded.read(header, sender.route.tags)
    except SesHeaderError as error:
        return Refusal(Reply(550, "5.6.0", f"Not understood: {error}"), "bad_content")


def _hops(header: HeaderBlock) -> int:
    """Return how often it was relayed. Relays that write no Received write X-Relay-Id still."""
    names = Counter(field.name for field in header.among(_HOPS))
    return max(names.values(), default=0)


def _author_fault(sender: Sender, fields: Sequence[Field]) -> Refusal | None:
    """Say what is wrong with the From fields, or the Sender fields, of a header."""
    if len(fields) > 1:
        return TWO_FROMS
    field = fields[0]
    try:
        addresses = mailboxes(field.value)
    except HeaderError as error:
        text = f"The {field.name.decode().title()} header cannot be read: {error}"
        return Refusal(Reply(550, "5.6.0", text), "bad_content")
    allowed = sender.allowed_from
    return None if all(allowed.hold(address) for address in addresses) else FROM_NOT_ALLOWED


def _in(seconds: float) -> str:
    """Say when that is, in words that are never too early."""
    if isinf(seconds):
        return "with fewer"
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds > 2 * length:
            return f"in {ceil(seconds / length)} {unit}s"
    count = max(1, ceil(seconds))
    return f"in {count} second{'s' * (count > 1)}"
