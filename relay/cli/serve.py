"""`relay serve` and `relay check`: start-up faults become words and exit codes."""

from __future__ import annotations

import os
from pathlib import Path

from relay.cli.exits import CONFIGURATION, FOUND_BAD, NOT_ALLOWED, OK, TRY_LATER
from relay.cli.words import say
from relay.config.complaint import ConfigurationError
from relay.config.loader import load
from relay.ports import SpoolError
from relay.service import run
from relay.service import serve as serve_until_stopped


def serve(path: Path) -> int:
    """Run the daemon; return an exit code."""
    try:
        return run(lambda: serve_until_stopped(path))
    except ConfigurationError as error:
        return _complain(error)
    except PermissionError as error:
        say(f"relay: not allowed: {error}")
        return NOT_ALLOWED
    except (SpoolError, OSError) as error:
        say(f"relay: cannot start: {error}")
        return TRY_LATER


def check(path: Path) -> int:
    """Validate the configuration; return an exit code."""
    try:
        configuration = load(path, generation=1, environ=os.environ)
    except ConfigurationError as error:
        return _complain(error)
    for warning in configuration.warnings:
        say(str(warning))
    say(f"{path}: ok")
    return OK


def _complain(error: ConfigurationError) -> int:
    for complaint in error.complaints:
        say(str(complaint))
    return CONFIGURATION if error.complaints else FOUND_BAD
