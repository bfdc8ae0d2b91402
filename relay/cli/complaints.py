"""What is wrong with a configuration, said to whoever runs a verb. Does not know how it is read."""

from __future__ import annotations

from relay.cli.exits import CONFIGURATION
from relay.cli.words import say


def complain(error: Exception) -> int:
    """Say what is wrong with the configuration; return the exit code for it."""
    for complaint in getattr(error, "complaints", (f"relay: {error}",)):
        say(str(complaint))
    return CONFIGURATION
