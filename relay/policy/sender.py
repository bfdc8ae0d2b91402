"""Who may send: configured applications, found by login or by network.

Knows names, networks and address patterns. Does not know how a password is checked or a
configuration is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import Final, TypeAlias

from relay.mail.address import Address
from relay.mail.envelope import AccountName, SenderName
from relay.mail.ses_headers import SesHeaders
from relay.policy.patterns import NOBODY, AddressPatterns
from relay.policy.rewrite import Rewrite
from relay.policy.ses_headers import HeededHeaders, merged

Network: TypeAlias = IPv4Network | IPv6Network
Host: TypeAlias = IPv4Address | IPv6Address


PATIENCE: Final = 20.0
"""Seconds a client waits for SES (Sender.patience), unless the configuration says it."""

CALL: Final = 50
"""Recipients that SES takes at once (SES API SendRawEmail, Destinations)."""


class Priority(StrEnum):
    """Which mail goes first when not all can."""

    TRANSACTIONAL = "transactional"
    BULK = "bulk"


class OverLimit(StrEnum):
    """What happens above a sender's rate."""

    PACE = "pace"
    """Accept now, send later: printers do not retry."""
    REFUSE = "refuse"


class Accept(StrEnum):
    """What a sender's `250` after DATA says (R6)."""

    QUEUED = "queued"
    """The mail is safe in the spool."""
    RELAYED = "relayed"
    """SES has taken it: the client waits for SES's answer, and keeps what SES refuses."""
    RELAYED_OR_QUEUED = "relayed-or-queued"
    """SES has taken it; or, where that needs more patience, it is safe in the spool."""


class OnSuppressed(StrEnum):
    """What happens to a suppressed recipient at RCPT."""

    REJECT = "reject"
    DROP = "drop"
    IGNORE = "ignore"


class LineEndings(StrEnum):
    """What becomes of content with a bare CR or a bare LF."""

    REJECT = "reject"
    NORMALIZE = "normalize"
    """Each becomes CRLF: for scanners and scripts that know no better."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many per so many seconds."""

    count: int
    seconds: float

    @property
    def per_second(self) -> float:
        """The rate as a number."""
        return self.count / self.seconds

    def of(self, what: str) -> str:
        """Write the rate of something for people: `10 messages per second`."""
        units = {1.0: "second", 60.0: "minute", 3600.0: "hour", 86_400.0: "day"}
        return f"{self.count} {what} per {units.get(self.seconds, f'{self.seconds:g} seconds')}"


@dataclass(frozen=True, slots=True)
class QueueShare:
    """How much of one sender's mail the spool keeps at a time; None is unbounded.

    `fraction` is of all that the spool has room for, whoever's mail it is.
    """

    messages: int | None = None
    octets: int | None = None
    fraction: float | None = None


