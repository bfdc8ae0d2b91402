"""How keys must fit together, so that nothing is open, dead or ambiguous by oversight.

Looks at the settings only: what needs files, the environment or the machine is resolved elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Final, TypeVar
from urllib.parse import urlsplit

from relay.config.complaint import ANY, Finding, KeyPath, spell
from relay.config.model import MAIN_ACCOUNT, Listener, Sender, Settings
from relay.config.names import SocketAddress
from relay.config.words import AuthWithoutTls, ListenerTls
from relay.policy.admission import Auth
from relay.policy.sender import Network, OverLimit

_EVERY_LOGIN: Final = ("senders", ANY, "login")
_EVERY_NETWORK: Final = ("senders", ANY, "networks")
_EVERY_AUTH: Final = ("listeners", ANY, "auth")

# What containers, and whoever comes in through Docker's port forwarding, show as their address.
_DOCKER_BRIDGE: Final = IPv4Address("172.17.0.1")
# The largest private networks are 10.0.0.0/8 and fc00::/7.
_LARGEST_PRIVATE: Final = {4: 8, 6: 7}

Value = TypeVar("Value")


def check(settings: Settings) -> Iterator[Finding]:
    """Yield everything that does not fit together."""
    for index, listener in enumerate(settings.listeners):
        yield from _listener(("listeners", index), listener, settings)
    yield from _addresses(settings)
    for number, sender in enumerate(settings.senders):
        yield from _sender(("senders", number), sender, settings)
    yield from _twice(
        [(("listeners", i, "name"), x.name) for i, x in enumerate(settings.listeners)]
    )
    yield from _twice([(("senders", i, "name"), x.name) for i, x in enumerate(settings.senders)])
    yield from _twice([(("senders", i, "login"), x.login) for i, x in enumerate(settings.senders)])
    yield from _networks(settings)
    yield from _ses(settings)
    yield from _spool(settings)
    yield from _feedback(settings)


def _listener(at: KeyPath, listener: Listener, settings: Settings) -> Iterator[Finding]:
    tls, auth = (*at, "tls"), (*at, "auth")
    has_login = any(sender.login for sender in settings.senders)
    has_network = any(sender.networks for sender in settings.senders)
    if listener.tls is not ListenerTls.OFF and settings.tls is None:
        yield Finding(
            tls,
            f"{listener.tls} needs a certificate: set tls.certificate and tls.key, or tls: off",
            (tls, ("tls",)),
        )
    if listener.tls is ListenerTls.OFF and listener.auth is not Auth.OFF:
        yield from _auth_in_clear(at, listener)
    if listener.auth is Auth.REQUIRED and not has_login:
        yield Finding(
            auth,
            "nothing would be accepted here: AUTH is required and no sender has a login",
            (auth, _EVERY_LOGIN),
        )
    if listener.auth is not Auth.REQUIRED and not has_network:
        yield Finding(
            auth,
            f"with auth: {listener.auth} a client is known by its network, and no sender has "
            "networks",
            (auth, _EVERY_NETWORK),
        )


def _auth_in_clear(at: KeyPath, listener: Listener) -> Iterator[Finding]:
    without, address = (*at, "auth_without_tls"), (*at, "address")
    relies = ((*at, "tls"), (*at, "auth"), without)
    if listener.auth_without_tls is AuthWithoutTls.NEVER:
        yield Finding(
            (*at, "tls"),
            "passwords would cross the network in clear: use starttls-required or implicit, or "
            "auth: off, or, for clients on this machine, auth_without_tls: loopback",
            relies,
        )
    elif not listener.address.may_be_local:
        yield Finding(
            without,
            "loopback lets nobody log in here: no client reaches this address over loopback, as it "
            "would 127.0.0.1",
            (*relies, address),
        )


def _sender(at: KeyPath, sender: Sender, settings: Settings) -> Iterator[Finding]:
    login, networks = (*at, "login"), (*at, "networks")
    names = ("secret_hash", "token_hash", "secret_file")
    verifiers = [(*at, name) for name in names]
    given = [name for name in names if getattr(sender, name) is not None]
    if sender.login is None and not sender.networks:
        yield Finding(
            at,
            "can never be recognised: give it a login, or networks",
            (login, networks),
        )
    if sender.login is not None and not given:
        yield Finding(
            login,
            "nothing to check its password against: give one of secret_hash, token_hash, "
            "secret_file",
            (login, *verifiers),
        )
    if sender.login is None and given:
        yield Finding((*at, given[0]), "has no use without a login", (login,))
    for name in given[1:]:
        yield Finding(
            (*at, name),
            f"only one of {', '.join(given)} can be what the login is checked against",
            ((*at, given[0]), (*at, name)),
        )
    yield from _reach(at, sender, settings)
    yield from _limits((*at, "limits"), sender)
    accounts = tuple(settings.ses.accounts) or (MAIN_ACCOUNT,)
    if sender.ses.account not in accounts:
        account = (*at, "ses", "account")
        yield Finding(
            account,
            f"there is no account '{sender.ses.account}'; there is {', '.join(accounts)}",
            (account, ("ses", "accounts", sender.ses.account)),
        )


def _reach(at: KeyPath, sender: Sender, settings: Settings) -> Iterator[Finding]:
    """Warn of ways of recognition that no listener offers."""
    auths = {listener.auth for listener in settings.listeners}
    if sender.login is not None and auths == {Auth.OFF}:
        yield Finding(
            (*at, "login"),
            "is never asked for: no listener has auth: required or optional",
            ((*at, "login"), _EVERY_AUTH),
            is_warning=True,
        )
    if sender.networks and auths == {Auth.REQUIRED}:
        yield Finding(
            (*at, "networks"),
            "are never looked at: no listener has auth: off or optional",
            ((*at, "networks"), _EVERY_AUTH),
            is_warning=True,
        )


def _limits(at: KeyPath, sender: Sender) -> Iterator[Finding]:
    limits = sender.limits
    if limits.rate is not None:
        return
    for key, is_idle in {
        "burst": limits.burst is not None,
        "over_limit": limits.over_limit is not OverLimit.PACE,
    }.items():
        if is_idle:
            yield Finding((*at, key), "has no meaning without a rate", ((*at, key), (*at, "rate")))


def _twice(named: list[tuple[KeyPath, Value | None]]) -> Iterator[Finding]:
    """Complain of each value that an earlier one equals."""
    first: dict[Value, KeyPath] = {}
    for at, value in named:
        if value is None:
            continue
        earlier = first.setdefault(value, at)
        if earlier != at:
            yield Finding(at, f"'{value}' is taken by {spell(earlier[:2])}", (at, earlier))


def _addresses(settings: Settings) -> Iterator[Finding]:
    """Complain of addresses that cannot all be listened on."""
    # Those of http first: they have defaults, so the complaint belongs at the listener.
    taken: list[tuple[KeyPath, SocketAddress]] = [(("http", "metrics"), settings.http.metrics)]
    if settings.http.webhook is not None:
        taken.append((("http", "webhook"), settings.http.webhook))
    taken += [
        (("listeners", index, "address"), listener.address)
        for index, listener in enumerate(settings.listeners)
    ]
    by_port: dict[int, list[tuple[KeyPath, SocketAddress]]] = {}
    for at, address in taken:
        same_port = by_port.setdefault(address.port, [])
        for other_at, other in same_port:
            if address.port != 0 and _collide(address, other):
                message = f"{address} is taken by {spell(other_at)} ({other})"
                yield Finding(at, message, (at, other_at))
                break
        same_port.append((at, address))


def _collide(one: SocketAddress, other: SocketAddress) -> bool:
    """Whether two addresses of one port cannot both be listened on."""
    # 0.0.0.0 does not take the port of [::], nor the other way round.
    same_family = (":" in one.host) == (":" in other.host)
    if same_family and (one.is_wildcard or other.is_wildcard):
        return True
    hosts = {one.host, other.host}
    return len(hosts) == 1 or hosts in ({"localhost", "127.0.0.1"}, {"localhost", "::1"})


def _networks(settings: Settings) -> Iterator[Finding]:
    owners: dict[Network, tuple[KeyPath, str]] = {}
    for index, sender in enumerate(settings.senders):
        for place, network in enumerate(sender.networks):
            at = ("senders", index, "networks", place)
            earlier, owner = owners.setdefault(network, (at, sender.name))
            if earlier != at:
                yield Finding(
                    at,
                    f"{network} already names the sender '{owner}'; a client there would be either",
                    (at, earlier),
                )
            yield from _too_wide(at, network)


def _too_wide(at: KeyPath, network: Network) -> Iterator[Finding]:
    if network.prefixlen < _LARGEST_PRIVATE[network.version]:
        yield Finding(
            at,
            f"{network} is larger than any private network: whoever can reach the listener sends "
            "as this sender",
            (at,),
            is_warning=True,
        )
    elif isinstance(network, IPv4Network) and _DOCKER_BRIDGE in network:
        yield Finding(
            at,
            f"{network} holds {_DOCKER_BRIDGE}, the address every outside client has when Docker "
            "forwards the port: they would all send as this sender",
            (at,),
            is_warning=True,
        )


def _ses(settings: Settings) -> Iterator[Finding]:
    if settings.ses.region is not None and settings.ses.accounts:
        yield Finding(
            ("ses", "region"),
            "is short for one account; with accounts, give each its own region",
            (("ses", "region"), ("ses", "accounts")),
        )
    for name, account in settings.ses.accounts.items():
        url = urlsplit(account.endpoint_url or "")
        if url.scheme == "http" and not SocketAddress(url.hostname or "", 0).is_loopback:
            at = ("ses", "accounts", name, "endpoint_url")
            yield Finding(
                at, "mail would cross the network in clear: use https", (at,), is_warning=True
            )


def _spool(settings: Settings) -> Iterator[Finding]:
    retry, lifetime = settings.spool.retry, settings.spool.lifetime
    end: KeyPath = ("spool", "lifetime")
    first: KeyPath = ("spool", "retry", "first")
    ceiling: KeyPath = ("spool", "retry", "ceiling")
    if retry.first > retry.ceiling:
        yield Finding(
            first, "is longer than spool.retry.ceiling, the longest wait", (first, ceiling)
        )
    if retry.first >= lifetime:
        yield Finding(end, "is over before the first retry (spool.retry.first)", (first, end))


def _feedback(settings: Settings) -> Iterator[Finding]:
    topics, webhook = ("feedback", "sns", "topics"), ("http", "webhook")
    if settings.http.webhook is not None and not settings.feedback.sns.topics:
        yield Finding(
            webhook,
            "would refuse every message: list the topics it may believe in feedback.sns.topics",
            (webhook, topics),
        )
    if settings.feedback.sns.topics and settings.http.webhook is None:
        yield Finding(
            topics,
            "nothing receives what these topics send: set http.webhook",
            (webhook, topics),
        )
