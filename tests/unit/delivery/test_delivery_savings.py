"""Limits that outlive the process: never more than the limit, and a kill costs a hundredth of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.delivery.savings import Savings
from relay.mail.envelope import SenderName
from relay.policy.allowance import Allowance, Allowances
from relay.policy.sender import Limits, OverLimit, Rate, Sender
from relay.ports import SpoolError
from relay.upkeep import Note
from tests.builders import a_sender
from tests.fakes import FrozenClock, RecordingFacts
from tests.unit.store.stores import opened

HOUR, DAY = 3600.0, 86_400.0
WEEK = timedelta(weeks=1)
BILLING = SenderName("billing")


def with_limits(**limits: object) -> Sender:
    sender = a_sender()
    found = Limits(sender.limits.message_size, over_limit=OverLimit.REFUSE, **limits)  # type: ignore[arg-type]
    return replace(sender, limits=found)


class FakeNotes:
    """Notes that are durable once `commit` was called; a kill loses the others."""

    def __init__(self) -> None:
        self.durable: dict[SenderName, Note] = {}
        self.begun: list[Note] = []
        self.written = 0
        self.error: SpoolError | None = None

    async def read(self) -> Sequence[Note]:
        if self.error is not None:
            raise self.error
        return list(self.durable.values())

    def write(self, note: Note, failed: Callable[[], None]) -> None:
        if self.error is not None:
            raise self.error
        self.begun.append(note)
        self.written += 1

    async def write_all(self, notes: Sequence[Note]) -> None:
        if self.error is not None:
            raise self.error
        self.begun += notes
        self.commit()

    def commit(self) -> None:
        for note in self.begun:
            self.durable[note.sender] = note
        self.begun.clear()


class Relay:
    """As much of a relay as counts, run after run."""

    def __init__(self, clock: FrozenClock | None = None) -> None:
        self.clock = clock or FrozenClock()
        self.facts = RecordingFacts()
        self.notes = FakeNotes()
        self.boot = "boot-1"
        self.allowances: Allowances
        self.savings: Savings

    async def start(self) -> None:
        self.allowances = Allowances()
        self.savings = Savings(
            self.allowances, self.notes, boot=self.boot, facts=self.facts, clock=self.clock
        )
        await self.savings.recall()

    async def stop(self) -> None:
        await self.savings.close()

    def kill(self) -> None:
        self.notes.begun.clear()

    def of(self, sender: Sender) -> Allowance:
        return self.allowances.of(sender, 1, self.clock.monotonic())

    def room(self, sender: Sender) -> int:
        """How many recipients the sender may have now."""
        return next(
            count
            for count in range(10_000, -1, -1)
            if self.of(sender).lack_of_recipients(count, self.clock.monotonic()) is None
        )


@pytest.fixture(name="relay")
async def _relay() -> Relay:
    relay = Relay()
    await relay.start()
    return relay


async def test_an_orderly_stop_loses_nothing_and_forgets_nothing(relay: Relay) -> None:
    sender = with_limits(
        recipients=(Rate(500, HOUR), Rate(800, DAY)), rate=Rate(10, 60.0), burst=10
    )
    relay.of(sender).take_recipients(300, relay.clock.monotonic())
    for _ in range(7):
        relay.of(sender).take_message(relay.clock.monotonic())
    for _ in range(3):
        await relay.stop()
        await relay.start()
        assert relay.room(sender) == 200
        assert relay.of(sender).messages(relay.clock.monotonic()) == 3
    # Downtime is time for a limit: the hour is over, and the day is not.
    await relay.stop()
    relay.clock.advance(timedelta(hours=1, minutes=2))
    await relay.start()
    assert relay.room(sender) == 500
    assert relay.of(sender).messages(relay.clock.monotonic()) == 10
    relay.of(sender).take_recipients(400, relay.clock.monotonic())
    await relay.stop()
    relay.clock.advance(timedelta(hours=2))
    await relay.start()
    assert relay.room(sender) == 100


async def test_a_debt_is_earned_back_over_restarts(relay: Relay) -> None:
    sender = with_limits(rate=Rate(1, 10.0))
    relay.of(sender).take_message(relay.clock.monotonic())
    await relay.stop()
    relay.clock.advance(timedelta(seconds=4))
    await relay.start()
    assert relay.of(sender).wait(relay.clock.monotonic()) == pytest.approx(6)


async def test_a_kill_costs_a_hundredth_of_the_limit_and_gives_nothing_back(relay: Relay) -> None:
    sender = with_limits(recipients=(Rate(1000, HOUR),))
    for taken in (1, 2, 3, 30, 400):
        relay.of(sender).take_recipients(taken, relay.clock.monotonic())
        relay.notes.commit()
    relay.kill()
    await relay.start()
    assert 1000 - 436 - 10 <= relay.room(sender) <= 1000 - 436
    # Killed again and again with nothing sent meanwhile, it costs nothing more.
    left = relay.room(sender)
    for _ in range(20):
        relay.kill()
        await relay.start()
    assert relay.room(sender) == left


async def test_a_bucket_after_a_kill_lacks_what_may_have_gone(relay: Relay) -> None:
    sender = with_limits(rate=Rate(500, DAY), burst=500)
    for _ in range(100):
        relay.of(sender).take_message(relay.clock.monotonic())
        relay.notes.commit()
    relay.clock.advance(timedelta(days=3))
    # Full again, and then used a little, which was not written down.
    for _ in range(3):
        relay.of(sender).take_message(relay.clock.monotonic())
    relay.kill()
    await relay.start()
    assert 490 <= relay.of(sender).messages(relay.clock.monotonic()) <= 497


async def test_little_is_written_down(relay: Relay) -> None:
    sender = with_limits(recipients=(Rate(20_000, DAY),), rate=Rate(10, 1.0), burst=50)
    for _ in range(20_000):
        relay.of(sender).take_recipients(1, relay.clock.monotonic())
    assert relay.notes.written <= 101
    relay.notes.written = 0
    for _ in range(1000):
        relay.clock.advance(timedelta(seconds=0.1))
        relay.of(sender).take_message(relay.clock.monotonic())
    # About once a second at a rate that is used up.
    assert relay.notes.written <= 101


async def test_a_sender_without_limits_is_not_written_down(relay: Relay) -> None:
    sender = with_limits()
    relay.of(sender).take_message(relay.clock.monotonic())
    relay.of(sender).take_recipients(10_000, relay.clock.monotonic())
    assert relay.notes.written == 0


@pytest.mark.parametrize("step", [WEEK, -WEEK])
async def test_a_step_of_the_clock_while_down_changes_nothing(
    relay: Relay, step: timedelta
) -> None:
    sender = with_limits(recipients=(Rate(100, HOUR),))
    relay.of(sender).take_recipients(100, relay.clock.monotonic())
    await relay.stop()
    relay.clock.step(step)
    relay.clock.advance(timedelta(minutes=50))
    await relay.start()
    assert relay.room(sender) == 0
    relay.clock.advance(timedelta(minutes=12))
    assert relay.room(sender) == 100


@pytest.mark.parametrize(("step", "room"), [(timedelta(0), 100), (-WEEK, 0)])
async def test_after_a_reboot_the_wall_clock_tells_and_one_that_went_back_tells_nothing(
    relay: Relay, step: timedelta, room: int
) -> None:
    sender = with_limits(recipients=(Rate(100, HOUR),))
    relay.of(sender).take_recipients(100, relay.clock.monotonic())
    await relay.stop()
    relay.clock.advance(timedelta(minutes=62))
    relay.clock.step(step)
    relay.clock.reboot()
    relay.boot = "boot-2"
    await relay.start()
    assert relay.room(sender) == room
    relay.clock.advance(timedelta(minutes=62))
    assert relay.room(sender) == 100


async def test_limits_that_changed_begin_as_after_a_reload(relay: Relay) -> None:
    """Other messages' limits with a full burst; what was used of a window is used."""
    old = with_limits(recipients=(Rate(100, HOUR), Rate(500, DAY)), rate=Rate(10, 60.0), burst=10)
    relay.of(old).take_recipients(60, relay.clock.monotonic())
    for _ in range(10):
        relay.of(old).take_message(relay.clock.monotonic())
    await relay.stop()
    await relay.start()
    new = with_limits(recipients=(Rate(150, HOUR),), rate=Rate(20, 60.0), burst=5)
    assert relay.room(new) == 90
    assert relay.of(new).messages(relay.clock.monotonic()) == 5
    # And by a reload: what is under the new limits is written down with the next mail.
    relay.notes.begun.clear()
    newest = with_limits(recipients=(Rate(70, HOUR),))
    relay.allowances.of(newest, 2, relay.clock.monotonic()).take_recipients(
        3, relay.clock.monotonic()
    )
    relay.notes.commit()
    relay.kill()
    await relay.start()
    assert relay.room(newest) in (6, 7)