UNBOUNDED: Final = QueueShare()


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one sender. `rate` counts messages, `recipients` recipients; None is unbounded.

    `recipients` holds in any span of its length: a thousand a day is never two thousand around
    midnight.
    """

    message_size: int
    rate: Rate | None = None
    burst: int = 1
    over_limit: OverLimit = OverLimit.PACE
    recipients: tuple[Rate, ...] = ()
    recipients_per_message: int = 1000
    queue: QueueShare = UNBOUNDED
    is_paced: bool = field(init=False, repr=False, compare=False)
    """Whether mail above a limit is sent later."""
    is_refused: bool = field(init=False, repr=False, compare=False)
    """Whether mail above a limit is refused."""

    def __post_init__(self) -> None:
        # Asked for every mail.
        is_limited = self.rate is not None or bool(self.recipients)
        paces = self.over_limit is OverLimit.PACE
        object.__setattr__(self, "is_paced", is_limited and paces)
        object.__setattr__(self, "is_refused", is_limited and not paces)


@dataclass(frozen=True, slots=True)
class Destinations:
    """To whom a sender may write: whom `allow` holds, or all without it, less whom `deny` holds."""

    allow: AddressPatterns | None = None
    deny: AddressPatterns = NOBODY

    def permit(self, address: Address) -> bool:
        """Whether mail may go to this address."""
        return not self.deny.hold(address) and (self.allow is None or self.allow.hold(address))


ANYBODY: Final = Destinations()


@dataclass(frozen=True, slots=True)
class Route:
    """How a sender's mail leaves. What is empty is not told to SES.

    The ARNs are those of other accounts' identities that this one may send as (SES Developer Guide,
    sending authorization): of the reverse-path, of the From header, of where feedback goes. Tenant
    and contact list, with a topic of that, are known to v2 of the API only.
    """

    account: AccountName
    configuration_set: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    source_arn: str = ""
    from_arn: str = ""
    return_path_arn: str = ""
    tenant: str = ""
    contact_list: str = ""
    topic: str = ""

    @property
    def needs_v2(self) -> bool:
        """Whether it has what only v2 of the API has a parameter for."""
        return bool(self.tenant or self.contact_list)

    def asked_by(self, headers: SesHeaders) -> Route:
        """Return the route of a mail that asks for something itself.

        What it asks for takes the place of what is configured; tags do so by name.
        """
        changes = {
            name: value for name, value in headers._asdict().items() if value and name != "tags"
        }
        return replace(self, **changes, tags=merged(self.tags, headers.tags))


@dataclass(frozen=True, slots=True)
class Sender:
    """One application that may send. `login` and `secret` are empty where it has none.

    `secret` is a verifier (an argon2id hash, or `sha256:` and the digest of a token), never the
    password itself. `certificates` are the names in a client certificate that stand for it. With
    `redirect_all` its mail goes to that address and nobody else.
    """

    name: SenderName
    allowed_from: AddressPatterns
    limits: Limits
    route: Route
    login: str = ""
    secret: str = field(default="", repr=False)
    certificates: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()
    priority: Priority = Priority.TRANSACTIONAL
    on_suppressed: OnSuppressed = OnSuppressed.REJECT
    to: Destinations = ANYBODY
    redirect_all: Address | None = None
    rewrite: Rewrite | None = None
    ses_headers: HeededHeaders | None = None
    """The X-SES-* fields by which its mail may choose; None: none, they are removed unread."""
    line_endings: LineEndings | None = None
    """What stray line endings in its content become; None: what the listener says."""
    accept: Accept = Accept.QUEUED
    patience: float = PATIENCE
    """Seconds its clients wait for SES to be asked; relayed-or-queued: for its answer too."""


class Senders(Mapping[SenderName, Sender]):
    """All configured senders, by name, by login and by network. Immutable."""

    def __init__(self, senders: Iterable[Sender]) -> None:
        self._by_name = {sender.name: sender for sender in senders}
        self._by_login = {s.login: s for s in self._by_name.values() if s.login}
        self._by_certificate = {name: s for s in self._by_name.values() for name in s.certificates}
        # Longest prefix first: the most specific network wins.
        self._by_network = sorted(
            ((network, s) for s in self._by_name.values() for network in s.networks),
            key=lambda pair: pair[0].prefixlen,
            reverse=True,
        )

    def __getitem__(self, name: SenderName) -> Sender:
        return self._by_name[name]

    def __iter__(self) -> Iterator[SenderName]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def with_login(self, login: str) -> Sender | None:
        """Return the sender of that login, or None."""
        return self._by_login.get(login)

    def with_certificate(self, names: Iterable[str]) -> Sender | None:
        """Return the sender that one of a certificate's names stands for, or None.

        None too where they stand for several: a certificate must not be a choice of senders.
        """
        # Other alphabets have letters that fold to ours: a KELVIN SIGN is no k.
        found = {
            s.name: s
            for name in names
            if name.isascii() and (s := self._by_certificate.get(name.lower()))
        }
        return next(iter(found.values())) if len(found) == 1 else None

    def network_of(self, host: Host) -> tuple[Network, Sender] | None:
        """Return the most specific network that holds `host`, and whose it is; or None."""
        for network, sender in self._by_network:
            if host.version == network.version and host in network:
                return network, sender
        return None

    def at(self, host: Host) -> Sender | None:
        """Return the sender whose most specific network holds `host`, or None."""
        found = self.network_of(host)
        return None if found is None else found[1]


# Many clients connect for every mail, and reading an address takes longer than finding it.
@lru_cache(maxsize=4096)
def host_of(text: str) -> Host:
    """Read a peer address; `::ffff:a.b.c.d`, which dual-stack sockets report, is IPv4."""
    host = ip_address(text.partition("%")[0])
    if isinstance(host, IPv6Address) and host.ipv4_mapped is not None:
        return host.ipv4_mapped
    return host
