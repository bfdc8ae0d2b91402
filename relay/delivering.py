"""Delivery, and what keeps the queue in order beside it: built and started together.

Part of the composition root. The two share the clock's doubt and nothing else: neither waits for
the other.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

from relay.clock import boot
from relay.delivery.calls import Desk
from relay.delivery.doubt import ClockDoubt
from relay.delivery.gate import Gate
from relay.delivery.lobby import Lobby
from relay.delivery.passing import Passages
from relay.delivery.pauses import Pauses
from relay.delivery.savings import Savings
from relay.delivery.scheduler import Scheduler
from relay.delivery.sweeper import Ground, Sweeper
from relay.facts import Facts
from relay.mail.envelope import AccountName
from relay.policy.allowance import Allowances
from relay.policy.expiry import Terms
from relay.ports import Clock, Rules
from relay.store import Store


class Delivering:
    """Scheduler, sweeper, pauses and savings of one daemon."""

    def __init__(  # noqa: PLR0913 - what a composition root brings together
        self,
        store: Store,
        rules: Rules,
        gates: Mapping[AccountName, Gate],
        allowances: Allowances,
        *,
        node: str,
        terms: Callable[[], Terms],
        events_seen: Callable[[], bool],
        facts: Facts,
        clock: Clock,
    ) -> None:
        """`terms` says how long what is kept; `events_seen` whether SES has sent events of late."""
        doubt = ClockDoubt(clock, facts)
        self.pauses = Pauses(store.pauses)
        desk = Desk(
            queue=store.queue,
            suppressions=store.suppressions,
            facts=facts,
            clock=clock,
            node=node,
            jitter=random.random,
            events_seen=events_seen,
            reported=store.record.reported,
            is_paused=lambda name: self.scheduler.is_draining or self.pauses.hold(name),
            may_expire=doubt.may_expire,
        )
        lobby = Lobby()
        self.scheduler = scheduler = Scheduler(desk, rules, gates, allowances, lobby)
        self.passages = Passages(desk, store.shelf, store.spool, gates, lobby, scheduler.rouse)
        self.pauses.on_resumed = self.scheduler.notice
        ground = Ground(
            upkeep=store.upkeep,
            shrink=store.shrink,
            terms=terms,
            rules=rules,
            facts=facts,
            clock=clock,
            doubt=doubt,
            jitter=random.random,
            on_due=self.scheduler.notice,
            on_step=self.scheduler.look_again,
        )
        self.sweeper = Sweeper(ground)
        self._savings = Savings(allowances, store.notes, boot=boot(), facts=facts, clock=clock)
        store.on_commit = self.scheduler.notice

    async def start(
        self, watch: Callable[[Awaitable[None], str], None], stack: AsyncExitStack
    ) -> None:
        """Begin; `watch` runs what must not end by itself, `stack` ends it."""
        await self.pauses.recall()
        await self._savings.recall()
        stack.push_async_callback(self._savings.close)
        watch(self.scheduler.run(), "scheduler")
        stack.push_async_callback(self.scheduler.drain)
        watch(self.sweeper.run(), "sweeper")
        stack.callback(self.sweeper.stop)
