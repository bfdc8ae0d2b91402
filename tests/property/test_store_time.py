"""Whatever happens, and whatever the clock says meanwhile: mail ends in time, and never before it.

The life of a store (test_store_life) with a sweeper, downtime and clocks that step. Beside it each
mail's time is kept as rule R5 counts it: while it could be attempted, while it was held, since the
start, since it was let go.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from relay.delivery.doubt import ClockDoubt
from relay.delivery.sweeper import Ground, Sweeper
from relay.mail.address import Address
from relay.mail.entry import QueuedMail, Settled, State
from relay.mail.envelope import QueueId
from relay.mail.outcome import Ambiguous, Failed
from relay.operators import Verb
from relay.policy.expiry import OPERATOR_GRACE, PROVING, Terms
from relay.policy.steps import STEP
from relay.ports import Claim
from relay.store.states import ATTEMPTABLE
from tests.builders import a_ruleset
from tests.fakes import RecordingFacts, StaticRules
from tests.property.test_store_life import PEOPLE, Life
from tests.unit.store.stores import BILLING

NONE = timedelta(0)
ROUNDING = timedelta(milliseconds=10)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TERMS = Terms(lifetime=30 * HOUR, longest_wait=75 * MINUTE, keep_failed=10 * HOUR, history=30 * DAY)


@dataclass
class Times:
    """What R5 asks of one mail."""

    waited: timedelta = NONE
    held: timedelta = NONE
    flown: timedelta = NONE
    """In the attempt that is under way."""
    free: timedelta = NONE
    """Up and not held, since it came or was last let go."""
    failed: timedelta = NONE
    tried: set[Address] = field(default_factory=set)
    """Who had an attempt since the start and since it was let go."""
    doubtful: set[Address] = field(default_factory=set)
    """Who ever had an attempt that may have gone out."""


class Time(Life):
    """A store, a sweeper, and what each mail's time must be."""

    def __init__(self) -> None:
        super().__init__()
        self.times: defaultdict[QueueId, Times] = defaultdict(Times)
        self.up = NONE
        self.since_step: timedelta | None = None
        self.downtime = NONE
        # What the wall clock has been set by since the start, or since that was a step.
        self.offset = NONE
        self.steps = 0
        self.facts = RecordingFacts()
        self.doubt: ClockDoubt
        self.sweeper: Sweeper

    def open(self) -> None:
        self.clock.advance(self.downtime)
        self.downtime = NONE
        super().open()
        self.up, self.since_step = NONE, None
        self.offset, self.steps = NONE, 0
        for times in self.times.values():
            times.tried.clear()
            times.free = times.flown = NONE
        self.facts = RecordingFacts()
        self.doubt = ClockDoubt(self.clock, self.facts)
        ground = Ground(
            upkeep=self.spool.store.upkeep,
            shrink=self.spool.store.shrink,
            terms=lambda: TERMS,
            rules=StaticRules(a_ruleset()),
            facts=self.facts,
            clock=self.clock,
            doubt=self.doubt,
            jitter=lambda: 0.5,
            on_due=lambda _: None,
            on_step=lambda: None,
        )
        self.sweeper = Sweeper(ground)
        queue = self.spool.store.queue
        settle = queue.settle

        async def noted(
            claim: Claim, settled: Mapping[Address, Settled], **words: Any
        ) -> State | None:
            state = await settle(claim, settled, **words)
            times = self.times[claim.mail.queue_id]
            times.tried |= set(settled)
            times.doubtful |= {
                place for place, one in settled.items() if isinstance(one.outcome, Ambiguous)
            }
            return state

        queue.settle = noted  # type: ignore[method-assign]

    def lose_claims(self) -> None:
        for times in self.times.values():
            times.flown = NONE
        super().lose_claims()

    def entries(self) -> dict[QueueId, QueuedMail]:
        return {entry.mail.queue_id: entry for entry in self.do(self.spool.entries())}

    def pass_time(self, span: timedelta) -> None:
        """Let time pass while the relay is up; it notes that as it goes."""
        for queue_id, entry in self.entries().items():
            times = self.times[queue_id]
            times.free = NONE if entry.state is State.HELD else times.free + span
            if entry.state in ATTEMPTABLE:
                times.waited += span
            elif entry.state is State.HELD:
                times.held += span
            elif entry.state is State.IN_FLIGHT:
                times.flown += span
            elif entry.state is State.FAILED:
                times.failed += span
        self.up += span
        if self.since_step is not None:
            self.since_step += span
        self.clock.advance(span)
        self.do(self.spool.store.upkeep.note_time())

    def note_changes(self, before: dict[QueueId, QueuedMail]) -> None:
        """Note whom somebody has let go, and what has begun or ended."""
        for queue_id, entry in self.entries().items():
            was, times = before[queue_id].state, self.times[queue_id]
            if entry.state is State.READY and was not in (State.READY, State.IN_FLIGHT):
                times.tried.clear()
                if was not in ATTEMPTABLE:
                    times.free = NONE
            if was is State.HELD and entry.state is not State.HELD:
                times.free = NONE
            if entry.state is not State.FAILED:
                times.failed = NONE
            if entry.state is not State.IN_FLIGHT:
                times.flown = NONE

    # --- what happens ---

    @rule(count=st.integers(1, 3), chunk=st.integers(1, len(PEOPLE)), room=st.integers(1, 6))
    def claim(self, count: int, chunk: int, room: int) -> None:
        before = self.entries()
        super().claim(count=count, chunk=chunk, room=room)
        self.note_changes(before)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        before = self.entries()
        super().settle(data=data)
        self.note_ends(before)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), how=st.sampled_from(["release", "hold", "damaged"]))
    def give_back(self, data: st.DataObject, how: str) -> None:
        before = self.entries()
        super().give_back(data=data, how=how)
        self.note_ends(before)

    def note_ends(self, before: dict[QueueId, QueuedMail]) -> None:
        for queue_id, entry in self.entries().items():
            if entry.state is not before[queue_id].state:
                self.times[queue_id].flown = NONE
                self.times[queue_id].failed = NONE

    @rule(word=st.sampled_from(["deferred", "held", "ambiguous"]), fresh=st.integers(0, 2))
    def attempt(self, word: str, fresh: int) -> None:
        """One attempt at all that is due, some new mail with it, with one outcome for all."""
        for people in range(1, fresh + 1):
            self.accept(people=people, large=False)
        before = self.entries()
        for claim in self.do(self.spool.claims({BILLING: 100})).taken:
            outcomes = {place: self.outcome(word) for place in claim.recipients}
            now = self.clock.now()
            self.do(self.spool.store.queue.settle(claim, outcomes, now=now))
            self.stale.append(claim)
        self.note_changes(before)
        self.note_ends(before)

    # After what begins a time anew a sweep is the more interesting the sooner it comes.
    @precondition(lambda self: self.owed)
    @rule(data=st.data(), at_once=st.booleans())
    def retry(self, data: st.DataObject, *, at_once: bool) -> None:
        before = self.entries()
        super().retry(data=data)
        self.note_changes(before)
        self.sweep_if(at_once)

    @precondition(lambda self: self.owed)
    @rule(
        data=st.data(),
        verb=st.sampled_from(list(Verb)),
        is_bulk=st.booleans(),
        at_once=st.booleans(),
    )
    def order(
        self, data: st.DataObject, verb: Verb, *, is_bulk: bool, at_once: bool = False
    ) -> None:
        before = self.entries()
        super().order(data=data, verb=verb, is_bulk=is_bulk)
        self.note_changes(before)
        self.sweep_if(at_once)

    @rule(at_once=st.booleans())
    def readmit(self, *, at_once: bool) -> None:
        before = self.entries()
        super().readmit()
        self.note_changes(before)
        self.sweep_if(at_once)

    @rule(span=st.timedeltas(MINUTE, 40 * MINUTE) | st.timedeltas(HOUR, 20 * HOUR))
    def wait(self, span: timedelta) -> None:
        self.pass_time(span)

    @rule(hours=st.sampled_from([1, 2, 5, 24]))
    def grow_older(self, hours: int) -> None:
        self.pass_time(hours * HOUR)
        self.sweep()

    @rule(downtime=st.timedeltas(NONE, 60 * DAY), at_once=st.booleans())
    def restart(self, downtime: timedelta, *, at_once: bool) -> None:
        self.begin_downtime(downtime)
        super().restart()
        self.sweep_if(at_once)

    @rule(downtime=st.timedeltas(NONE, 60 * DAY), at_once=st.booleans())
    def crash(self, downtime: timedelta, *, at_once: bool) -> None:
        self.begin_downtime(downtime)
        super().crash()
        self.sweep_if(at_once)

    def begin_downtime(self, downtime: timedelta) -> None:
        """Note who bears the mark of an attempt that will be cut short."""
        self.downtime = downtime
        for queue_id, entry in self.entries().items():
            self.times[queue_id].doubtful |= marked(entry)

    @rule(by=st.timedeltas(-40 * DAY, 40 * DAY) | st.timedeltas(-STEP, STEP))
    def step(self, by: timedelta) -> None:
        """The wall clock is set. What is no step by itself may become one with the next."""
        self.clock.step(by)
        self.offset += by
        if abs(self.offset) > STEP:
            self.offset, self.since_step = NONE, NONE
            self.steps += 1
        self.doubt.may_expire()
        assert self.doubt.steps == self.steps

    def sweep_if(self, at_once: bool) -> None:
        if at_once:
            self.sweep()

    @rule()
    def sweep(self) -> None:
        before = self.entries()
        self.facts.told.clear()
        self.do(self.sweeper.sweep())
        assert "fault" not in self.facts.names()
        for fact, told in self.facts.told:
            if fact == "expired":
                _, mail, recipient, failed = told
                self.expired(before[mail.queue_id], recipient, failed)
            elif fact == "purged":
                self.purged(before[told[0].queue_id])
        self.note_changes(before)
        self.nothing_is_forgotten()

    @rule()
    def come_to_an_end(self) -> None:
        """With nobody to hold anything, and a relay that stays up, all mail ends."""
        for claim, waiting in list(self.claims):
            deferred = dict.fromkeys(waiting, self.spool.deferred())
            self.do(self.spool.store.queue.settle(claim, deferred, now=self.clock.now()))
            self.end(claim)
        for _ in range(3):
            self.pass_time(TERMS.lifetime)
            self.sweep()
        while claims := self.do(self.spool.claims({BILLING: 100})).taken:
            for claim in claims:
                held = dict.fromkeys(claim.recipients, self.spool.held(20 * DAY))
                self.do(self.spool.store.queue.settle(claim, held, now=self.clock.now()))
        self.pass_time(TERMS.lifetime + OPERATOR_GRACE)
        self.sweep()
        self.pass_time(TERMS.keep_failed)
        self.sweep()
        left = [e for e in self.entries().values() if e.state is not State.CORRUPT]
        # But for what an operator has been asked about.
        asked = ("sender-removed", "held by ")
        assert all(e.state is State.HELD and e.reason.startswith(asked) for e in left), left

    # --- what must be true ---

    def expired(self, entry: QueuedMail, recipient: Address, failed: Failed) -> None:
        """R5: nothing expires without an attempt since start or release, unless up and un-held."""
        times = self.times[entry.mail.queue_id]
        (one,) = [one for one in entry.recipients if one.address == recipient]
        assert self.since_step is None or self.since_step >= PROVING
        waited = times.waited
        if entry.state is State.IN_FLIGHT:
            assert times.flown >= max(TERMS.lifetime, DAY) - ROUNDING
            waited += times.flown
        if one.state is State.HELD:
            assert waited + times.held >= TERMS.lifetime + OPERATOR_GRACE - ROUNDING
        else:
            assert one.state in ATTEMPTABLE | {State.IN_FLIGHT}
            assert waited >= TERMS.lifetime - ROUNDING
        was_free = entry.state is not State.HELD and min(self.up, times.free) >= PROVING - ROUNDING
        assert recipient in times.tried or was_free
        in_doubt = recipient in times.doubtful | marked(entry)
        assert failed.reply.status == ("4.4.7" if in_doubt else "5.4.7")
        assert ("not known whether" in failed.reply.text) is in_doubt
        if entry.state is State.IN_FLIGHT:
            times.doubtful |= marked(entry)
            for claim, _ in self.claims:
                if claim.mail.queue_id == entry.mail.queue_id:
                    self.end(claim)

    def purged(self, entry: QueuedMail) -> None:
        assert entry.state is State.FAILED
        assert self.times[entry.mail.queue_id].failed >= TERMS.keep_failed - ROUNDING
        self.owed[entry.mail.queue_id] = set()

    def nothing_is_forgotten(self) -> None:
        """After a sweep nothing is left that should have ended, or that sleeps too long."""
        for queue_id, entry in self.entries().items():
            times = self.times[queue_id]
            if entry.due_at is not None:
                assert entry.due_at <= self.clock.now() + TERMS.longest_wait
            assert not (entry.state is State.FAILED and times.failed > TERMS.keep_failed + ROUNDING)
            if self.since_step is not None and self.since_step < PROVING:
                continue
            free = min(self.up, times.free) > PROVING + ROUNDING
            late = times.waited > TERMS.lifetime + ROUNDING
            assert not (entry.state in ATTEMPTABLE and late and free)
            assert not (
                entry.state is State.IN_FLIGHT
                and times.flown > max(TERMS.lifetime, DAY) + ROUNDING
                and free
            )


def marked(entry: QueuedMail) -> set[Address]:
    return {one.address for one in entry.recipients if one.state is State.IN_FLIGHT}


# Hundreds of stores are opened, each with its fsyncs.
TestTime = pytest.mark.timeout(300)(pytest.mark.P3(Time.TestCase))
TestTime.settings = settings(
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
