"""What a reload puts in force: configuration, rules and certificates, all or nothing.

Part of the composition root. Knows no part of the daemon but those that read what is in force; what
else a reload changes prepares itself, and is put in force at the same stroke.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from relay.config.complaint import ConfigurationError
from relay.config.configuration import Configuration
from relay.config.difference import differences
from relay.config.loader import load
from relay.facts import Facts
from relay.observe.metrics import Metrics
from relay.policy.ruleset import Ruleset
from relay.smtp.tls import TlsInForce
from relay.supervisor import Supervisor
from relay.web.admin import Reloaded
from relay.wiring import UnusableError, needs_restart, tls_contexts

_OVER: Final = ("the relay is being stopped: its next start reads the file",)


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a reload, ready: one of the two follows."""

    enact: Callable[[], None]
    """Puts it in force; waits for nothing, and cannot fail."""
    undo: Callable[[], Awaitable[None]]


Prepare: TypeAlias = Callable[[Configuration], Awaitable[Step]]
"""Makes a step ready; raises UnusableError, or OSError where the machine refuses."""


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
            for name in [name for name in self.tls if name not in contexts]:
                del self.tls[name]
            for name, context in contexts.items():
                if name in self.tls:
                    self.tls[name].current = context
                else:
                    self.tls[name] = TlsInForce(context)
            self.rules.current = ruleset

        return found, enforce


class Reloading:
    """Reloads one after another, and tells how each went.

    `prepares` are the parts that change with the rules. `settle` is awaited once all is in force,
    with what was before; it returns warnings for whoever asked.
    """

    def __init__(
        self,
        in_force: InForce,
        metrics: Metrics,
        facts: Facts,
        supervisor: Supervisor,
        *,
        prepares: Sequence[Prepare],
        settle: Callable[[Configuration], Awaitable[list[str]]],
    ) -> None:
        self._in_force = in_force
        self._metrics = metrics
        self._facts = facts
        self._supervisor = supervisor
        self._prepares = prepares
        self._settle = settle
        self._one_at_a_time = asyncio.Lock()
        self._is_over = False

    def begun(self) -> None:
        """Take note that the first configuration is in force."""
        self._succeeded()

    def end(self) -> None:
        """Put nothing in force any more: what has been closed must not be opened again."""
        self._is_over = True

    async def reload(self) -> Reloaded:
        """Put a new configuration in force, all or nothing."""
        async with self._one_at_a_time:
            if self._is_over:
                return await self._refuse((), _OVER)
            self._supervisor.reloading()
            was = self._in_force.configuration.generation
            try:
                reloaded = await self._reload()
            finally:
                now = self._in_force.configuration.generation
                refused = "" if now > was else "; the reload was refused"
                # Ready is no word for what is being stopped.
                if not self._is_over:
                    self._supervisor.ready(f"configuration {now} is in force{refused}")
            return reloaded

    async def _reload(self) -> Reloaded:
        steps: list[Step] = []
        try:
            found, enforce = await asyncio.to_thread(self._in_force.read_again)
            for prepare in self._prepares:
                steps.append(await prepare(found))  # noqa: PERF401 - undone one by one, too
        except ConfigurationError as error:
            return await self._refuse(steps, tuple(str(one) for one in error.complaints))
        except UnusableError as error:
            return await self._refuse(steps, error.complaints)
        except OSError as error:
            return await self._refuse(steps, (error.strerror or str(error),))
        except BaseException:
            await self._undo(steps)
            raise
        if self._is_over:
            return await self._refuse(steps, _OVER)
        before = self._in_force.configuration
        enforce()
        for step in steps:
            step.enact()
        self._succeeded()
        warnings = [str(warning) for warning in found.warnings]
        warnings += await self._settle(before)
        for warning in warnings:
            self._facts.service("configuration_warning", complaint=warning)
        changes = "; ".join(differences(before, found)) or "none"
        self._facts.service("reloaded", generation=found.generation, changes=changes)
        return Reloaded((), tuple(warnings))

    async def _refuse(self, steps: Sequence[Step], complaints: tuple[str, ...]) -> Reloaded:
        await self._undo(steps)
        self._metrics.reload_successful.set(False)
        self._facts.service("reload_refused", complaints="; ".join(complaints))
        return Reloaded(complaints, ())

    async def _undo(self, steps: Sequence[Step]) -> None:
        for step in steps:
            await step.undo()

    def _succeeded(self) -> None:
        self._metrics.reload_successful.set(True)
        self._metrics.reload_at.set(time.time())
        for name, tls in self._in_force.tls.items():
            self._metrics.certificate_expiry[name].set(tls.current.expires_at.timestamp())
