"""What `relay check --host` looks at: certificates, ports, the spool's disk, the admin socket.

Part of the composition root. Looks as the user that runs it; binds ports for a moment, writes
nothing.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from relay.config.configuration import Configuration
from relay.config.values import ListenAddress
from relay.ports import SpoolError
from relay.store.disk import file_system_of, refuse_unsafe
from relay.wiring import tls_contexts

_SOON: Final = timedelta(days=21)


class Found(NamedTuple):
    """One thing looked at: fine, not fine, or (None) something to know."""

    is_fine: bool | None
    words: str


def inspect(configuration: Configuration, now: datetime) -> Iterator[Found]:
    """Yield what is found of this machine; raise UnusableError where TLS files are no good."""
    for name, context in tls_contexts(configuration).items():
        yield _expiry(name, context.expires_at, now)
    is_running = _answers(configuration.settings.http.admin)
    for what, address in _addresses(configuration):
        yield _port(what, address, is_running=is_running)
    yield from _spool(configuration)
    admin = configuration.settings.http.admin
    yield _directory("http.admin", admin.parent)


def _expiry(listener: str, at: datetime, now: datetime) -> Found:
    words = f"listener {listener}: its certificate ends {at:%Y-%m-%d}"
    if at <= now:
        return Found(False, f"{words}: clients refuse it")
    return Found(None if at - now < _SOON else True, words)


def _addresses(configuration: Configuration) -> Iterator[tuple[str, ListenAddress]]:
    settings = configuration.settings
    for listener in settings.listeners:
        yield f"listener {listener.name}", listener.address
    yield "http.metrics", settings.http.metrics
    if settings.http.webhook is not None:
        yield "http.webhook", settings.http.webhook


def _port(what: str, address: ListenAddress, *, is_running: bool) -> Found:
    words = f"{what}: {address}"
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, _, _, _, where in found:
            with socket.create_server(where[:2], family=family):
                pass
    except OSError as error:
        if error.errno == errno.EADDRINUSE and is_running:
            return Found(True, f"{words} is in use, and a relay is running")
        if error.errno == errno.EADDRINUSE:
            hint = "by whom? (A socket unit of systemd may listen there for the relay.)"
            return Found(False, f"{words} is in use: {hint}")
        if error.errno in (errno.EACCES, errno.EPERM):
            return Found(None, f"{words} is not ours to open: it needs a socket unit of systemd")
        return Found(False, f"{words} cannot be listened on: {error.strerror or error}")
    return Found(True, f"{words} is free")


def _spool(configuration: Configuration) -> Iterator[Found]:
    spool = configuration.settings.spool
    yield _directory("spool.path", spool.path)
    there = _nearest(spool.path)
    kind = file_system_of(there)
    try:
        if not spool.unsafe:
            refuse_unsafe(spool.path, kind)
    except SpoolError as error:
        yield Found(False, f"spool.path: {error}")
    disk = os.statvfs(there)
    free = disk.f_bavail / disk.f_blocks if disk.f_blocks else 0.0
    words = f"spool.path: {free:.0%} of its disk ({kind or 'unknown'}) is free"
    floor = f"spool.min_free is {spool.min_free:.0%}"
    yield Found(free > spool.min_free, words if free > spool.min_free else f"{words}; {floor}")


def _directory(what: str, path: Path) -> Found:
    """Say whether a directory can be written, or made."""
    there = _nearest(path)
    may = os.access(there, os.W_OK | os.X_OK) and there.is_dir()
    if not may:
        return Found(False, f"{what}: {there} cannot be written by user {os.geteuid()}")
    return Found(True, f"{what}: {path} {'can be written' if there == path else 'can be made'}")


def _nearest(path: Path) -> Path:
    """Return it, or the first directory above that is there for all we may see."""
    # Not Path.exists, which raises where a directory above may not be entered.
    return next(one for one in (path, *path.parents) if os.path.exists(one))  # noqa: PTH110


def _answers(admin: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(admin))
        except OSError:
            return False
    return True