async def test_a_note_that_could_not_be_written_is_written_with_the_next_mail(
    relay: Relay,
) -> None:
    sender = with_limits(recipients=(Rate(1000, HOUR),))
    relay.notes.error = SpoolError("disk")
    relay.of(sender).take_recipients(5, relay.clock.monotonic())
    relay.notes.error = None
    relay.of(sender).take_recipients(1, relay.clock.monotonic())
    relay.notes.commit()
    relay.kill()
    await relay.start()
    assert 984 <= relay.room(sender) <= 994


@pytest.mark.parametrize("used", ["", "{}", "[]", '{"rate": 1}', "null", '{"rate": [1, "x"]}'])
async def test_a_note_nobody_understands_is_told_and_keeps_no_other(
    relay: Relay, used: str
) -> None:
    good = with_limits(recipients=(Rate(100, HOUR),))
    relay.of(good).take_recipients(100, relay.clock.monotonic())
    await relay.stop()
    bad = replace(relay.notes.durable[BILLING], sender=SenderName("bad"), used=used)
    relay.notes.durable[bad.sender] = bad
    await relay.start()
    assert relay.room(good) == 0
    assert [told[0] for name, told in relay.facts.told if name == "fault"] == ["limits"]


async def test_notes_that_cannot_be_read_keep_no_mail(relay: Relay) -> None:
    relay.notes.error = SpoolError("disk")
    await relay.start()
    assert relay.room(with_limits(recipients=(Rate(100, HOUR),))) == 100
    assert "fault" in relay.facts.names()
    await relay.stop()


