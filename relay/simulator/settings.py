"""What the simulated account is like: identities, limits, feedback, and the open questions.

Values only. Knows neither the HTTP server nor the clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

UNLIMITED: Final = -1
"""SES API Reference, GetSendQuota: -1 stands for no limit."""

SANDBOX_SEND_RATE: Final = 1.0
SANDBOX_DAILY_QUOTA: Final = 200
"""SES Developer Guide, request production access: what the sandbox allows."""

SignatureVersion: TypeAlias = Literal["1", "2"]


class Sending(StrEnum):
    """Whether the account may send, and if not, who stopped it."""

    ENABLED = "enabled"
    PAUSED_BY_CUSTOMER = "paused-by-customer"
    PAUSED_BY_AWS = "paused-by-aws"


class Throttle(StrEnum):
    """How the send rate is counted; AWS does not say, so a client must live with both."""

    BUCKET = "bucket"
    WINDOW = "window"


class Fate(StrEnum):
    """What becomes of a recipient's copy once SES has accepted the mail."""

    DELIVERED = "delivered"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    AUTO_REPLIED = "auto-replied"
    ON_GLOBAL_LIST = "on-global-list"
    ON_ACCOUNT_LIST = "on-account-list"
    MAILBOX_FULL = "mailbox-full"
    DELAYED = "delayed"
    SILENT = "silent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A key the simulator knows, and until when its session token is good."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    #: When the session token expires; None is never.
    expires_at: datetime | None = None
    #: The IAM name that events report as `ses:caller-identity`.
    caller: str = "simulator-caller"


DEMO_CREDENTIAL: Final = Credential(
    access_key="AKIASIMULATORDEMO000",
    secret_key="simulator-secret",  # noqa: S106 - made up, and published
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The account, the region and the habits of the simulated SES and SNS."""

    # Where it listens. Port 0 takes any free one.
    host: str = "127.0.0.1"
    port: int = 0

    # The account.
    region: str = "eu-west-1"
    account_id: str = "123456789012"
    credentials: tuple[Credential, ...] = (DEMO_CREDENTIAL,)
    #: Verified domains and addresses. A domain covers its subdomains and every address in them.
    identities: frozenset[str] = frozenset({"example.com"})
    #: ARNs of other accounts' identities that this account was authorised to send as.
    shared_identities: frozenset[str] = frozenset()
    configuration_sets: frozenset[str] = frozenset({"default"})
    paused_configuration_sets: frozenset[str] = frozenset()
    #: The default configuration set of the identities, used when a call names none.
    default_configuration_set: str | None = None
    sending: Sending = Sending.ENABLED
    #: SES API v2 Reference, GetAccount: HEALTHY, PROBATION or SHUTDOWN.
    enforcement_status: str = "HEALTHY"
    #: Tenants, each with the identities and configuration sets that are associated with it.
    tenants: Mapping[str, frozenset[str]] = field(default_factory=dict)
    paused_tenants: frozenset[str] = frozenset()

    # The limits. The sandbox lowers both quotas and wants verified recipients.
    sandbox: bool = False
    max_send_rate: float = 14.0
    daily_quota: int = 50_000
    throttle: Throttle = Throttle.BUCKET
    #: Calls a second of everything but sending; None does not count them.
    control_rate: float | None = 1.0

    # What AWS leaves open. The defaults are the stricter reading, but for the first.
    #: The size limit counts the message as base64. Every figure seen in the field is the size of
    #: the message as it is, so this stays off.
    size_counts_base64: bool = False
    #: The largest message of v2, in bytes: "40 MB" in AWS's words, of which it is nowhere said
    #: whether they are these or 41,943,040.
    max_size_v2: int = 40_000_000
    #: Most MIME parts of a message; None does not count them.
    max_mime_parts: int | None = 500
    #: Several From mailboxes need a Sender header (RFC 5322 section 3.6.2).
    several_authors_need_sender: bool = True
    #: Which wins when X-SES-CONFIGURATION-SET and the parameter differ. A client that lets the
    #: header through finds out when the header does.
    configuration_set_header_wins: bool = True
    #: Addresses in the From, Sender, Reply-To, To, Cc and Bcc headers must be well formed
    #: even when the call names its recipients.
    header_addresses_checked: bool = True
    #: A verified address is compared without regard to case.
    identities_ignore_case: bool = False
    #: Simulated bounces of one call arrive as one event.
    simulated_bounces_merged: bool = True
    #: How long a subscription can be confirmed.
    token_lifetime: timedelta = timedelta(days=2)

    # What becomes of accepted mail. Keys are addresses or "@domain", in lower case.
    fates: Mapping[str, Fate] = field(default_factory=dict)
    other_recipients: Fate = Fate.DELIVERED
    event_delay: timedelta = timedelta(0)

    # SNS.
    topic: str | None = None
    #: Subscribed at start, when given.
    webhook: str | None = None
    signature_version: SignatureVersion = "2"
    #: SNS Developer Guide, message delivery retries: 3 retries, 20 s apart, 15 s for an answer.
    retries: int = 3
    retry_delay: timedelta = timedelta(seconds=20)
    post_timeout: timedelta = timedelta(seconds=15)

    # The server.
    #: Waited before every answer of the SES API.
    latency: timedelta = timedelta(0)
    #: An idle connection is closed after this.
    keep_alive: timedelta = timedelta(seconds=60)
    max_request_bytes: int = 64 * 1024 * 1024

    # How much is kept for inspection. The newest win.
    keep_messages: int = 10_000
    keep_bytes: int = 128 * 1024 * 1024
    keep_calls: int = 100_000
    keep_attempts: int = 10_000
    #: Posts that may wait at once; above it the newest is dropped and counted.
    max_pending_posts: int = 100_000

    def __post_init__(self) -> None:
        """Refuse an account that SES could not have."""
        if self.max_send_rate <= 0 and self.max_send_rate != UNLIMITED:
            raise ValueError(f"max_send_rate must be positive or -1: {self.max_send_rate}")
        if self.daily_quota < 0 and self.daily_quota != UNLIMITED:
            raise ValueError(f"daily_quota must be positive or -1: {self.daily_quota}")
        if self.control_rate is not None and self.control_rate <= 0:
            raise ValueError(f"control_rate must be positive: {self.control_rate}")
        if self.topic is not None and self.topic.count(":") != 5:  # noqa: PLR2004 - the ARN format
            raise ValueError(f"not a topic ARN: {self.topic!r}")

    @property
    def topic_arn(self) -> str:
        """The topic that events are published to."""
        return self.topic or f"arn:aws:sns:{self.region}:{self.account_id}:ses-feedback"

    @property
    def send_rate(self) -> float:
        """Recipients a second that the account may send to, the sandbox considered."""
        if not self.sandbox:
            return self.max_send_rate
        if self.max_send_rate == UNLIMITED:
            return SANDBOX_SEND_RATE
        return min(self.max_send_rate, SANDBOX_SEND_RATE)

    @property
    def recipients_a_day(self) -> int:
        """Recipients in 24 hours that the account may send to, the sandbox considered."""
        if not self.sandbox:
            return self.daily_quota
        if self.daily_quota == UNLIMITED:
            return SANDBOX_DAILY_QUOTA
        return min(self.daily_quota, SANDBOX_DAILY_QUOTA)
