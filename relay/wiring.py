"""The configuration as each adapter wants it, what this machine cannot give, and who meets whom.

Part of the composition root. Starts nothing.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from relay.config.account_checks import from_patterns
from relay.config.configuration import AssumedRole, Configuration, ResolvedAccount
from relay.config.shown import shown
from relay.config.words import LongLines
from relay.delivery.gate import Gate
from relay.facts import Facts
from relay.feedback.circuit import Circuits
from relay.mail.envelope import AccountName, SenderName
from relay.operators import Pausing
from relay.policy.expiry import Terms
from relay.policy.session_policy import session_policy
from relay.ports import Account, Clock
from relay.ses.account import AccountSettings
from relay.ses.api import Preference
from relay.ses.sdk import Role
from relay.smtp.frontdoor import ListenerSettings
from relay.smtp.settings import AuthWithoutTls, TlsMode, TlsProfile
from relay.smtp.tls import ServerContext, TlsFiles, server_context
from relay.store import Inspection, Store
from relay.web.orders import Orders
from relay.web.queue import QueueDesk
from relay.web.senders import SenderDesk


class UnusableError(Exception):
    """The configuration asks for what this machine does not have; all of it, for an operator."""

    def __init__(self, complaints: Sequence[str]) -> None:
        super().__init__("; ".join(complaints))
        self.complaints = tuple(complaints)


def tls_contexts(configuration: Configuration) -> dict[str, ServerContext]:
    """Return a fresh TLS context for each listener that encrypts; raise UnusableError."""
    contexts, complaints = {}, []
    for listener, files in configuration.tls.items():
        try:
            contexts[listener] = server_context(
                TlsFiles(
                    certificates=files.certificates,
                    keys=files.keys,
                    profile=TlsProfile(files.profile),
                    client_ca=files.client_ca,
                )
            )
        except ValueError as error:
            complaints.append(f"{configuration.file}: listener {listener}: {error}")
    if complaints:
        raise UnusableError(complaints)
    return contexts


def listener_settings(configuration: Configuration) -> list[ListenerSettings]:
    """Return what the front door is to open."""
    return [
        ListenerSettings(
            name=one.name,
            host=one.address.host,
            port=one.address.port,
            tls=TlsMode(one.tls),
            auth=one.auth,
            auth_without_tls=AuthWithoutTls(one.auth_without_tls),
            max_connections=one.max_connections,
            takes_certificates=one.client_ca is not None,
            trusted_proxies=one.proxy_protocol.trusted if one.proxy_protocol else (),
            line_endings=one.line_endings,
            refuses_long_lines=one.long_lines is LongLines.REJECT,
            extensions_off=frozenset(one.extensions_off),
        )
        for one in configuration.settings.listeners
    ]


def session_policies(configuration: Configuration) -> dict[AccountName, str]:
    """Return what the session of each account that has a role is limited to."""
    return {
        one.name: session_policy(from_patterns(configuration.settings, one.name)).text
        for one in configuration.accounts
        if one.role is not None
    }


def account_settings(configuration: Configuration) -> list[AccountSettings]:
    """Return the accounts mail leaves by."""
    policies = session_policies(configuration)
    return [
        AccountSettings(
            name=one.name,
            region=one.region,
            endpoint_url=one.endpoint_url,
            role=_role(one.role, policies.get(one.name, "")),
            api=Preference(one.api),
            max_send_rate=one.max_send_rate,
        )
        for one in configuration.accounts
    ]


def _role(role: AssumedRole | None, policy: str) -> Role | None:
    if role is None:
        return None
    name = role.session_name or f"ses-relay-{node()}"[:64]
    return Role(role.arn, name, policy, role.external_id or "")


def gate_of(resolved: ResolvedAccount, account: Account, facts: Facts, clock: Clock) -> Gate:
    """Return what lets mail through to an account."""
    return Gate(account, facts=facts, clock=clock, reserve=resolved.daily_reserve)


def sender_desk(
    store: Store,
    facts: Facts,
    clock: Clock,
    senders: Callable[[], Collection[SenderName]],
    pauses: Pausing,
    circuits: Circuits | None,
) -> SenderDesk:
    """Return what operators see, pause and resume senders on."""
    return SenderDesk(
        pauses=pauses,
        record=store.record,
        facts=facts,
        clock=clock,
        senders=senders,
        receptions=lambda: {} if circuits is None else circuits.windows,
        suspects=lambda: {} if circuits is None else circuits.suspects,
    )


def queue_desk(
    store: Store,
    facts: Facts,
    clock: Clock,
    senders: Callable[[], Collection[SenderName] | None],
    rouse: Callable[[SenderName], None],
) -> QueueDesk:
    """Return what operators work on: `rouse` is told who has mail that an order made due."""
    return QueueDesk(
        view=store.queue,
        orders=Orders(store.orders, store.record, facts, clock, rouse),
        record=store.record,
        clock=clock,
        senders=senders,
    )


def shown_configuration(configuration: Configuration) -> dict[str, Any]:
    """Return what is in force, and why, as the admin API tells it."""
    return {
        "file": configuration.file,
        "generation": configuration.generation,
        "settings": [one._asdict() for one in shown(configuration)],
    }


def terms(configuration: Configuration) -> Terms:
    """Return how long what is kept."""
    spool = configuration.settings.spool
    return Terms(
        lifetime=spool.lifetime,
        longest_wait=configuration.retry.longest_wait,
        keep_failed=spool.keep_failed,
        history=spool.history,
    )


def node() -> str:
    """Name this host in tags: its name, as far as SES allows it in a tag."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:64] or "relay"


def inspection(configuration: Configuration) -> Inspection:
    """Return a look at the spool of this configuration, which may be in use."""
    return Inspection(configuration.settings.spool.path)


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Say what it was that the machine refused: the system's words alone do not."""
    try:
        yield
    except OSError as error:
        said = error.strerror if error.errno and error.strerror else str(error)
        raise type(error)(error.errno, f"{what}: {said}") from error


def revoked(old: Configuration, new: Configuration) -> frozenset[SenderName]:
    """Return the senders whose sessions are over: gone, or known or bound by other rules (R8)."""

    def known_by(configuration: Configuration) -> dict[SenderName, object]:
        verifiers = configuration.verifiers
        return {
            SenderName(one.name): (
                one.login,
                verifiers.get(SenderName(one.name)),
                one.certificates,
                one.networks,
                one.allowed_from,
            )
            for one in configuration.settings.senders
        }

    now = known_by(new)
    return frozenset(name for name, was in known_by(old).items() if now.get(name) != was)


def needs_restart(old: Configuration, new: Configuration) -> tuple[str, ...]:
    """Return a complaint for each changed setting that is taken at start only."""
    before, after = old.settings, new.settings
    changed = [
        name
        for name, was, is_now in (
            ("spool.path", before.spool.path, after.spool.path),
            ("spool.min_free", before.spool.min_free, after.spool.min_free),
            ("spool.unsafe", before.spool.unsafe, after.spool.unsafe),
            ("http", before.http, after.http),
            ("probe", before.probe, after.probe),
            (
                "suppression.account_list",
                before.suppression.account_list,
                after.suppression.account_list,
            ),
            ("feedback.sqs", before.feedback.sqs, after.feedback.sqs),
        )
        if was != is_now
    ]
    return tuple(f"{name}: a change here needs a restart" for name in changed)
