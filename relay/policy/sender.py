"""Who may send: configured applications, found by login or by network.

Knows names, networks and address patterns. Does not know how a password is checked or a
configuration is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import TypeAlias

from relay.mail.address import Address
from relay.mail.envelope import AccountName, SenderName

Network: TypeAlias = IPv4Network | IPv6Network
Host: TypeAlias = IPv4Address | IPv6Address


class Priority(StrEnum):
    """Which mail goes first when not all can."""

    TRANSACTIONAL = "transactional"
    BULK = "bulk"


class OverLimit(StrEnum):
    """What happens above a sender's rate."""

    PACE = "pace"
    """Accept now, send later: printers do not retry."""
    REFUSE = "refuse"


class OnSuppressed(StrEnum):
    """What happens to a suppressed recipient at RCPT."""

    REJECT = "reject"
    DROP = "drop"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many per so many seconds."""

    count: int
    seconds: float

    @property
    def per_second(self) -> float:
        """The rate as a number."""
        return self.count / self.seconds


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one sender. `rate` counts messages; None is unbounded."""

    message_size: int
    rate: Rate | None = None
    burst: int = 1
    over_limit: OverLimit = OverLimit.PACE


@dataclass(frozen=True, slots=True)
class Route:
    """How a sender's mail leaves: account, configuration set (empty: none) and tags."""

    account: AccountName
    configuration_set: str = ""
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class FromPatterns:
    """The addresses a sender may write as: exact, `@domain`, or `@.domain` for its subdomains."""

    patterns: tuple[str, ...]
    _exact: frozenset[str] = field(init=False, repr=False, compare=False)
    _domains: frozenset[str] = field(init=False, repr=False, compare=False)
    _parents: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        exact, domains, parents = set(), set(), []
        for pattern in self.patterns:
            if pattern.startswith("@."):
                parents.append(pattern[1:].lower())
            elif pattern.startswith("@"):
                domains.add(pattern[1:].lower())
            else:
                exact.add(Address.parse(pattern).folded)
        object.__setattr__(self, "_exact", frozenset(exact))
        object.__setattr__(self, "_domains", frozenset(domains))
        object.__setattr__(self, "_parents", tuple(parents))

    def allow(self, address: Address) -> bool:
        """Whether mail may bear this address. Case is ignored, as SES ignores it."""
        domain = address.domain
        return (
            domain in self._domains
            or (bool(self._exact) and address.folded in self._exact)
            or (bool(self._parents) and domain.endswith(self._parents))
        )


@dataclass(frozen=True, slots=True)
class Sender:
    """One application that may send. `login` and `secret` are empty where it has none.

    `secret` is a verifier (an argon2id hash, or `sha256:` and the digest of a token), never the
    password itself.
    """

    name: SenderName
    allowed_from: FromPatterns
    limits: Limits
    route: Route
    login: str = ""
    secret: str = field(default="", repr=False)
    networks: tuple[Network, ...] = ()
    priority: Priority = Priority.TRANSACTIONAL
    on_suppressed: OnSuppressed = OnSuppressed.REJECT


class Senders(Mapping[SenderName, Sender]):
    """All configured senders, by name, by login and by network. Immutable."""

    def __init__(self, senders: Iterable[Sender]) -> None:
        self._by_name = {sender.name: sender for sender in senders}
        self._by_login = {s.login: s for s in self._by_name.values() if s.login}
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

    def at(self, host: Host) -> Sender | None:
        """Return the sender whose most specific network holds `host`, or None."""
        for network, sender in self._by_network:
            if host.version == network.version and host in network:
                return sender
        return None


def host_of(text: str) -> Host:
    """Read a peer address; `::ffff:a.b.c.d`, which dual-stack sockets report, is IPv4."""
    host = ip_address(text.partition("%")[0])
    if isinstance(host, IPv6Address) and host.ipv4_mapped is not None:
        return host.ipv4_mapped
    return host
