"""Every key of a sender.

The descriptions are the operator's documentation: the JSON Schema is made of them. Says nothing of
how keys must fit together; relay.config.sender_checks does.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import Field

from relay.config import values as v
from relay.config.measures import MESSAGE_SIZE_LIMIT, RECIPIENTS_LIMIT
from relay.config.part import ONE_OR_MORE, READ_ONLY, Part
from relay.config.returning import Callback
from relay.config.spelling import words
from relay.config.words import Circuit, SesHeader
from relay.policy.rewrite import When
from relay.policy.sender import (
    PATIENCE,
    Accept,
    LineEndings,
    OnSuppressed,
    OverLimit,
    Priority,
)

MAIN_ACCOUNT: Final = "main"


class Queue(Part):
    """How much of a sender's mail may wait; above it this sender alone is answered 452."""

    messages: v.Count | None = Field(
        default=None, description="How many messages. Without it: unbounded."
    )
    size: v.QueueSize | None = Field(
        default=None,
        description=(
            "How large they may be together: a size, or the share of what the spool has room for. "
            "Without it: unbounded."
        ),
    )


class Limits(Part):
    """Bounds of one sender."""

    rate: v.MessageRate | None = Field(
        default=None, description="How many messages it may send. Without it: unbounded."
    )
    burst: v.Count | None = Field(
        default=None,
        description=(
            "How many messages may go at once before the rate bounds them. Without it: the number "
            "in rate, so 300/min lets 300 go at once."
        ),
    )
    recipients: Annotated[tuple[v.RecipientRate, ...], ONE_OR_MORE] = Field(
        default=(),
        description=(
            "How many recipients it may write to in any hour or day: one rate, such as 20000/day, "
            "or one of each, [1000/h, 20000/day]. Without it: unbounded."
        ),
    )
    recipients_per_message: v.RecipientCount = Field(
        default=RECIPIENTS_LIMIT, description="How many recipients one message may have."
    )
    message_size: v.MessageSize = Field(
        default=MESSAGE_SIZE_LIMIT,
        description=(
            "The largest message it may send, up to 39995904 octets. The default is the most that "
            "v1 of the Amazon SES API takes (10485760 octets) less 4KiB for the header fields the "
            "relay adds; what is larger goes by v2, for which the role needs ses:SendEmail."
        ),
    )
    over_limit: Annotated[OverLimit, words(OverLimit)] = Field(
        default=OverLimit.PACE,
        description=(
            "What happens above rate and recipients: pace (accept now, send later, because "
            "printers do not retry) or refuse (451 and 452, the client tries again)."
        ),
    )
    queue: Queue = Field(default_factory=Queue, description="How much of its mail may wait.")


class Destinations(Part):
    """To whom a sender may write."""

    allow: tuple[v.ToPattern, ...] | None = Field(
        default=None,
        min_length=1,
        description="The addresses it may write to, and no others. Without it: everybody.",
    )
    deny: tuple[v.ToPattern, ...] = Field(
        default=(), description="The addresses it may not write to, even if allow has them."
    )


class Rewrite(Part):
    """What takes the place of a reverse-path or From header that the sender may not use.

    At least one of reverse_path and from.
    """

    when: Annotated[When, words(When)] = Field(
        default=When.UNAUTHORISED,
        description=(
            "unauthorised (only of what would be refused: what is missing, has no domain, cannot "
            "be read or is not in the sender's from) or always."
        ),
    )
    reverse_path: v.Mailbox | None = Field(
        default=None,
        description=(
            "The reverse-path it becomes; one the sender's from allows. Without it: unchanged."
        ),
    )
    author: v.Author | None = Field(
        default=None,
        alias="from",
        description=(
            "The From header it becomes, such as Scanner <scanner@example.com>; with an address "
            "the sender's from allows. Without it: unchanged."
        ),
    )
    keep_original: v.Switch = Field(
        default=True, description="Whether the old From header goes on as X-Original-From."
    )


class SenderSes(Part):
    """How a sender's mail leaves."""

    account: v.Name = Field(
        default=MAIN_ACCOUNT, description="The account of ses.accounts that sends its mail."
    )
    configuration_set: v.Name | None = Field(
        default=None,
        description="The SES configuration set of its mail. Without it: ses.configuration_set.",
    )
    tags: Annotated[Mapping[v.TagName, v.TagValue], *READ_ONLY] = Field(
        default_factory=lambda: MappingProxyType({}),
        description="Message tags its mail carries, beside those of the relay.",
    )
    tenant: v.Name | None = Field(
        default=None,
        description=(
            "The SES tenant its mail is sent for; its identities and configuration set must be "
            "associated with it. Such mail goes by v2 of the API. Without it: none."
        ),
    )
    from_arn: v.IdentityArn | None = Field(
        default=None,
        description=(
            "The ARN of another account's identity that its From header is authorised by. Without "
            "it: the account's own identities."
        ),
    )
    source_arn: v.IdentityArn | None = Field(
        default=None, description="The same for its reverse-path."
    )
    return_path_arn: v.IdentityArn | None = Field(
        default=None,
        description=(
            "The same for the address that feedback is forwarded to. Without it, by v2 of the API: "
            "source_arn."
        ),
    )


