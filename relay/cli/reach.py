"""Whom a verb asks: the running daemon, or else the spool of one that is stopped. Says which.

Knows where both are found. Does not know what is asked.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from relay.cli.client import AdminClient, AdminError
from relay.cli.exits import NOT_ALLOWED, TRY_LATER, UNREACHABLE, USAGE
from relay.cli.words import fail, say

if TYPE_CHECKING:
    from relay.config.configuration import Configuration
    from relay.mail.envelope import SenderName


@dataclass(frozen=True, slots=True)
class Whom:
    """The options that say whom to ask."""

    admin: Path
    config: Path
    spool: Path | None
    """Of a daemon that is stopped; without it, that of the configuration where none answers."""


@contextmanager
def asking(whom: Whom) -> Iterator[AdminClient]:
    """Yield a client, and end the program in words where nobody can be asked, or says no."""
    try:
        if whom.spool is not None:
            with _stopped(whom, whom.spool, whom.spool) as client:
                yield client
        elif _answers(whom.admin):
            yield AdminClient(whom.admin)
        else:
            spool = _spool_of(whom)
            say(f"relay: no daemon answers on {whom.admin}; this is about its spool, {spool}")
            with _stopped(whom, spool, whom.admin) as client:
                yield client
    except AdminError as error:
        fail(str(error), error.exit_code)


def _answers(admin: Path) -> bool:
    """Whether there is a daemon to ask; whether it may be asked is found, and said, by asking."""
    try:
        AdminClient(admin).dial().close()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError:
        pass
    return True


def _spool_of(whom: Whom) -> Path:
    """Return the spool of the daemon that does not answer, as its configuration says."""
    words = f"the daemon does not answer on {whom.admin}; is it running?"
    hint = "name the spool of a stopped one with --spool"
    configuration, complaint = _configuration(whom.config)
    if configuration is None:
        raise AdminError(f"{words} ({complaint}: {hint})", UNREACHABLE)
    if configuration.settings.http.admin != whom.admin:
        # It would be the spool of another daemon.
        named = f"{whom.config} is of one that answers on {configuration.settings.http.admin}"
        raise AdminError(f"{words} ({named}: {hint})", UNREACHABLE)
    return configuration.settings.spool.path


def _configuration(path: Path) -> tuple[Configuration | None, str]:
    """Return the configuration, or why there is none."""
    from relay.config.complaint import ConfigurationError  # noqa: PLC0415 - pydantic, 0.2 s
    from relay.config.loader import load  # noqa: PLC0415 - likewise

    if not path.exists():
        return None, f"there is no {path}"
    try:
        return load(path, generation=1, environ=os.environ), ""
    except ConfigurationError as error:
        return None, f"{path} cannot be used: {error.complaints[0]}"


@contextmanager
def _stopped(whom: Whom, spool: Path, name: Path) -> Iterator[AdminClient]:
    from relay.offline import NoSpoolError, stopped_spool  # noqa: PLC0415 - most of the daemon
    from relay.ports import SpoolError  # noqa: PLC0415 - likewise

    try:
        with stopped_spool(spool, _senders_of(whom.config, spool)) as connect:
            yield AdminClient(name, connect)
    except NoSpoolError as error:
        raise AdminError(str(error), UNREACHABLE if whom.spool is None else USAGE) from error
    except SpoolError as error:
        is_denied = isinstance(error.__cause__, PermissionError)
        raise AdminError(str(error), NOT_ALLOWED if is_denied else TRY_LATER) from error


def _senders_of(config: Path, spool: Path) -> Collection[SenderName] | None:
    """Return the senders configured for a spool, if it is the configuration's."""
    configuration, _ = _configuration(config)
    if configuration is None or configuration.settings.spool.path != spool.absolute():
        return None
    return configuration.ruleset().senders
