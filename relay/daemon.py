"""The composition root: the only place that names concrete adapters.

Knows the order in which parts start and stop. Start never waits for AWS; stop never cuts off a call
that SES is answering.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
import time
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, Self

from relay import __version__
from relay.clock import SystemClock
from relay.config.complaint import ConfigurationError
from relay.config.configuration import Configuration, ResolvedAccount
from relay.config.loader import load
from relay.delivery.attempt import Desk as DeliveryDesk
from relay.delivery.gate import Gate
from relay.delivery.scheduler import Scheduler
from relay.feedback.certificate import HttpsSnsGateway, SnsGateway
from relay.feedback.intake import BODY_LIMIT, Confirm, Intake, Topics
from relay.observe.logs import LogFormat, Render, make_logger
from relay.observe.maillog import MailLog
from relay.observe.metrics import CONTENT_TYPE, Metrics
from relay.policy.retry import AMBIGUOUS_WITHOUT_EVENTS
from relay.policy.ruleset import Ruleset
from relay.ses.account import AccountSettings, SesAccount
from relay.smtp.auth import Verifier
from relay.smtp.listener import FrontDoor, ListenerSettings, Surroundings
from relay.smtp.settings import AuthWithoutTls, TlsMode
from relay.smtp.tls import server_context
from relay.store import Store
from relay.web.admin import Desk as AdminDesk
from relay.web.admin import admin
from relay.web.monitoring import monitoring
from relay.web.site import Site
from relay.web.webhook import webhook

# How long clients in DATA may take to finish once we stop.
DRAIN_GRACE: Final = 30.0  # seconds


class RulesInForce:
    """The current ruleset; swapped whole by a reload."""

    def __init__(self, ruleset: Ruleset) -> None:
        self.current = ruleset


class Daemon:
    """The relay, from configuration to the last settled attempt.

    `gateway` replaces the way to SNS and `render` the log's format; the demo uses both. Raises
    ConfigurationError, or OSError and SpoolError when the machine does not let it start.
    """

    def __init__(
        self, path: Path, *, gateway: SnsGateway | None = None, render: Render | None = None
    ) -> None:
        self._path = path
        self._gateway = gateway
        self.configuration = load(path, generation=1, environ=os.environ)
        log = self.configuration.settings.log
        self.metrics = Metrics()
        self.facts = MailLog(
            make_logger(log.level, LogFormat(log.format), render=render), self.metrics
        )
        self._rules = RulesInForce(self.configuration.ruleset())
        self._clock = SystemClock()
        self._draining = False
        self._failed = asyncio.Event()
        self._stack = AsyncExitStack()
        self._reloading = asyncio.Lock()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Take no more mail, finish what is under way, and let go of everything."""
        self._draining = True
        self.facts.service("draining", in_flight=self._scheduler.in_flight)
        await self._stack.aclose()
        self.facts.service("stopped")

    async def _start(self) -> None:
        settings, stack = self.configuration.settings, self._stack
        for warning in self.configuration.warnings:
            self.facts.service("configuration_warning", complaint=str(warning))
        surroundings_tls = self._server_context()
        self._note_reload(successful=True)

        self._store = await Store.open(
            settings.spool.path,
            clock=self._clock,
            facts=self.facts,
            node=self._node(),
            ambiguous_wait=AMBIGUOUS_WITHOUT_EVENTS,
            min_free=settings.spool.min_free,
            unsafe=settings.spool.unsafe,
        )
        stack.push_async_callback(self._store.close)
        store = self._store

        self._accounts = [self._account(found) for found in self.configuration.accounts]
        for account in self._accounts:
            await account.prepare()
            account.start()
            stack.push_async_callback(account.close)
        self._gates = {
            account.name: Gate(account, facts=self.facts, clock=self._clock)
            for account in self._accounts
        }
        self.metrics.know_accounts(account.name for account in self._accounts)

        intake = Intake(
            self._topics, self._gateway or HttpsSnsGateway(), store.record, self.facts, self._clock
        )
        self._scheduler = Scheduler(
            DeliveryDesk(
                queue=store.queue,
                suppressions=store.suppressions,
                facts=self.facts,
                clock=self._clock,
                node=self._node(),
                jitter=random.random,
                events_seen=intake.events_seen,
            ),
            self._rules,
            self._gates,
        )
        store.on_commit = self._scheduler.notice
        self._watch(self._scheduler.run(), "scheduler")
        stack.push_async_callback(self._scheduler.drain)

        await self._serve_http(intake)
        await self._open_front_door(surroundings_tls)
        self.facts.service("started", version=__version__, generation=1, pid=os.getpid())

    async def _serve_http(self, intake: Intake) -> None:
        http, stack = self.configuration.settings.http, self._stack
        site = Site(monitoring(self._exposition, CONTENT_TYPE, self._checks))
        self.metrics_port = await site.listen(http.metrics.host, http.metrics.port)
        stack.push_async_callback(site.close)
        self.facts.service("listening", http="metrics", port=self.metrics_port)

        site = Site(
            admin(
                AdminDesk(
                    queue=self._store.queue,
                    record=self._store.record,
                    facts=self.facts,
                    clock=self._clock,
                    reload=self.reload,
                    status=self.status,
                    on_retry=self._scheduler.notice,
                )
            )
        )
        await site.listen_unix(http.admin)
        stack.push_async_callback(site.close)
        self.facts.service("listening", http="admin", path=str(http.admin))

        if http.webhook is not None:
            site = Site(webhook(intake.take_in, BODY_LIMIT))
            self.webhook_port = await site.listen(http.webhook.host, http.webhook.port)
            stack.push_async_callback(site.close)
            self.facts.service("listening", http="webhook", port=self.webhook_port)

    async def _open_front_door(self, tls: Any) -> None:
        verifier = Verifier(self._clock)
        self._stack.callback(verifier.close)
        listeners = [
            ListenerSettings(
                name=one.name,
                host=one.address.host,
                port=one.address.port,
                tls=TlsMode(one.tls),
                auth=one.auth,
                auth_without_tls=AuthWithoutTls(one.auth_without_tls),
                max_connections=one.max_connections,
            )
            for one in self.configuration.settings.listeners
        ]
        self.metrics.know_listeners(listener.name for listener in listeners)
        self.front_door = FrontDoor(
            listeners,
            Surroundings(
                rules=self._rules,
                spool=self._store.spool,
                suppressions=self._store.suppressions,
                facts=self.facts,
                clock=self._clock,
                verifier=verifier,
                tls=tls,
            ),
        )
        await self.front_door.start()
        self._stack.push_async_callback(self.front_door.drain, DRAIN_GRACE)
        for name, port in self.front_door.ports.items():
            self.facts.service("listening", smtp=name, port=port)

    async def wait(self, stop: asyncio.Event) -> bool:
        """Return once told to stop (True) or once a part of ours died (False)."""
        waits = [asyncio.create_task(event.wait()) for event in (stop, self._failed)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for one in waits:
            one.cancel()
        return not self._failed.is_set()

    async def reload(self) -> tuple[str, ...]:
        """Put a new configuration in force, all or nothing; return the complaints if refused."""
        async with self._reloading:
            generation = self.configuration.generation + 1
            try:
                found = await asyncio.to_thread(
                    load, self._path, generation=generation, environ=os.environ
                )
            except ConfigurationError as error:
                complaints = tuple(str(complaint) for complaint in error.complaints)
            else:
                complaints = _needs_restart(self.configuration, found)
            if complaints:
                self._note_reload(successful=False)
                self.facts.service("reload_refused", complaints="; ".join(complaints))
                return complaints
            self.configuration = found
            self._rules.current = found.ruleset()
            self._note_reload(successful=True)
            self.facts.service("reloaded", generation=generation)
            return ()

    async def status(self) -> Mapping[str, Any]:
        """Return what `relay status` shows."""
        counts = await self._store.queue.counts()
        return {
            "version": __version__,
            "generation": self.configuration.generation,
            "readiness": {name: "ok" if ok else "failed" for name, ok in self._checks().items()},
            "listeners": {
                one.settings.name: f"{one.settings.host}:{one.port}, {len(one.sessions)} sessions"
                for one in self.front_door.listeners
            },
            "queue": {state.value: count for state, count in counts.items()},
            "accounts": {
                account.name: _account_words(account, self._gates[account.name])
                for account in self._accounts
            },
        }

    def _server_context(self) -> Any:
        files = self.configuration.certificate
        return None if files is None else server_context(files.certificate, files.key)

    def _account(self, found: ResolvedAccount) -> SesAccount:
        return SesAccount(
            AccountSettings(
                name=found.name,
                region=found.region,
                endpoint_url=found.endpoint_url,
                max_send_rate=found.max_send_rate,
            ),
            clock=self._clock,
            facts=self.facts,
        )

    def _topics(self) -> Topics:
        sns = self.configuration.settings.feedback.sns
        return Topics(frozenset(sns.topics), Confirm(sns.confirm))

    def _node(self) -> str:
        """Name this host in tags: the host part of its name, as SES allows it in a tag."""
        return re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:64] or "relay"

    def _checks(self) -> Mapping[str, bool]:
        return {
            "spool": self._store.spool.has_room_for(0),
            "listeners": hasattr(self, "front_door"),
            "draining": not self._draining,
        }

    async def _exposition(self) -> bytes:
        metrics = self.metrics
        for name, passes in self._checks().items():
            metrics.readiness[name].set(passes)
        for state, count in (await self._store.queue.counts()).items():
            metrics.queue[state.value].set(count)
        for reason, count in self._store.suppressions.counts().items():
            metrics.suppressed[reason.value].set(count)
        return await asyncio.to_thread(metrics.exposition)

    def _note_reload(self, *, successful: bool) -> None:
        self.metrics.reload_successful.set(successful)
        if successful:
            self.metrics.reload_at.set(time.time())

    def _watch(self, work: Awaitable[None], name: str) -> None:
        """Run a part that must not end by itself; if it does, the daemon stops."""

        async def run() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - told with its traceback, then we stop
                self.facts.fault(name, error)
            if not self._draining:
                self._failed.set()

        task = asyncio.create_task(run(), name=name)

        async def ended() -> None:
            await asyncio.wait([task])

        self._stack.push_async_callback(ended)


def _account_words(account: SesAccount, gate: Gate) -> str:
    quota = account.quota
    rate = "rate unknown" if quota is None else f"{quota.rate:g}/s"
    return f"{rate}, {gate.busy.total()} calls under way, {gate.condition()}"


def _needs_restart(old: Configuration, new: Configuration) -> tuple[str, ...]:
    """Return a complaint for each changed setting that is taken at start only."""
    before, after = old.settings, new.settings
    changed = [
        name
        for name, was, is_now in (
            ("listeners", before.listeners, after.listeners),
            ("tls", old.certificate, new.certificate),
            ("ses.accounts", old.accounts, new.accounts),
            ("spool.path", before.spool.path, after.spool.path),
            ("spool.min_free", before.spool.min_free, after.spool.min_free),
            ("http", before.http, after.http),
            ("log", before.log, after.log),
        )
        if was != is_now
    ]
    return tuple(f"{name}: a change here needs a restart" for name in changed)
