"""What is wrong with a configuration, said to whoever runs a verb. Does not know how it is read."""

from __future__ import annotations

from relay.cli.exits import CONFIGURATION
from relay.cli.words import say
from relay.config.complaint import ConfigurationError


def complain(error: Exception) -> int:
    """Say what is wrong with the configuration; return the exit code for it."""
    if isinstance(error, ConfigurationError):
        for complaint in error.complaints:
            say(str(complaint))
    else:
        say(f"relay: {error}")
    return CONFIGURATION
