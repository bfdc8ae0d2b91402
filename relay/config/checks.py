"""How keys must fit together, so that nothing is open, dead or ambiguous by oversight.

Looks at the settings only: what needs files, the environment or the machine is resolved elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar
from urllib.parse import urlsplit

from relay.config.account_checks import check_accounts
from relay.config.complaint import Finding, KeyPath, spell
from relay.config.listener_checks import check_listener, check_pairs
from relay.config.model import Settings
from relay.config.names import SocketAddress
from relay.config.network_checks import check_networks
from relay.config.sender_checks import check_sender
from relay.policy.patterns import AddressPatterns

Value = TypeVar("Value")


def check(settings: Settings) -> Iterator[Finding]:
    """Yield everything that does not fit together."""
    for index, listener in enumerate(settings.listeners):
        yield from check_listener(("listeners", index), listener, settings)
    if settings.tls is not None:
        yield from check_pairs(("tls",), settings.tls.certificate, settings.tls.key)
    yield from _addresses(settings)
    for number, sender in enumerate(settings.senders):
        yield from check_sender(("senders", number), sender, settings)
    yield from check_accounts(settings)
    yield from _twice(
        [(("listeners", i, "name"), x.name) for i, x in enumerate(settings.listeners)]
    )
    yield from _twice([(("senders", i, "name"), x.name) for i, x in enumerate(settings.senders)])
    yield from _twice([(("senders", i, "login"), x.login) for i, x in enumerate(settings.senders)])
    yield from _twice(
        [
            (("senders", i, "certificates", place), name)
            for i, sender in enumerate(settings.senders)
            for place, name in enumerate(sender.certificates)
        ]
    )
    yield from check_networks(settings)
    yield from _ses(settings)
    yield from _spool(settings)
    yield from _feedback(settings)
    yield from _probe(settings)


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


def _ses(settings: Settings) -> Iterator[Finding]:
    if settings.ses.region is not None and settings.ses.accounts:
        yield Finding(
            ("ses", "region"),
            "is short for one account; with accounts, give each its own region",
            (("ses", "region"), ("ses", "accounts")),
        )
    for name, account in settings.ses.accounts.items():
        here = ("ses", "accounts", name)
        for key in ("external_id", "session_name"):
            if getattr(account, key) is not None and account.role_arn is None:
                at = (*here, key)
                yield Finding(at, "has no meaning without role_arn", (at, (*here, "role_arn")))
        url = urlsplit(account.endpoint_url or "")
        if url.scheme == "http" and not SocketAddress(url.hostname or "", 0).is_loopback:
            at = (*here, "endpoint_url")
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
    kept: KeyPath = ("spool", "keep_failed")
    history: KeyPath = ("spool", "history")
    if settings.spool.history < settings.spool.keep_failed:
        message = "is shorter than spool.keep_failed: mail would be there of which nothing is known"
        yield Finding(history, message, (kept, history))


def _feedback(settings: Settings) -> Iterator[Finding]:
    topics, webhook = ("feedback", "sns", "topics"), ("http", "webhook")
    queue = ("feedback", "sqs", "queue_url")
    if settings.http.webhook is not None and not settings.feedback.sns.topics:
        yield Finding(
            webhook,
            "would refuse every message: list the topics it may believe in feedback.sns.topics",
            (webhook, topics),
        )
    if (
        settings.feedback.sns.topics
        and settings.http.webhook is None
        and settings.feedback.sqs.queue_url is None
    ):
        yield Finding(
            topics,
            "nothing receives what these topics send: set http.webhook, or feedback.sqs.queue_url",
            (webhook, queue, topics),
        )


def _probe(settings: Settings) -> Iterator[Finding]:
    probe = settings.probe
    if probe is None:
        return
    senders = {sender.name: sender for sender in settings.senders}
    at: KeyPath = ("probe", "sender")
    sender = settings.senders[0] if probe.sender is None else senders.get(probe.sender)
    if sender is None:
        yield Finding(at, f"there is no sender '{probe.sender}'", (at,))
    elif probe.address is not None:
        at = ("probe", "address")
        if not AddressPatterns(sender.allowed_from).hold(probe.address):
            yield Finding(at, f"is not in the from list of sender '{sender.name}'", (at,))
    if not settings.feedback.is_on:
        at = ("probe",)
        words = "no event can return: set feedback.sns.topics, or feedback.sqs.queue_url"
        yield Finding(at, words, (at,))
