"""The composition root: the only place that names concrete adapters.

Knows the order in which parts start and stop. Start never waits for AWS; stop never cuts off a call
that SES is answering.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final, Self

from relay import __version__
from relay.accounts import Accounts
from relay.activation import Inherited
from relay.clock import SystemClock
from relay.config.configuration import Configuration
from relay.delivering import Delivering
from relay.delivery.pauses import Pauses
from relay.feedback.certificate import HttpsSnsGateway, SnsGateway
from relay.feedback.intake import BODY_LIMIT
from relay.feeding import Feeding, wants_callbacks
from relay.observe.logs import Render
from relay.observe.metrics import CONTENT_TYPE
from relay.observing import Observing
from relay.passing import Passage
from relay.policy.allowance import Allowances
from relay.policy.retry import AMBIGUOUS_WITHOUT_EVENTS
from relay.ports import SpoolError
from relay.progress import draining, starting
from relay.pulse import Part, Pulse
from relay.readmission import Readmission
from relay.reloading import InForce, Reloading, Step
from relay.serving import Serving
from relay.smtp.auth import Verifier
from relay.smtp.frontdoor import FrontDoor, Surroundings
from relay.status import Status
from relay.store import Store
from relay.supervisor import Supervisor
from relay.vitals import Vitals
from relay.watching import Watching
from relay.web.admin import Desk as AdminDesk
from relay.web.admin import admin
from relay.web.monitoring import monitoring
from relay.web.webhook import webhook
from relay.wiring import (
    UnusableError,
    listener_settings,
    naming,
    node,
    queue_desk,
    revoked,
    sender_desk,
    shown_configuration,
    terms,
)

# How long clients in DATA may take to finish once we stop. Meanwhile others wait in the sockets
# that systemd keeps, and few wait longer for a greeting than 30 seconds.
DRAIN_GRACE: Final = 15.0  # seconds


class Daemon:
    """The relay, from configuration to the last settled attempt.

    `gateway` replaces the way to SNS and `render` the log's format; the demo uses both. `inherited`
    are the sockets that systemd keeps, `supervisor` is told how it goes. Raises ConfigurationError
    or UnusableError, or OSError and SpoolError where the machine refuses.
    """

    def __init__(
        self,
        path: Path,
        *,
        gateway: SnsGateway | None = None,
        render: Render | None = None,
        inherited: Inherited | None = None,
        supervisor: Supervisor | None = None,
    ) -> None:
        self._in_force = InForce(path)
        self._inherited = inherited or Inherited()
        self._refuse_strays(self.configuration)
        self._supervisor = supervisor or Supervisor()
        self._clock = SystemClock()
        self._observing = Observing(self.configuration, self._clock, render)
        self.metrics, self.facts = self._observing.metrics, self._observing.facts
        self._rules = self._in_force.rules
        self._allowances = Allowances()
        self._gateway = gateway or HttpsSnsGateway(self._clock.monotonic)
        self._failed = asyncio.Event()
        self._stack = AsyncExitStack()
        self._serving = Serving(self._stack, self.facts, self._inherited)
        self._accounts = Accounts(self.metrics.know_accounts, self.facts, self._clock)
        self._reloading = Reloading(
            self._in_force,
            self.metrics,
            self.facts,
            self._supervisor,
            prepares=(self._observing.prepare, self._prepare_listeners, self._accounts.prepare),
            settle=self._settle,
        )
        self.reload = self._reloading.reload

    @property
    def configuration(self) -> Configuration:
        """The configuration in force."""
        return self._in_force.configuration

    async def __aenter__(self) -> Self:
        try:
            async with starting(self._supervisor):
                await self._start()
        except BaseException:
            await self._stack.aclose()
            self._observing.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish what is under way, take no more mail, and let go of everything."""
        self.vitals.is_draining = True
        self._reloading.end()
        try:
            async with draining(self._supervisor, self.facts, self._under_way):
                # As long as SES takes to answer, clients are served: mail is safe in the spool.
                await self._scheduler.finish()
                await self._stack.aclose()
        finally:
            self.facts.service("stopped", queued=self._left)
            self._observing.close()

    async def _start(self) -> None:
        settings, stack, facts = self.configuration.settings, self._stack, self.facts
        for warning in self.configuration.warnings:
            facts.service("configuration_warning", complaint=str(warning))
        facts.logger.debug("relay.configuration", settings=self.configuration.redacted())
        self._reloading.begun()

        self._left = 0
        accounts = self._accounts
        prepared = accounts.open(self.configuration)
        # Should the spool refuse; else they are closed before it.
        stack.push_async_callback(accounts.close)
        self._store = store = await Store.open(
            settings.spool.path,
            clock=self._clock,
            facts=facts,
            node=node(),
            ambiguous_wait=AMBIGUOUS_WITHOUT_EVENTS,
            min_free=settings.spool.min_free,
            unsafe=settings.spool.unsafe,
            wants_callbacks=wants_callbacks(lambda: self.configuration),
        )
        stack.push_async_callback(store.close)
        stack.push_async_callback(self._count_what_is_left)
        store.on_death = lambda _: self._failed.set()

        await prepared
        accounts.start()
        stack.push_async_callback(accounts.close)
        self.vitals = Vitals(
            store,
            accounts.by_name.values(),
            accounts.gates,
            self._observing,
            self._in_force.tls,
            self._clock,
        )
        self._watch(self._observing.run(lambda: accounts.gates), "observing", may_end=True)
        self._watching = Watching(
            self._observing,
            store,
            self._rules,
            self._clock,
            is_paused=lambda name: name in self.vitals.paused,
            configuration=lambda: self.configuration,
            sessions=self.vitals.sessions,
        )
        self.vitals.probed_at = lambda: self._watching.probed_at

        feeding = Feeding(
            store, lambda: self.configuration, self._gateway, facts=facts, clock=self._clock
        )
        delivering = Delivering(
            store,
            self._rules,
            accounts.gates,
            self._allowances,
            node=node(),
            terms=lambda: terms(self.configuration),
            events_seen=feeding.effects.events_seen,
            facts=facts,
            clock=self._clock,
        )
        self._scheduler = delivering.scheduler
        self._feel_the_pulse()
        self._readmission = Readmission(
            store.queue, self._rules, self._scheduler.notice, facts=facts, clock=self._clock
        )
        self._watch(self._readmission.readmit(), "readmission", may_end=True)
        await delivering.start(self._watch, stack)
        self.vitals.paused = delivering.pauses.in_force
        self.vitals.circuits = feeding.start(delivering.pauses, self._watch, stack)
        await self._serve_http(feeding, delivering.pauses)
        await self._open_front_door(delivering.passages)
        self._watching.start(partial(self._watch, may_end=True))
        facts.service("started", version=__version__, generation=1, pid=os.getpid())

    def _under_way(self) -> tuple[int, int]:
        """Return how many calls to SES, and how many sessions, there are."""
        return self._scheduler.in_flight, self.front_door.open_sessions

    def _feel_the_pulse(self) -> None:
        parts: dict[str, Part] = {"writer": self._store.writer, "scheduler": self._scheduler}
        pulse = Pulse(parts, self._supervisor, facts=self.facts, clock=self._clock)
        self.vitals.pulse = pulse
        self._watch(pulse.run(), "pulse", may_end=True)
        for writer in (self._store.writer, self._store.record_writer):
            self._watch(writer.watch(), "disk", may_end=True)

    async def _serve_http(self, feeding: Feeding, pauses: Pauses) -> None:
        http, facts, serving = self.configuration.settings.http, self.facts, self._serving
        vitals = self.vitals
        app = monitoring(vitals.exposition, CONTENT_TYPE, vitals.checks, vitals.complaint)
        self.metrics_port = await serving.listen(app, "metrics", http.metrics)
        store, clock, rules, notice = self._store, self._clock, self._rules, self._scheduler.notice
        desk = AdminDesk(
            queue=queue_desk(store, facts, clock, lambda: rules.current.senders, notice),
            suppressions=feeding.suppression_desk(),
            callbacks=feeding.callback_desk(),
            reload=self.reload,
            status=Status(
                self.vitals, store, self._observing, clock, lambda: list(rules.current.senders)
            ),
            accounts=self.vitals.accounts,
            configuration=lambda: shown_configuration(self.configuration),
            health=self.vitals.health,
            senders=sender_desk(
                store, facts, clock, lambda: rules.current.senders, pauses, self.vitals.circuits
            ),
            watching=self._watching.desk(),
        )
        await serving.listen_unix(admin(desk), "admin", http.admin)
        # Before the site is closed: no order is begun that nobody waits for.
        self._stack.callback(desk.queue.orders.stop)
        self._stack.callback(self._watching.stop)

        if http.webhook is not None:
            app = webhook(feeding.intake.take_in, BODY_LIMIT)
            self.webhook_port = await serving.listen(app, "webhook", http.webhook)

    async def _open_front_door(self, passage: Passage) -> None:
        verifier = Verifier(self._clock)
        self._stack.callback(verifier.close)
        listeners = listener_settings(self.configuration)
        self.metrics.know_listeners(listener.name for listener in listeners)
        self.metrics.know_tls(self._in_force.tls)
        self.front_door = front_door = FrontDoor(
            listeners,
            Surroundings(
                rules=self._rules,
                spool=self._store.spool,
                suppressions=self._store.suppressions,
                facts=self.facts,
                clock=self._clock,
                verifier=verifier,
                allowances=self._allowances,
                tls=self._in_force.tls,
                passage=passage,
                tracing=self._watching.tracing,
            ),
            {one.name: self._inherited.of(one.name) for one in listeners},
        )
        with naming("listeners"):
            await front_door.start()
        self._stack.push_async_callback(front_door.drain, DRAIN_GRACE, self._scheduler.drain)
        self.vitals.front_door = front_door
        for name, port in front_door.ports.items():
            self.facts.service("listening", smtp=name, port=port)

    async def _prepare_listeners(self, found: Configuration) -> Step:
        self._refuse_strays(found)
        settings = listener_settings(found)
        with naming("listeners"):
            change = await self.front_door.prepare(settings)

        def enact() -> None:
            self.metrics.know_listeners(one.name for one in settings)
            self.metrics.know_tls(self._in_force.tls)
            change.enact()

        async def undo() -> None:
            change.undo()

        return Step(enact, undo)

    def _refuse_strays(self, configuration: Configuration) -> None:
        """Raise UnusableError where systemd listens for somebody who is not there."""
        settings = configuration.settings
        names, has_webhook = [o.name for o in settings.listeners], settings.http.webhook is not None
        if complaints := tuple(self._inherited.complaints(names, has_webhook=has_webhook)):
            raise UnusableError(complaints)

    async def wait(self, stop: asyncio.Event) -> bool:
        """Return once told to stop (True) or once a part of ours died (False)."""
        waits = [asyncio.create_task(event.wait()) for event in (stop, self._failed)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for one in waits:
            one.cancel()
        return not self._failed.is_set()

    async def _settle(self, before: Configuration) -> list[str]:
        """Act on new rules; return what whoever asked for them should know."""
        self.vitals.generation = self.configuration.generation
        self.front_door.revoke(revoked(before, self.configuration))
        orphaned = await self._readmission.orphaned()
        await self._readmission.readmit()
        return orphaned

    async def _count_what_is_left(self) -> None:
        # To say how much is left is no reason to fail at the last.
        with contextlib.suppress(SpoolError):
            self._left = sum((await self._store.queue.counts()).values())

    def _watch(self, work: Awaitable[None], name: str, *, may_end: bool = False) -> None:
        """Run a part; one that may not end by itself stops the daemon if it does."""

        async def run() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - told with its traceback, then we stop
                self.facts.fault(name, error)
            if not (may_end or self.vitals.is_draining):
                self._failed.set()

        task = asyncio.create_task(run(), name=name)

        async def ended() -> None:
            if may_end:
                task.cancel()
            await asyncio.wait([task])

        self._stack.push_async_callback(ended)
