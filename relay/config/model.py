"""Every key of the configuration file, with its default and what it means.

The descriptions are the operator's documentation: the JSON Schema is made of them. Says nothing of
how keys must fit together; relay.config.checks does.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from pydantic import Field

from relay.config import values as v
from relay.config.listener import Listener, Tls
from relay.config.names import SocketAddress
from relay.config.part import READ_ONLY, Part
from relay.config.returning import Feedback, Suppression
from relay.config.sender import Sender
from relay.config.spelling import words
from relay.config.words import LogAddresses, LogFormat, LogLevel, PerSender, SesApi
from relay.policy.ruleset import TraceHeaders


class Account(Part):
    """One AWS account and region to send through."""

    region: v.Region | None = Field(
        default=None,
        description="Its AWS region. Without it: AWS_REGION or AWS_DEFAULT_REGION.",
    )
    endpoint_url: v.EndpointUrl | None = Field(
        default=None, description="Another endpoint than Amazon's: a VPC endpoint or a simulator."
    )
    role_arn: v.RoleArn | None = Field(
        default=None,
        description=(
            "The role it is used by; it is assumed with the machine's credentials, for reading the "
            "quota and sending as what its senders' from has. Without it: the machine's "
            "credentials themselves."
        ),
    )
    external_id: v.ExternalId | None = Field(
        default=None, description="What the trust policy of that role asks for. Without it: none."
    )
    session_name: v.SessionName | None = Field(
        default=None,
        description=(
            "What the session is called in CloudTrail. Without it: ses-relay- and the name of the "
            "machine."
        ),
    )
    api: Annotated[SesApi, words(SesApi)] = Field(
        default=SesApi.AUTO,
        description=(
            "By which API mail goes: auto (v1, SendRawEmail; but v2, SendEmail, for mail beyond 10 "
            "MiB and for tenants), v1 or v2. A role that may not use v2 needs v1 here."
        ),
    )
    max_send_rate: v.RateOrAuto = Field(
        default=None,
        description="How fast it sends: auto (what SES says the account may) or a lower rate.",
    )
    daily_reserve: v.Reserve = Field(
        default=0.1,
        description=(
            "The share of its daily quota that bulk senders leave to the transactional ones."
        ),
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
    accounts: Annotated[Mapping[v.Name, Account], *READ_ONLY] = Field(
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
        default=timedelta(days=4),
        description=(
            "How long mail is tried before it is given up. Only time counts in which it could be "
            "tried: not while it is held or the relay is down. What only you can mend (credentials "
            "and the like) has ten days more."
        ),
    )
    retry: Retry = Field(default_factory=Retry, description="When it is tried again.")
    keep_failed: v.Duration = Field(
        default=timedelta(days=7),
        description="How long mail that was given up is kept, to be looked at or retried.",
    )
    history: v.Duration = Field(
        default=timedelta(days=30),
        description=(
            "How long it is remembered what became of a mail, what SES reported of it, and what "
            "operators did."
        ),
    )
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


class Http(Part):
    """What is served over HTTP, each on its own address."""

    metrics: v.ListenAddress = Field(
        default=SocketAddress("127.0.0.1", 9587),
        description="Prometheus metrics and health; read only.",
    )
    admin: v.SocketPath = Field(
        default=Path("/run/ses-relay/admin.sock"),
        description="The Unix socket over which the command line speaks to the daemon.",
    )
    webhook: v.ListenAddress | None = Field(
        default=None,
        description="Where SNS delivers events; public, behind your TLS proxy. Without it: off.",
    )


class Log(Part):
    """The log, on standard output."""

    level: Annotated[LogLevel, words(LogLevel)] = Field(
        default=LogLevel.INFO, description="The least important lines that are written."
    )
    format: Annotated[LogFormat, words(LogFormat)] = Field(
        default=LogFormat.AUTO,
        description="json (one object a line), console (for people), or auto (console on a tty).",
    )
    addresses: Annotated[LogAddresses, words(LogAddresses)] = Field(
        default=LogAddresses.PLAIN,
        description=(
            "plain, or hashed: every address is replaced by a name that is the same in all lines, "
            "and that only the key in the spool directory (log-key) connects with the address."
        ),
    )


class Monitoring(Part):
    """What is measured beyond what always is."""

    per_sender: Annotated[PerSender, words(PerSender)] = Field(
        default=PerSender.AUTO,
        description=(
            "Whether each sender has counters of its own: auto (up to 50 senders), always or never."
        ),
    )


class Probe(Part):
    """A mail of our own to SES's mailbox simulator, time and again, until its event returns."""

    every: v.Duration = Field(
        default=timedelta(minutes=10),
        description="How long after one the next is sent; AWS bills each like any other mail.",
    )
    sender: v.Name | None = Field(
        default=None,
        description="As which sender it is sent. Without it: the first one.",
    )
    address: v.Mailbox | None = Field(
        default=None,
        description=(
            "From which address. Without it: the first one in the sender's from list, or "
            "relay-probe at the first domain there."
        ),
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
    trace_headers: Annotated[TraceHeaders, words(TraceHeaders)] = Field(
        default=TraceHeaders.FULL,
        description=(
            "What a mail's header tells of where it came from: full (Received with the client's "
            "name and address), minimal (Received without them) or none (X-Relay-Id alone)."
        ),
    )
    listeners: tuple[Listener, ...] = Field(
        min_length=1, description="The addresses on which clients are served."
    )
    tls: Tls | None = Field(
        default=None,
        description="The certificate; needed by every listener with TLS that has none of its own.",
    )
    senders: tuple[Sender, ...] = Field(
        min_length=1, description="The applications that may send; nobody else may."
    )
    ses: Ses = Field(default_factory=Ses, description="Where mail leaves.")
    spool: Spool = Field(default_factory=Spool, description="Where accepted mail is kept.")
    suppression: Suppression = Field(
        default_factory=Suppression, description="Who is not mailed, and for how long."
    )
    feedback: Feedback = Field(
        default_factory=Feedback, description="How bounces and complaints come back."
    )
    http: Http = Field(default_factory=Http, description="What is served over HTTP.")
    log: Log = Field(default_factory=Log, description="The log, on standard output.")
    monitoring: Monitoring = Field(
        default_factory=Monitoring, description="What is measured beyond what always is."
    )
    probe: Probe | None = Field(
        default=None,
        description=(
            "A mail of our own to SES's mailbox simulator, time and again, until its event returns."
            " Without it: off."
        ),
    )
