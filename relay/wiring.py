"""The configuration as each adapter wants it, and what of it this machine cannot give.

Part of the composition root. Starts nothing.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from relay.config.configuration import Configuration
from relay.feedback.intake import Confirm, Topics
from relay.ses.account import AccountSettings
from relay.smtp.listener import ListenerSettings
from relay.smtp.settings import AuthWithoutTls, TlsMode
from relay.smtp.tls import server_context


class UnusableError(Exception):
    """The configuration asks for what this machine does not have. In words for an operator."""


def certificate_of(configuration: Configuration) -> ssl.SSLContext | None:
    """Return the TLS context the configuration asks for; raise UnusableError."""
    files = configuration.certificate
    if files is None:
        return None
    try:
        return server_context(files.certificate, files.key)
    except ValueError as error:
        raise UnusableError(f"{configuration.file}: {error}") from error


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
        )
        for one in configuration.settings.listeners
    ]


def account_settings(configuration: Configuration) -> list[AccountSettings]:
    """Return the accounts mail leaves by."""
    return [
        AccountSettings(
            name=one.name,
            region=one.region,
            endpoint_url=one.endpoint_url,
            max_send_rate=one.max_send_rate,
        )
        for one in configuration.accounts
    ]


def topics(configuration: Configuration) -> Topics:
    """Return the SNS topics that are believed."""
    sns = configuration.settings.feedback.sns
    return Topics(frozenset(sns.topics), Confirm(sns.confirm))


def node() -> str:
    """Name this host in tags: its name, as far as SES allows it in a tag."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:64] or "relay"


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Say what it was that the machine refused: the system's words alone do not."""
    try:
        yield
    except OSError as error:
        said = error.strerror if error.errno and error.strerror else str(error)
        raise type(error)(error.errno, f"{what}: {said}") from error


def needs_restart(old: Configuration, new: Configuration) -> tuple[str, ...]:
    """Return a complaint for each changed setting that is taken at start only."""
    before, after = old.settings, new.settings
    changed = [
        name
        for name, was, is_now in (
            ("listeners", before.listeners, after.listeners),
            ("tls", old.certificate, new.certificate),
            ("ses.accounts", old.accounts, new.accounts),
            ("spool.path", before.spool.path, after.spool.path),
            ("spool.min_free", before.spool.min_free, after.spool.min_free),
            ("spool.unsafe", before.spool.unsafe, after.spool.unsafe),
            ("http", before.http, after.http),
            ("log", before.log, after.log),
        )
        if was != is_now
    ]
    return tuple(f"{name}: a change here needs a restart" for name in changed)