MAIL = st.tuples(st.just("mail"), st.integers(1, 40))
WAIT = st.tuples(st.just("wait"), st.integers(1, 1500))
STEP = st.tuples(st.just("step"), st.integers(-(10**6), 10**6))
END = st.tuples(st.sampled_from(["stop", "kill", "kill in a transaction"]), st.integers(0, 900))


@given(st.lists(st.one_of(MAIL, MAIL, WAIT, STEP, END), max_size=60))
@settings(deadline=None)
async def test_no_window_of_any_length_of_restarts_holds_more_than_the_quota(
    steps: list[tuple[str, int]],
) -> None:
    """Mail counts once it is durable; by then it is written down that it was."""
    limit = Rate(100, HOUR)
    sender = with_limits(recipients=(limit,))
    relay = Relay()
    await relay.start()
    accepted: list[tuple[float, int]] = []
    kills = 0
    for what, number in steps:
        now = relay.clock.monotonic()
        match what:
            case "mail":
                if relay.of(sender).lack_of_recipients(number, now) is None:
                    relay.of(sender).take_recipients(number, now)
                    relay.notes.commit()
                    accepted.append((now, number))
            case "wait":
                relay.clock.advance(timedelta(seconds=number))
            case "step":
                relay.clock.step(timedelta(seconds=number))
            case "stop":
                await relay.stop()
                relay.clock.advance(timedelta(seconds=number))
                await relay.start()
            case _:
                if what != "kill" and relay.of(sender).lack_of_recipients(1, now) is None:
                    relay.of(sender).take_recipients(1, now)
                kills += 1
                relay.kill()
                relay.clock.advance(timedelta(seconds=number))
                await relay.start()
        now = relay.clock.monotonic()
        in_window = sum(count for at, count in accepted if at > now - HOUR)
        assert in_window <= limit.count
        # Nor does a kill take more from the sender than a hundredth, and a mail that had no answer.
        at_most = sum(count for at, count in accepted if at > now - HOUR - 3 * 60)
        if at_most + 2 * kills < limit.count:
            assert relay.of(sender).lack_of_recipients(1, now) is None


async def test_the_store_keeps_the_notes(tmp_path: Path) -> None:
    clock = FrozenClock()
    note = Note(BILLING, clock.now(), "boot-1", 12.5, json.dumps({"any": "thing"}))
    other = replace(note, sender=SenderName("other"))
    failures: list[str] = []
    async with opened(tmp_path, clock) as spool:
        assert await spool.store.notes.read() == []
        await spool.store.notes.write_all([note, other])
        spool.store.notes.write(replace(note, used="{}"), lambda: failures.append("failed"))
        # In order with mail: once that is durable, so is the note.
        await spool.accept()
        assert await spool.store.notes.read() == [replace(note, used="{}"), other]
    async with opened(tmp_path, clock) as spool:
        assert await spool.store.notes.read() == [replace(note, used="{}"), other]
        spool.store.notes.write(replace(note, used=None), lambda: failures.append("failed"))  # type: ignore[arg-type]
        await spool.come_round()
        assert failures == ["failed"]