class Sender(Part):
    """One application that may send: how it is recognised, and what it may do."""

    name: v.Name = Field(description="What logs, metrics and message tags call it; unique.")
    login: v.Login | None = Field(
        default=None, description="The user name it authenticates with; unique."
    )
    secret_hash: v.PasswordHash | None = Field(
        default=None,
        description="The argon2id hash of its password, as `relay secret hash` prints it.",
    )
    token_hash: v.TokenHash | None = Field(
        default=None,
        description="The SHA-256 of its generated token, as `relay secret token` prints it.",
    )
    secret_file: v.FilePath | None = Field(
        default=None,
        description="A file whose first line is what secret_hash or token_hash would hold.",
    )
    certificates: tuple[v.CertificateName, ...] = Field(
        default=(),
        description=(
            "The names in client certificates (subjectAltName: DNS name, e-mail address or URI) by "
            "which listeners with client_ca recognise it; unique."
        ),
    )
    networks: tuple[v.NetworkRange, ...] = Field(
        default=(),
        description=(
            "The networks by which listeners with auth off or optional recognise it; the most "
            "specific network of all senders wins."
        ),
    )
    allowed_from: tuple[v.FromPattern, ...] = Field(
        alias="from",
        min_length=1,
        description="The addresses it may write as, in the reverse-path and in the From header.",
    )
    to: Destinations = Field(
        default_factory=Destinations, description="The addresses it may write to."
    )
    redirect_all: v.Mailbox | None = Field(
        default=None,
        description=(
            "For staging: the address all its mail goes to, instead of its recipients. Without it: "
            "off."
        ),
    )
    rewrite: Rewrite | None = Field(
        default=None,
        description=(
            "What becomes of a reverse-path or From header that it may not use. Without it: the "
            "mail is refused."
        ),
    )
    line_endings: Annotated[LineEndings, words(LineEndings)] | None = Field(
        default=None,
        description=(
            "What happens to its content with a bare CR or a bare LF: reject (550) or normalize "
            "(each becomes CRLF). Without it: the listener's line_endings."
        ),
    )
    limits: Limits = Field(default_factory=Limits, description="Its bounds.")
    priority: Annotated[Priority, words(Priority)] = Field(
        default=Priority.TRANSACTIONAL,
        description="Which mail goes first when not all can: transactional before bulk.",
    )
    accept: Annotated[Accept, words(Accept)] = Field(
        default=Accept.QUEUED,
        description=(
            "What 250 after DATA means: queued (safe in the spool; the relay tries for days), "
            "relayed (SES has taken it; the client waits, and keeps what SES does not take) or "
            "relayed-or-queued (as relayed while patience lasts and SES is well, else as queued)."
        ),
    )
    patience: v.Patience = Field(
        default=timedelta(seconds=PATIENCE),
        description=(
            "With accept: relayed or relayed-or-queued, how long a client waits for its turn; with "
            "the latter for SES's answer too. To be less than the client waits for a reply."
        ),
    )
    ses: SenderSes = Field(default_factory=SenderSes, description="How its mail leaves.")
    ses_headers: Annotated[tuple[Annotated[SesHeader, words(SesHeader)], ...], ONE_OR_MORE] = Field(
        default=(),
        description=(
            "The X-SES-* header fields by which its mail may choose how it leaves, in place of "
            "what ses says; tags are added, or replaced by name. They become parameters of the "
            "call and are removed, like all others. Without it, and with deny: none."
        ),
    )
    suppression: Annotated[OnSuppressed, words(OnSuppressed)] = Field(
        default=OnSuppressed.REJECT,
        description=(
            "What happens to a recipient on the suppression list: reject (550), drop (accepted and "
            "not mailed) or ignore (mailed all the same)."
        ),
    )
    circuit: Annotated[Circuit, words(Circuit)] = Field(
        default=Circuit.ALERT,
        description=(
            "What happens when so much of its mail bounces, or is complained of, that SES may "
            "review the account: alert, or pause (its mail is kept until you resume it)."
        ),
    )
    callback: Callback | None = Field(
        default=None,
        description="Where it is told what became of its mail. Without it: it is not.",
    )
