"""Whose mail is attempted next. Starts attempts as lanes, pace and fairness allow.

Knows senders and times, not mail: it sleeps until something is due, asks the queue for that many
entries of those senders, and gives each to an Attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import nullcontext
from datetime import datetime
from math import inf
from typing import Final, NamedTuple

from relay.delivery.attempt import Attempt, give_back, hold
from relay.delivery.calls import Desk
from relay.delivery.gate import Gate
from relay.delivery.handover import LEASE, Handover
from relay.delivery.limits import SenderLimits
from relay.delivery.lobby import Lobby
from relay.mail.envelope import AccountName, SenderName
from relay.policy.allowance import Allowances
from relay.policy.ruleset import Ruleset
from relay.policy.sender import CALL, Sender
from relay.ports import Claim, Rules, SpoolError

# While the spool is sick: how soon it is asked again, in seconds.
SPOOL_AGAIN: Final = 1.0
# How long a sender rests whose outcomes cannot be recorded, in seconds: what goes out meanwhile may
# go out again.
UNRECORDED_REST: Final = 300.0
# What a drain waits for at most, in seconds: longer than a call of 40 MB may take, 126.
DRAIN_LIMIT: Final = 130.0
_FAR: Final = 3600.0


class Deal(NamedTuple):
    """What is to be claimed of whom, for one account; without one, to be held."""

    account: AccountName | None
    wants: dict[SenderName, int]
    room: int
    """For about how many recipients."""


class Scheduler:
    """Runs attempts until told to drain."""

    def __init__(
        self,
        desk: Desk,
        rules: Rules,
        gates: Mapping[AccountName, Gate],
        allowances: Allowances,
        lobby: Lobby | None = None,
    ) -> None:
        self._desk = desk
        self._lobby = Lobby() if lobby is None else lobby
        self._limits = SenderLimits(allowances, desk.clock)
        self._rules = rules
        self._gates = gates
        self._wake = asyncio.Event()
        self._draining = False
        self._drained_by = inf
        self._awaits_spool = False
        self.rounds = 0
        """How often it has come round."""
        # Senders that may have something due now, and those that will at a known time.
        self._awake: set[SenderName] = set()
        self._due: dict[SenderName, datetime] = {}
        self._attempts: set[asyncio.Task[None]] = set()
        # Senders whose outcomes could not be recorded, and when they are tried again.
        self._resting_until: dict[SenderName, float] = {}
        self._resting = asyncio.Event()
        self._resting.set()

    @property
    def in_flight(self) -> int:
        """Attempts under way."""
        return len(self._attempts)

    @property
    def is_draining(self) -> bool:
        """Whether nothing more is started."""
        return self._draining

    def ping(self) -> None:
        """Have it come round though there is nothing to do."""
        # Where it waits for the spool that has to answer, and one that has ended owes no answer.
        if self._awaits_spool or self._resting.is_set():
            self.rounds += 1
        self._wake.set()

    def notice(self, sender: SenderName) -> None:
        """Note that the sender has mail that may be due."""
        self._awake.add(sender)
        self._wake.set()

    def rouse(self) -> None:
        """Take note that somebody waits in the lobby."""
        self._wake.set()

    def look_again(self) -> None:
        """Note that what was to wait may be due: the clock it waited by has stepped."""
        self._awake.update(self._due)
        self._due.clear()
        self._wake.set()

    async def run(self) -> None:
        """Start attempts until `drain` is called."""
        self._resting.clear()
        try:
            self._awaits_spool = True
            self._awake.update(await self._known_senders())
            self._awaits_spool = False
            while not self._draining:
                self.rounds += 1
                self._wake.clear()
                self._rouse()
                deals, wait = self._deals()
                for deal in deals:
                    await self._start(deal)
                if not deals:
                    await self._sleep(wait)
        finally:
            self._resting.set()

    async def finish(self) -> None:
        """Start nothing more; return when the attempts under way are settled, or take too long.

        A call that SES is answering is never cut off: cutting it is what makes duplicates.
        """
        self._draining = True
        self._lobby.close()
        now = self._desk.clock.monotonic()
        self._drained_by = min(self._drained_by, now + DRAIN_LIMIT)
        self._wake.set()
        # A claim under way may still bring entries; they are given back unattempted.
        await self._resting.wait()
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=max(0.0, self._drained_by - now))

    async def drain(self) -> None:
        """Let nobody ask SES any more; return when no attempt is under way."""
        for gate in self._gates.values():
            gate.close()
        await self.finish()
        for attempt in self._attempts:
            # Its outcome cannot be recorded; the mark on it says so to the next start.
            self._desk.facts.fault("drain", TimeoutError("an attempt could not be settled in time"))
            attempt.cancel()
        if self._attempts:
            await asyncio.wait(self._attempts)

    async def _known_senders(self) -> set[SenderName]:
        while not self._draining:
            try:
                return set(await self._desk.queue.senders())
            except SpoolError:
                await self._sleep(SPOOL_AGAIN)
        return set()

    def _rouse(self) -> None:
        """Move the senders whose time has come among those awake."""
        now = self._desk.clock.now()
        for name in [name for name, at in self._due.items() if at <= now]:
            del self._due[name]
            self._awake.add(name)

    def _deals(self) -> tuple[list[Deal], float]:
        """Return what to claim; if nothing, the seconds until that may change."""
        ruleset = self._rules.current
        by_account, orphans, wait = self._who_waits(ruleset)
        # Mail of removed senders is claimed only to be held, where operators see it.
        deals = [Deal(None, orphans, len(orphans) * CALL)] if orphans else []
        for account, gate in self._gates.items():
            waiting = by_account.get(account, {})
            ceilings = {}
            for name, sender in waiting.items():
                ceiling, pause = self._limits.ceiling(ruleset, sender)
                if ceiling is not None:
                    ceilings[name] = ceiling
                    wait = min(wait, pause)
            gate.note_waiting([name for name in waiting if ceilings.get(name) != 0])
            if not waiting:
                continue
            room = gate.room()
            priorities = {name: sender.priority for name, sender in waiting.items()}
            wants = gate.deal(priorities, room, ceilings) if room.attempts else {}
            if wants:
                deals.append(Deal(account, wants, room.recipients))
            else:
                wait = min(wait, room.wait)
        return deals, wait

    def _who_waits(
        self, ruleset: Ruleset
    ) -> tuple[dict[AccountName, dict[SenderName, Sender]], dict[SenderName, int], float]:
        """Return who may have mail to go by which account, and who is to have it held.

        And the seconds until those who rest may have too.
        """
        wait, now = _FAR, self._desk.clock.monotonic()
        by_account: dict[AccountName, dict[SenderName, Sender]] = {}
        orphans: dict[SenderName, int] = {}
        for name in self._awake:
            sender = ruleset.senders.get(name)
            rest = self._resting_until.get(name, now) - now
            if self._desk.is_paused(name):
                # Noticed once it is let go.
                continue
            if rest > 0:
                wait = min(wait, rest)
            elif sender is None:
                orphans[name] = CALL
            else:
                by_account.setdefault(sender.route.account, {})[name] = sender
        # Who came under older rules finishes by those.
        for sender in self._lobby.senders(self._gates):
            name = sender.name
            if not self._desk.is_paused(name):
                now_in_force = ruleset.senders.get(name, sender)
                by_account.setdefault(sender.route.account, {})[name] = now_in_force
        return by_account, orphans, wait

    async def _start(self, deal: Deal) -> None:
        if deal.account is not None and deal.account not in self._gates:
            return  # a reload has taken it away since: its senders have another
        if self._lobby and deal.account is not None:
            deal = self._serve(deal, deal.account)
            if not deal.wants:
                return
        desk, wants = self._desk, deal.wants
        now = desk.clock.now()
        gate = None if deal.account is None else self._gates[deal.account]
        self._awaits_spool = True
        try:
            with nullcontext() if gate is None else gate.keep(deal.room):
                claims = await desk.queue.claim(
                    wants, node=desk.node, now=now, lease=LEASE, chunk=CALL, room=deal.room
                )
        except SpoolError:
            await self._sleep(SPOOL_AGAIN)
            return
        finally:
            self._awaits_spool = False
        ruleset = self._rules.current
        taken, called = dict.fromkeys(wants, 0), 0
        for claim in claims.taken:
            taken[claim.mail.sender] += 1
            called += claim.marked
            self._launch(claim, ruleset)
        for name, wanted in wants.items():
            if name in claims.next_due:
                self._due[name] = claims.next_due[name]
            # A sender that got less than it wanted has no more that is due, unless the others had
            # the room. A notice that came while we claimed set the event: it is looked at again.
            if taken[name] < wanted and called < deal.room and not self._wake.is_set():
                self._awake.discard(name)

    def _serve(self, deal: Deal, account: AccountName) -> Deal:
        """Hand over mail whose clients wait; return what is left to be claimed of the queue."""
        left: dict[SenderName, int] = {}
        room = deal.room
        for name, lanes in deal.wants.items():
            has_more = name in self._awake
            most = self._lobby.share(name, lanes) if has_more else lanes
            served = 0
            while served < most and room > 0:
                handover = self._lobby.take(name, account)
                if handover is None:
                    break
                self._hand_over(handover)
                served += 1
                room -= handover.recipients
            if has_more and served < lanes:
                left[name] = lanes - served
        return Deal(account, left if room > 0 else {}, room)

    def _hand_over(self, handover: Handover) -> None:
        sender, gate = handover.sender, self._gates[handover.sender.route.account]
        self._limits.charge(sender, handover.generation, handover.recipients)
        task = self._run(handover.run(gate), sender, handover.recipients)
        self._attempts.add(task)
        task.add_done_callback(
            lambda done: self._ended(done, sender.name, is_queued=handover.is_kept)
        )

    def _run(
        self, work: Coroutine[None, None, None], sender: Sender, recipients: int
    ) -> asyncio.Task[None]:
        """Make calls, the first of which is for so many recipients."""
        gate = self._gates[sender.route.account]
        # Lane and tokens are taken before the task runs, or the next deal would see them free.
        lane = gate.enter(sender.name, sender.priority)
        gate.spend(sender.name, sender.priority, recipients)
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _: gate.leave(lane))
        return task

    def _launch(self, claim: Claim, ruleset: Ruleset) -> None:
        name = claim.mail.sender
        sender = ruleset.senders.get(name)
        if self._draining or self._desk.is_paused(name):
            task = asyncio.create_task(give_back(self._desk, claim))
            task.add_done_callback(lambda done: self._ended(done, name))
        elif sender is None:
            task = asyncio.create_task(hold(self._desk, claim, "sender-removed"))
            task.add_done_callback(lambda done: self._ended(done, name))
        else:
            if sender.limits.is_paced:
                # What is retried was counted before.
                fresh = sum(claim.attempts[address] == 1 for address in claim.recipients)
                self._limits.charge(sender, ruleset.generation, fresh)
            gate = self._gates[sender.route.account]
            attempt = Attempt(self._desk, gate, claim, ruleset, sender)
            task = self._run(attempt.run(), sender, claim.marked)
            task.add_done_callback(
                lambda done: self._ended(done, name, must_rest=attempt.is_unrecorded)
            )
        self._attempts.add(task)

    def _ended(
        self,
        task: asyncio.Task[None],
        name: SenderName,
        *,
        must_rest: bool = False,
        is_queued: bool = True,
    ) -> None:
        self._attempts.discard(task)
        if must_rest:
            self._resting_until[name] = self._desk.clock.monotonic() + UNRECORDED_REST
        # Its lane is free; and if it is in the queue, what was deferred has a new due time.
        if is_queued:
            self._awake.add(name)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._desk.facts.fault("scheduler", error)

    async def _sleep(self, seconds: float) -> None:
        due = min(self._due.values(), default=None)
        if due is not None:
            seconds = min(seconds, (due - self._desk.clock.now()).total_seconds())
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()
        except TimeoutError:
            pass
