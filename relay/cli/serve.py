"""`relay serve` and `relay check`: start-up faults become words and exit codes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from relay.cli.complaints import complain
from relay.cli.exits import FOUND_BAD, NOT_ALLOWED, OK, TRY_LATER
from relay.cli.words import say
from relay.clock import SystemClock
from relay.config.complaint import ConfigurationError
from relay.config.configuration import Configuration
from relay.config.loader import load
from relay.inspecting import Found, inspect
from relay.ports import SpoolError, UnsafeSpoolError
from relay.service import run
from relay.service import serve as serve_until_stopped
from relay.wiring import UnusableError, inspection, tls_contexts


def serve(path: Path) -> int:
    """Run the daemon; return an exit code."""
    try:
        return run(lambda: serve_until_stopped(path))
    except (ConfigurationError, UnusableError, UnsafeSpoolError) as error:
        return complain(error)
    except (SpoolError, OSError) as error:
        say(f"relay: cannot start: {error}")
        is_denied = isinstance(error, PermissionError) or isinstance(
            error.__cause__, PermissionError
        )
        return NOT_ALLOWED if is_denied else TRY_LATER


class Looks(NamedTuple):
    """What is looked at beside the file and the TLS files it names."""

    host: bool = False
    live: bool = False


def check(path: Path, looks: Looks) -> int:
    """Validate the configuration, stage by stage; return an exit code."""
    try:
        configuration = load(path, generation=1, environ=os.environ)
        tls_contexts(configuration)
    except (ConfigurationError, UnusableError) as error:
        return complain(error)
    for warning in configuration.warnings:
        say(f"warning: {warning}")
    say(f"{path}: ok")
    return _told(looks, configuration)


def _told(looks: Looks, configuration: Configuration) -> int:
    """Say what the further stages find; return an exit code."""
    found: list[Found] = []
    if looks.host:
        found += inspect(configuration, SystemClock().now())
    if looks.live:
        from relay.surveying import survey  # noqa: PLC0415 - botocore, 0.3 s

        found += survey(configuration)
    for one in found:
        mark = {True: "ok", False: "FAILED", None: "warning"}[one.is_fine]
        say(f"{mark}: {one.words}")
    return FOUND_BAD if any(one.is_fine is False for one in found) else OK


def check_spool(path: Path) -> int:
    """Look through the spool that the configuration names; return an exit code."""
    try:
        configuration = load(path, generation=1, environ=os.environ)
    except ConfigurationError as error:
        return complain(error)
    looking, found = inspection(configuration), 0
    try:
        for damage in looking.damages():
            found += 1
            say(str(damage))
    except (SpoolError, OSError) as error:
        say(f"relay: cannot check: {error}")
        return NOT_ALLOWED if isinstance(error, PermissionError) else TRY_LATER
    place = configuration.settings.spool.path
    if looking.strays:
        say(f"{place}: {looking.strays} content files of mail not accepted yet, or never")
    say(f"{place}: {looking.entries} entries, {found or 'no'} damage found")
    return FOUND_BAD if found else OK
