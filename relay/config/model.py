"""Every key of the configuration file, with its default and what it means.

The descriptions are the operator's documentation: the JSON Schema is made of them. Says nothing of
how keys must fit together; relay.config.checks does.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from relay.config import values as v
from relay.config.measures import MESSAGE_SIZE_LIMIT
from relay.config.names import SocketAddress
from relay.config.words import AuthWithoutTls, Confirm, ListenerTls, LogFormat, LogLevel
from relay.policy.admission import Auth
from relay.policy.sender import OnSuppressed, OverLimit, Priority

MAIN_ACCOUNT: Final = "main"


class Part(BaseModel):
    """A mapping of the file: immutable, and without keys that are not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Listener(Part):
    """One address on which clients are served."""

    name: v.Name = Field(
        description="What logs and metrics call this listener; unique among listeners."
    )
    address: v.Address = Field(description="Where it listens.")
    tls: Annotated[ListenerTls, v.words(ListenerTls)] = Field(
        default=ListenerTls.STARTTLS_REQUIRED,
        description=(
            "When connections are encrypted: off; starttls (offered); starttls-required (no mail "
            "before STARTTLS); implicit (TLS from the first octet, as on port 465)."
        ),
    )
    auth: Annotated[Auth, v.words(Auth)] = Field(
        default=Auth.REQUIRED,
        description=(
            "Who the client is: required (it logs in); optional (it logs in, or its network names "
            "the sender); off (its network names the sender)."
        ),
    )
    auth_without_tls: Annotated[AuthWithoutTls, v.words(AuthWithoutTls)] = Field(
        default=AuthWithoutTls.NEVER,
        description=(
            "Where a password may be sent without TLS: never; or loopback, from clients on this "
            "machine to a listener on a loopback address."
        ),
    )
    max_connections: v.Count = Field(
        default=1000, description="How many connections it serves at a time; more are answered 421."
    )


