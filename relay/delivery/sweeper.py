"""Gives up mail whose time is over and forgets what is kept no more, whatever delivery is doing.

A task of its own: a lane that hangs, a scheduler that sleeps or a SES that never answers does not
keep it. Knows when and in what order; what is over the policy says, and the store finds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

from relay.delivery.doubt import ClockDoubt
from relay.facts import Facts
from relay.mail.envelope import AccountName, SenderName
from relay.policy.expiry import PROVING, Terms
from relay.ports import Clock, Rules, SpoolError, SpoolFullError
from relay.upkeep import Group, Page, Upkeep

T = TypeVar("T")

TICK: Final = 10.0
"""Seconds between two looks at the clock, two notes of the uptime, and two returns of space."""
REST: Final = 60.0
"""Seconds from one sweep to the next, at least."""

# What is changed takes half of the writer's time at most, a few milliseconds at once, and going
# through the queue a thirtieth of all time.
_BREATH: Final = 1
_CALM: Final = 30
_LONGEST_BREATH: Final = 1.0
_LONGEST_REST: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What is swept, and by what."""

    upkeep: Upkeep
    shrink: Callable[[], Awaitable[int]]
    """Gives some of the space that nothing uses back to the disk; does nothing if that is few, or
    there is other work."""
    terms: Callable[[], Terms]
    """How long what is kept, by the configuration in force."""
    rules: Rules
    facts: Facts
    clock: Clock
    doubt: ClockDoubt
    jitter: Callable[[], float]
    """Draws from [0, 1)."""
    on_due: Callable[[SenderName], None]
    """Called with the sender of mail that is due earlier than was known."""
    on_step: Callable[[], None]
    """Called when the wall clock has stepped: what was to wait may be due, whoever's it is."""
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep


class Sweeper:
    """Sweeps until told to stop."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._began = ground.clock.monotonic()
        self._due = self._began
        self._note_due = self._began
        self._steps_seen = 0
        self._told_held_long = 0
        self._is_sick = False
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Sweep until `stop` is called. What goes wrong is told, and tried again."""
        while not self._stop.is_set():
            try:
                await self.tick()
            except SpoolFullError:
                # No fault of ours, and told already; what is not swept now is swept later.
                self._is_sick = True
            except Exception as error:  # noqa: BLE001 - a fault today must not end all sweeping
                # Once for each time it falls sick, not for each try.
                if not self._is_sick:
                    self._ground.facts.fault("sweeper", error)
                self._is_sick = True
            else:
                self._is_sick = False
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._stop.wait()

    def stop(self) -> None:
        """End once what is being done is done."""
        self._stop.set()

    async def tick(self) -> None:
        """Give space back, look at the clock, note the uptime, and sweep if it is time."""
        ground = self._ground
        # First of all: it keeps still if anything has been written within the last second.
        # That the disk refuses it is told, and hinders nothing else.
        with suppress(SpoolError):
            await ground.shrink()
        ground.doubt.may_expire()
        began = ground.clock.monotonic()
        if self._steps_seen != ground.doubt.steps:
            self._steps_seen = ground.doubt.steps
            ground.on_step()
            self._due = began
        await self._note_time()
        if began >= self._due:
            await self.sweep()
            ended = ground.clock.monotonic()
            self._due = ended + min(max(REST, (ended - began) * _CALM), _LONGEST_REST)

    async def sweep(self) -> None:
        """Go through the whole queue once, and through what of the history is old."""
        ground = self._ground
        terms = ground.terms()
        overdue, held_long = timedelta(0), 0
        start: int | None = 0
        full: SpoolFullError | None = None
        while start is not None:
            page = await ground.upkeep.look(start, terms, now=ground.clock.now())
            await self._purge(page.spent, terms)
            try:
                await self._tend(page, terms)
            except SpoolFullError as error:
                # What is forgotten on the pages to come may be the room that is wanted.
                full = error
            overdue = max(overdue, page.overdue)
            held_long += page.held_long
            start = page.next
            if self._stop.is_set():
                return
        if full is not None:
            raise full
        if held_long > self._told_held_long:
            ground.facts.held_long(held_long, terms.held_lifetime)
        self._told_held_long = held_long
        ground.facts.swept(ground.clock.now(), overdue, held_long)
        # Only now: trouble with the record is none of the queue's.
        while self._is_dated() and await self._gently(
            ground.upkeep.forget(terms, now=ground.clock.now())
        ):
            pass

    async def _tend(self, page: Page, terms: Terms) -> None:
        """Have mail due and give mail up as a page asks for, a little at a time."""
        ground, upkeep, clock = self._ground, self._ground.upkeep, self._ground.clock
        for group in page.far:
            nearing = upkeep.bring_near(group, terms, now=clock.now(), jitter=ground.jitter)
            for sender in await self._gently(nearing):
                ground.on_due(sender)
        for group in page.expiring:
            if self._stop.is_set() or not ground.doubt.may_expire():
                break
            for one in await self._gently(upkeep.expire(group, terms, now=clock.now())):
                account = self._account_of(one.mail.sender)
                for recipient, failed in one.outcomes.items():
                    ground.facts.expired(account, one.mail, recipient, failed)

    async def _purge(self, spent: Sequence[Group], terms: Terms) -> None:
        ground = self._ground
        for group in spent:
            if self._stop.is_set():
                break
            purging = ground.upkeep.purge(group, terms, now=ground.clock.now())
            for mail in await self._gently(purging):
                ground.facts.purged(mail)

    def _account_of(self, name: SenderName) -> AccountName | None:
        sender = self._ground.rules.current.senders.get(name)
        return None if sender is None else sender.route.account

    def _is_dated(self) -> bool:
        """Whether what the wall clock calls old is old, and there is time to forget it."""
        up = timedelta(seconds=self._ground.clock.monotonic() - self._began)
        return up >= PROVING and self._ground.doubt.may_expire() and not self._stop.is_set()

    async def _gently(self, work: Awaitable[T]) -> T:
        """Do a piece of work, and then leave the writer to mail for a while."""
        await self._note_time()
        ground = self._ground
        began = ground.clock.monotonic()
        done = await work
        if not self._stop.is_set():
            took = ground.clock.monotonic() - began
            await ground.sleep(min(took * _BREATH, _LONGEST_BREATH))
        return done

    async def _note_time(self) -> None:
        now = self._ground.clock.monotonic()
        if now >= self._note_due:
            self._note_due = now + TICK
            await self._ground.upkeep.note_time()
