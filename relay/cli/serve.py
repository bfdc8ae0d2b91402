"""`relay serve` and `relay check`: start-up faults become words and exit codes."""

from __future__ import annotations

import os
from pathlib import Path

from relay.cli.exits import CONFIGURATION, NOT_ALLOWED, OK, TRY_LATER
from relay.cli.words import say
from relay.config.complaint import ConfigurationError
from relay.config.loader import load
from relay.ports import SpoolError, UnsafeSpoolError
from relay.service import run
from relay.service import serve as serve_until_stopped
from relay.wiring import UnusableError, certificate_of


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


def check(path: Path) -> int:
    """Validate the configuration, and the certificate it names; return an exit code."""
    try:
        configuration = load(path, generation=1, environ=os.environ)
        certificate_of(configuration)
    except (ConfigurationError, UnusableError) as error:
        return complain(error)
    for warning in configuration.warnings:
        say(f"warning: {warning}")
    say(f"{path}: ok")
    return OK


def complain(error: Exception) -> int:
    """Say what is wrong with the configuration; return the exit code for it."""
    if isinstance(error, ConfigurationError):
        for complaint in error.complaints:
            say(str(complaint))
    else:
        say(f"relay: {error}")
    return CONFIGURATION
