"""The sweeper: mail ends in time whatever else hangs, gently, and never by a clock that stepped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from relay.delivery import sweeper as module
from relay.delivery.doubt import ClockDoubt
from relay.delivery.sweeper import REST, TICK, Ground, Sweeper
from relay.mail.entry import State
from relay.mail.envelope import AccountName, Mail, SenderName
from relay.mail.outcome import Blame
from relay.policy.expiry import PROVING, Terms, expired
from relay.ports import SpoolError, SpoolFullError
from relay.upkeep import Expired, Group, Page
from tests.builders import a_mail, a_ruleset, a_sender, an_address
from tests.fakes import FrozenClock, RecordingFacts, StaticRules
from tests.unit.store.stores import opened

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
WEEK = timedelta(weeks=1)
TERMS = Terms(timedelta(days=4), 75 * MINUTE, 7 * DAY, 30 * DAY)
NOTHING = Page((), (), (), timedelta(0), 0, None)
BILLING = SenderName("billing")


def groups(*numbers: int) -> tuple[Group, ...]:
    return tuple(Group((number,)) for number in numbers)


class FakeUpkeep:
    """Pages from a list; remembers what it was asked, and fails on cue."""

    def __init__(self, clock: FrozenClock) -> None:
        self.clock = clock
        self.pages: list[Page] = [NOTHING]
        self.asked: list[str] = []
        self.history = 0
        self.space_error: Exception | None = None
        self.error: Exception | None = None
        self.record_error: Exception | None = None
        self.takes = timedelta(0)
        """What each change takes."""
        self.then: Callable[[], object] = lambda: None
        """Called with each change."""

    async def look(self, start: int, terms: Terms, *, now: datetime) -> Page:
        if self.error is not None:
            raise self.error
        self.asked.append(f"look {start}")
        return self.pages[start]

    def _change(self, what: str) -> None:
        self.asked.append(what)
        self.clock.advance(self.takes)
        self.then()

    async def expire(self, group: Group, terms: Terms, *, now: datetime) -> Sequence[Expired]:
        self._change(f"expire {group[0]}")
        failed = expired("SES: no", in_doubt=False, blame=Blame.SERVICE)
        return [Expired(a_mail(), {an_address(): failed})]

    async def purge(self, group: Group, terms: Terms, *, now: datetime) -> Sequence[Mail]:
        self._change(f"purge {group[0]}")
        return [a_mail()]

    async def bring_near(
        self, group: Group, terms: Terms, *, now: datetime, jitter: Callable[[], float]
    ) -> Sequence[SenderName]:
        self._change(f"near {group[0]}")
        return [BILLING]

    async def forget(self, terms: Terms, *, now: datetime) -> bool:
        if self.record_error is not None:
            raise self.record_error
        self._change("forget")
        self.history -= 1
        return self.history >= 0

    async def shrink(self) -> int:
        if self.space_error is not None:
            raise self.space_error
        self.asked.append("space")
        return 0

    async def note_time(self) -> None:
        self.asked.append("note")


class Yard:
    """A sweeper with everything around it."""

    def __init__(self) -> None:
        self.clock = FrozenClock()
        self.facts = RecordingFacts()
        self.upkeep = FakeUpkeep(self.clock)
        self.due: list[SenderName] = []
        self.steps = 0
        self.slept: list[float] = []
        self.doubt = ClockDoubt(self.clock, self.facts)
        self.sweeper = Sweeper(
            Ground(
                upkeep=self.upkeep,
                shrink=self.upkeep.shrink,
                terms=lambda: TERMS,
                rules=StaticRules(a_ruleset(a_sender("billing"))),
                facts=self.facts,
                clock=self.clock,
                doubt=self.doubt,
                jitter=lambda: 0.5,
                on_due=self.due.append,
                on_step=self._stepped,
                sleep=self._sleep,
            )
        )

    def _stepped(self) -> None:
        self.steps += 1

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def told(self, name: str) -> list[tuple[Any, ...]]:
        return [args for fact, args in self.facts.told if fact == name]

    def changes(self) -> list[str]:
        return [what for what in self.upkeep.asked if what not in ("note", "space", "forget")]


@pytest.fixture(name="yard")
async def _yard() -> Yard:
    return Yard()


async def test_a_sweep_goes_through_all_pages_and_does_what_each_asks_for(yard: Yard) -> None:
    yard.upkeep.pages = [
        Page(groups(1, 2), groups(3), groups(4), MINUTE, 2, 1),
        Page((), groups(5), (), 3 * MINUTE, 1, 2),
        NOTHING,
    ]
    await yard.sweeper.tick()
    assert yard.changes() == [
        "look 0", "purge 3", "near 4", "expire 1", "expire 2", "look 1", "purge 5", "look 2"
    ]  # fmt: skip
    assert yard.due == [BILLING]
    (account, mail, recipient, failed), _ = yard.told("expired")
    assert (account, mail, recipient) == (AccountName("main"), a_mail(), an_address())
    assert failed.reason == "expired"
    assert len(yard.told("purged")) == 2
    assert yard.told("swept") == [(yard.clock.now(), 3 * MINUTE, 3)]


@pytest.mark.P5
@pytest.mark.parametrize("refused", ["near 4", "expire 1"])
async def test_on_a_full_disk_what_makes_room_is_done_on_every_page(
    yard: Yard, refused: str
) -> None:
    """The disk takes nothing new, so what is to be given up waits; what is to be forgotten goes."""
    yard.upkeep.pages = [
        Page(groups(1), groups(3), groups(4), MINUTE, 2, 1),
        Page((), groups(5), (), 3 * MINUTE, 1, None),
    ]
    full = SpoolFullError("outcomes alone are recorded")

    def refuse() -> None:
        if yard.upkeep.asked[-1] == refused:
            raise full

    yard.upkeep.then = refuse
    with pytest.raises(SpoolFullError):
        await yard.sweeper.tick()
    assert [what for what in yard.changes() if "purge" in what] == ["purge 3", "purge 5"]
    assert not yard.told("swept"), "the watchdog must know that mail is not given up"
    yard.upkeep.then = lambda: None
    await yard.sweeper.tick()
    assert yard.told("swept")


async def test_it_sweeps_once_a_minute_and_notes_the_time_more_often(yard: Yard) -> None:
    for _ in range(int(3 * REST / TICK)):
        await yard.sweeper.tick()
        yard.clock.advance(timedelta(seconds=TICK))
    assert yard.upkeep.asked.count("look 0") == 3
    assert yard.upkeep.asked.count("note") == 3 * REST / TICK


async def test_it_leaves_the_writer_to_mail_for_half_of_the_time(yard: Yard) -> None:
    yard.upkeep.pages = [Page(groups(*range(100)), (), (), MINUTE, 0, None)]
    yard.upkeep.takes = timedelta(seconds=0.02)
    await yard.sweeper.tick()
    assert yard.slept[:100] == [pytest.approx(0.02)] * 100
    # However slow the disk is, it goes on: mail must not live for ever for that.
    yard.upkeep.takes = timedelta(seconds=5)
    await yard.sweeper.sweep()
    assert yard.slept[-1] == 1.0
    # Nor does a long sweep keep the time from being noted.
    assert yard.upkeep.asked.count("note") > 40


async def test_after_a_long_sweep_it_rests_longer(yard: Yard) -> None:
    yard.upkeep.pages = [Page(groups(*range(10)), (), (), MINUTE, 0, None)]
    yard.upkeep.takes = timedelta(seconds=1)
    await yard.sweeper.tick()
    sweeps = yard.upkeep.asked.count("look 0")
    yard.clock.advance(timedelta(seconds=REST))
    await yard.sweeper.tick()
    assert yard.upkeep.asked.count("look 0") == sweeps
    yard.clock.advance(10 * MINUTE)
    await yard.sweeper.tick()
    assert yard.upkeep.asked.count("look 0") == sweeps + 1


async def test_a_sender_that_is_gone_has_no_account(yard: Yard) -> None:
    yard.upkeep.pages = [Page(groups(1), (), (), MINUTE, 0, None)]
    yard.sweeper._ground.rules.current = a_ruleset(a_sender("other"))  # type: ignore[misc]
    await yard.sweeper.sweep()
    assert yard.told("expired")[0][0] is None


@pytest.mark.P8
async def test_mail_held_for_long_is_told_when_it_becomes_more(yard: Yard) -> None:
    for held in (0, 2, 2, 1, 1, 3):
        yard.upkeep.pages = [Page((), (), (), timedelta(0), held, None)]
        await yard.sweeper.sweep()
    assert yard.told("held_long") == [(2, TERMS.held_lifetime), (3, TERMS.held_lifetime)]
    assert [told[2] for told in yard.told("swept")] == [0, 2, 2, 1, 1, 3]


# --- the clock ------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [WEEK, -WEEK])
async def test_after_a_step_nothing_expires_for_an_hour_and_what_is_due_is_looked_at(
    yard: Yard, step: timedelta
) -> None:
    yard.upkeep.pages = [Page(groups(1), (), groups(2), MINUTE, 0, None)]
    await yard.sweeper.tick()
    assert "expire 1" in yard.upkeep.asked
    yard.upkeep.asked.clear()
    yard.clock.step(step)
    # At once, not when the next sweep would have been.
    await yard.sweeper.tick()
    assert yard.changes() == ["look 0", "near 2"]
    assert yard.steps == 1
    assert yard.told("clock_stepped") == [(step, PROVING)]
    assert not yard.doubt.may_expire()
    yard.clock.advance(PROVING - SECOND)
    await yard.sweeper.tick()
    assert "expire 1" not in yard.upkeep.asked
    assert not yard.told("clock_settled")
    yard.clock.advance(timedelta(seconds=REST))
    await yard.sweeper.tick()
    assert "expire 1" in yard.upkeep.asked
    assert yard.told("clock_settled") == [()]
    assert yard.steps == 1


async def test_a_step_in_the_middle_of_a_sweep_is_seen_before_the_next_mail_expires(
    yard: Yard,
) -> None:
    yard.upkeep.pages = [Page(groups(1, 2, 3), (), (), MINUTE, 0, None)]
    yard.upkeep.then = lambda: yard.clock.step(WEEK)
    await yard.sweeper.sweep()
    assert yard.changes() == ["look 0", "expire 1"]


async def test_history_is_forgotten_only_by_a_clock_that_has_kept_time_for_an_hour(
    yard: Yard,
) -> None:
    yard.upkeep.history = 2
    await yard.sweeper.sweep()
    assert "forget" not in yard.upkeep.asked
    yard.clock.advance(PROVING)
    yard.clock.step(WEEK)
    await yard.sweeper.sweep()
    assert "forget" not in yard.upkeep.asked
    yard.clock.advance(PROVING)
    await yard.sweeper.sweep()
    assert yard.upkeep.asked.count("forget") == 3


async def test_space_is_given_back_while_the_writer_is_at_rest_and_so_before_anything_is_written(
    yard: Yard,
) -> None:
    yard.upkeep.pages = [Page((), groups(3), (), MINUTE, 0, None)]
    for _ in range(2):
        await yard.sweeper.tick()
        yard.clock.advance(timedelta(seconds=TICK))
    assert yard.upkeep.asked == ["space", "note", "look 0", "purge 3", "space", "note"]


# --- trouble --------------------------------------------------------------------------------------


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - facts tell nobody
        await asyncio.sleep(0)


async def test_a_sick_spool_is_told_once_and_swept_when_it_is_well(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TICK", 0.0)
    yard.upkeep.error = SpoolError("disk")
    running = asyncio.create_task(yard.sweeper.run())
    await until(lambda: bool(yard.told("fault")))
    await turns(50)
    assert [told[0] for told in yard.told("fault")] == ["sweeper"]
    # So a watchdog sees that no sweep has been completed.
    assert not yard.told("swept")
    yard.upkeep.error = None
    await until(lambda: bool(yard.told("swept")))
    yard.upkeep.error = SpoolError("again")
    yard.clock.advance(MINUTE)
    await until(lambda: len(yard.told("fault")) == 2)
    yard.sweeper.stop()
    await running


async def test_a_sick_record_keeps_no_mail_from_expiring(yard: Yard) -> None:
    yard.clock.advance(PROVING)
    yard.upkeep.pages = [Page(groups(1), (), (), MINUTE, 0, None)]
    yard.upkeep.record_error = SpoolError("record.db")
    with pytest.raises(SpoolError):
        await yard.sweeper.sweep()
    assert len(yard.told("expired")) == len(yard.told("swept")) == 1


async def test_a_disk_that_cannot_be_given_space_back_keeps_no_mail_from_expiring(
    yard: Yard,
) -> None:
    yard.upkeep.pages = [Page(groups(1), (), (), MINUTE, 0, None)]
    yard.upkeep.space_error = SpoolError("the disk is full")
    await yard.sweeper.tick()
    assert len(yard.told("expired")) == 1


async def test_a_stop_ends_the_sweep_after_what_is_being_done(yard: Yard) -> None:
    yard.upkeep.pages = [Page(groups(1, 2), groups(3, 4), (), MINUTE, 0, 1), NOTHING]
    yard.upkeep.then = yard.sweeper.stop
    await yard.sweeper.run()
    assert yard.changes() == ["look 0", "purge 3"]
    assert len(yard.told("purged")) == 1
    assert not yard.told("swept")


@pytest.mark.P6
async def test_mail_expires_although_delivery_hangs_in_every_lane(tmp_path: Path) -> None:
    """No lane, no scheduler and no SES has a part in it: here there is none of them."""
    async with opened(tmp_path) as spool:
        clock, facts = spool.clock, spool.facts
        mails = [await spool.accept() for _ in range(5)]
        wedged = await spool.claim(2)
        sweeper = Sweeper(
            Ground(
                upkeep=spool.store.upkeep,
                shrink=spool.store.shrink,
                terms=lambda: TERMS,
                rules=StaticRules(a_ruleset()),
                facts=facts,
                clock=clock,
                doubt=ClockDoubt(clock, facts),
                jitter=lambda: 0.5,
                on_due=lambda _: None,
                on_step=lambda: None,
            )
        )
        clock.advance(TERMS.lifetime)
        await sweeper.tick()
        assert facts.names().count("expired") == 5
        for mail in mails:
            assert (await spool.show(mail)).state is State.FAILED
        told = {args[1].queue_id: args[3].reply.status for n, args in facts.told if n == "expired"}
        in_lanes = {claim.mail.queue_id for claim in wedged}
        assert {name for name, status in told.items() if status == "4.4.7"} == in_lanes
        clock.advance(TERMS.keep_failed)
        await sweeper.tick()
        assert facts.names().count("purged") == 5
        assert not [count for count in (await spool.store.queue.counts()).values() if count]
