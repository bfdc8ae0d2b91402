"""What a reload puts in force: configuration, rules and certificates, all or nothing.

Part of the composition root. Knows no part of the daemon but those that read what is in force.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from relay.config.complaint import ConfigurationError
from relay.config.configuration import Configuration
from relay.config.loader import load
from relay.facts import Facts
from relay.observe.metrics import Metrics
from relay.policy.ruleset import Ruleset
from relay.smtp.tls import TlsInForce
from relay.web.admin import Reloaded
from relay.wiring import UnusableError, needs_restart, tls_contexts


class RulesInForce:
    """The current ruleset; swapped whole by a reload."""

    def __init__(self, ruleset: Ruleset) -> None:
        self.current = ruleset


class InForce:
    """The configuration in force, and what is made of it that a reload replaces.

    Raises ConfigurationError or UnusableError when the file is no good at the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.configuration = load(path, generation=1, environ=os.environ)
        self.tls = {
            name: TlsInForce(context) for name, context in tls_contexts(self.configuration).items()
        }
        self.rules = RulesInForce(self.configuration.ruleset())

    def read_again(self) -> tuple[Configuration, Callable[[], None]]:
        """Read the file; return what it says, and what puts that in force at one stroke.

        Raises ConfigurationError or UnusableError, and nothing has changed. Reads files: to be
        called in a thread.
        """
        generation = self.configuration.generation + 1
        found = load(self._path, generation=generation, environ=os.environ)
        ruleset = found.ruleset()
        complaints = needs_restart(self.configuration, found)
        if complaints:
            raise UnusableError(complaints)
        # All of them, before the first is in force.
        contexts = tls_contexts(found)

        def enforce() -> None:
            self.configuration = found
            # With the rules: what names a client is half here and half there.
            for name, context in contexts.items():
                self.tls[name].current = context
            self.rules.current = ruleset

        return found, enforce


class Reloading:
    """Reloads one after another, and tells how each went.

    `settle` is awaited once new rules are in force; it returns warnings for whoever asked.
    """

    def __init__(
        self,
        in_force: InForce,
        metrics: Metrics,
        facts: Facts,
        settle: Callable[[], Awaitable[list[str]]],
    ) -> None:
        self._in_force = in_force
        self._metrics = metrics
        self._facts = facts
        self._settle = settle
        self._one_at_a_time = asyncio.Lock()

    def begun(self) -> None:
        """Take note that the first configuration is in force."""
        self._succeeded()

    async def reload(self) -> Reloaded:
        """Put a new configuration in force, all or nothing."""
        async with self._one_at_a_time:
            try:
                found, enforce = await asyncio.to_thread(self._in_force.read_again)
            except ConfigurationError as error:
                return self._refuse(tuple(str(complaint) for complaint in error.complaints))
            except UnusableError as error:
                return self._refuse(error.complaints)
            enforce()
            self._succeeded()
            warnings = [str(warning) for warning in found.warnings]
            warnings += await self._settle()
            for warning in warnings:
                self._facts.service("configuration_warning", complaint=warning)
            self._facts.service("reloaded", generation=found.generation)
            return Reloaded((), tuple(warnings))

    def _refuse(self, complaints: tuple[str, ...]) -> Reloaded:
        self._metrics.reload_successful.set(False)
        self._facts.service("reload_refused", complaints="; ".join(complaints))
        return Reloaded(complaints, ())

    def _succeeded(self) -> None:
        self._metrics.reload_successful.set(True)
        self._metrics.reload_at.set(time.time())
        tls = self._in_force.tls
        if tls:
            expiry = min(one.current.expires_at for one in tls.values())
            self._metrics.certificate_expiry.set(expiry.timestamp())