class Tls(Part):
    """The certificate all encrypted listeners show."""

    certificate: v.FilePath = Field(
        description="The certificate and its chain, PEM, the certificate first."
    )
    key: v.FilePath = Field(description="The private key of the certificate, PEM.")


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
    message_size: v.MessageSize = Field(
        default=MESSAGE_SIZE_LIMIT,
        description=(
            "The largest message it may send. The default is the most Amazon SES takes (10485760 "
            "octets) less 4KiB for the header fields the relay adds."
        ),
    )
    over_limit: Annotated[OverLimit, v.words(OverLimit)] = Field(
        default=OverLimit.PACE,
        description=(
            "What happens above the rate: pace (accept now, send later, because printers do not "
            "retry) or refuse (451, the client tries again)."
        ),
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
    tags: Annotated[Mapping[v.TagName, v.TagValue], *v.READ_ONLY] = Field(
        default_factory=lambda: MappingProxyType({}),
        description="Message tags its mail carries, beside those of the relay.",
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
    limits: Limits = Field(default_factory=Limits, description="Its bounds.")
    priority: Annotated[Priority, v.words(Priority)] = Field(
        default=Priority.TRANSACTIONAL,
        description="Which mail goes first when not all can: transactional before bulk.",
    )
    ses: SenderSes = Field(default_factory=SenderSes, description="How its mail leaves.")
    suppression: Annotated[OnSuppressed, v.words(OnSuppressed)] = Field(
        default=OnSuppressed.REJECT,
        description=(
            "What happens to a recipient on the suppression list: reject (550), drop (accepted and "
            "not mailed) or ignore (mailed all the same)."
        ),
    )


class Account(Part):
    """One AWS account and region to send through."""

    region: v.Region | None = Field(
        default=None,
        description="Its AWS region. Without it: AWS_REGION or AWS_DEFAULT_REGION.",
    )
    endpoint_url: v.EndpointUrl | None = Field(
        default=None, description="Another endpoint than Amazon's: a VPC endpoint or a simulator."
    )
    max_send_rate: v.RateOrAuto = Field(
        default=None,
        description="How fast it sends: auto (what SES says the account may) or a lower rate.",
    )


class Ses(Part):
    """Amazon SES: through which accounts mail leaves."""

    configuration_set: v.Name | None = Field(
        default=None, description="The SES configuration set of senders that name none."
    )
    region: v.Region | None = Field(
        default=None,
        description=(
            "The AWS region, where one account is enough: short for accounts: {main: {region: ...}}"
            ". Without it: AWS_REGION or AWS_DEFAULT_REGION."
        ),
    )
    accounts: Annotated[Mapping[v.Name, Account], *v.READ_ONLY] = Field(
        default_factory=lambda: MappingProxyType({}),
        description="The accounts by name; senders choose one with ses.account.",
    )


class Retry(Part):
    """When deferred mail is tried again."""

    first: v.Duration = Field(
        default=timedelta(seconds=30),
        description="The wait after the first attempt; it doubles with each further one.",
    )
    ceiling: v.Duration = Field(default=timedelta(hours=1), description="The longest wait.")


class Spool(Part):
    """Where accepted mail is kept until SES has taken it."""

    path: v.AbsolutePath = Field(
        default=Path("/var/lib/ses-relay"), description="The directory; on a local disk."
    )
    lifetime: v.Duration = Field(
        default=timedelta(days=4), description="How long mail is tried before it is given up."
    )
    retry: Retry = Field(default_factory=Retry, description="When it is tried again.")
    min_free: v.FreeShare = Field(
        default=0.1,
        description="The share of the disk that stays free; below it mail is refused with 452.",
    )
    unsafe: v.Switch = Field(
        default=False,
        description=(
            "Whether the spool may lie on a network or memory filesystem, which can lose accepted "
            "mail; for tests."
        ),
    )


class Sns(Part):
    """SES events that arrive through Amazon SNS."""

    topics: tuple[v.Topic, ...] = Field(
        default=(),
        description="The topics whose messages are believed; every other one is refused.",
    )
    confirm: Annotated[Confirm, v.words(Confirm)] = Field(
        default=Confirm.AUTO,
        description=(
            "Whether a subscription of these topics is confirmed by the relay (auto) or by you "
            "(manual)."
        ),
    )


class Feedback(Part):
    """How bounces and complaints come back."""

    sns: Sns = Field(default_factory=Sns, description="Through Amazon SNS.")


class Http(Part):
    """What is served over HTTP, each on its own address."""

    metrics: v.Address = Field(
        default=SocketAddress("127.0.0.1", 9587),
        description="Prometheus metrics and health; read only.",
    )
    admin: v.SocketPath = Field(
        default=Path("/run/ses-relay/admin.sock"),
        description="The Unix socket over which the command line speaks to the daemon.",
    )
    webhook: v.Address | None = Field(
        default=None,
        description="Where SNS delivers events; public, behind your TLS proxy. Without it: off.",
    )


class Log(Part):
    """The log, on standard output."""

    level: Annotated[LogLevel, v.words(LogLevel)] = Field(
        default=LogLevel.INFO, description="The least important lines that are written."
    )
    format: Annotated[LogFormat, v.words(LogFormat)] = Field(
        default=LogFormat.AUTO,
        description="json (one object a line), console (for people), or auto (console on a tty).",
    )


class Settings(Part):
    """The whole file."""

    hostname: v.Domain | None = Field(
        default=None,
        description=(
            "The name the relay greets with and writes into trace fields. Without it: the name of "
            "the machine."
        ),
    )
    listeners: tuple[Listener, ...] = Field(
        min_length=1, description="The addresses on which clients are served."
    )
    tls: Tls | None = Field(
        default=None, description="The certificate; needed by every listener with TLS."
    )
    senders: tuple[Sender, ...] = Field(
        min_length=1, description="The applications that may send; nobody else may."
    )
    ses: Ses = Field(default_factory=Ses, description="Where mail leaves.")
    spool: Spool = Field(default_factory=Spool, description="Where accepted mail is kept.")
    feedback: Feedback = Field(
        default_factory=Feedback, description="How bounces and complaints come back."
    )
    http: Http = Field(default_factory=Http, description="What is served over HTTP.")
    log: Log = Field(default_factory=Log, description="The log, on standard output.")
