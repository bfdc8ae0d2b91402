"""How long mail waited and how long it was held: counted while the relay is up, and by state."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from operator import methodcaller
from pathlib import Path

import pytest

from relay.mail.entry import State
from relay.ports import Claim
from relay.store import schema
from tests.fakes import FrozenClock
from tests.unit.store.stores import BILLING, JANE, JOHN, Opened, failed, opened

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
WEEK = timedelta(weeks=1)
NONE = timedelta(0)


@pytest.fixture(name="spool")
async def _spool(tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(tmp_path) as spool:
        yield spool


def times(claim: Claim) -> tuple[timedelta, timedelta]:
    return claim.waited, claim.held


async def test_mail_waits_from_its_arrival_and_between_attempts(spool: Opened) -> None:
    await spool.accept()
    spool.clock.advance(2 * MINUTE)
    claim = await spool.claim_one()
    assert times(claim) == (2 * MINUTE, NONE)
    # An attempt is no waiting, however long SES takes.
    spool.clock.advance(HOUR)
    await spool.settle(claim, spool.deferred(3 * MINUTE))
    spool.clock.advance(4 * MINUTE)
    claim = await spool.claim_one()
    assert times(claim) == (6 * MINUTE, NONE)
    await spool.settle(claim, spool.ambiguous(30 * MINUTE))
    spool.clock.advance(30 * MINUTE)
    assert times(await spool.claim_one()) == (36 * MINUTE, NONE)


@pytest.mark.P8
async def test_time_held_is_counted_apart(spool: Opened) -> None:
    await spool.accept()
    spool.clock.advance(MINUTE)
    for held in (NONE, HOUR):
        claim = await spool.claim_one()
        assert times(claim) == (MINUTE, held)
        await spool.settle(claim, spool.held(HOUR))
        spool.clock.advance(HOUR)
    assert times(await spool.claim_one()) == (MINUTE, 2 * HOUR)


@pytest.mark.P8
@pytest.mark.parametrize("verb", ["retry", "readmit"])
async def test_what_an_operator_lets_go_was_held_until_then(spool: Opened, verb: str) -> None:
    mail = await spool.accept()
    await spool.store.queue.hold(await spool.claim_one(), "sender-removed", now=spool.clock.now())
    spool.clock.advance(HOUR)
    now = spool.clock.now()
    if verb == "retry":
        assert await spool.retry(mail) is State.READY
    else:
        assert await spool.store.queue.readmit([BILLING], now=now) == 1
    spool.clock.advance(MINUTE)
    assert times(await spool.claim_one()) == (MINUTE, HOUR)


@pytest.mark.parametrize("state", [State.FAILED, State.CORRUPT])
async def test_what_waits_for_an_operator_neither_waits_nor_is_held(
    spool: Opened, state: State
) -> None:
    mail = await spool.accept()
    claim = await spool.claim_one()
    if state is State.FAILED:
        await spool.settle(claim, failed())
    else:
        await spool.store.queue.damaged(claim, "half", now=spool.clock.now())
    spool.clock.advance(HOUR)
    assert await spool.retry(mail) is State.READY
    assert times(await spool.claim_one()) == (NONE, NONE)


async def test_what_was_claimed_and_given_back_goes_on_waiting(spool: Opened) -> None:
    await spool.accept()
    spool.clock.advance(MINUTE)
    for waited in (MINUTE, 2 * MINUTE, 3 * MINUTE):
        claim = await spool.claim_one()
        assert times(claim) == (waited, NONE)
        now = spool.clock.now()
        await spool.store.queue.release(claim, now=now, due_at=now)
        spool.clock.advance(MINUTE)


@pytest.mark.parametrize("held", [False, True])
async def test_time_in_which_the_relay_was_down_does_not_count(
    tmp_path: Path, *, held: bool
) -> None:
    clock = FrozenClock()
    async with opened(tmp_path, clock) as spool:
        await spool.accept()
        if held:
            await spool.settle(await spool.claim_one(), spool.held(MINUTE))
        clock.advance(MINUTE)
    for _ in range(3):
        clock.advance(100 * HOUR)
        clock.reboot()
        async with opened(tmp_path, clock) as spool:
            # Nothing happens to it, and all the same it is a minute older.
            clock.advance(MINUTE)
    async with opened(tmp_path, clock) as spool:
        clock.advance(MINUTE)
        counted = (NONE, 5 * MINUTE) if held else (5 * MINUTE, NONE)
        assert times(await spool.claim_one()) == counted


@pytest.mark.parametrize("step", [-WEEK, -HOUR, HOUR, WEEK])
async def test_a_wall_clock_that_steps_neither_adds_nor_takes_away(
    tmp_path: Path, step: timedelta
) -> None:
    clock = FrozenClock()
    async with opened(tmp_path, clock) as spool:
        mail = await spool.accept()
        clock.advance(MINUTE)
        clock.step(step)
        # By a clock that went back it is not due before that hour, or week, comes again.
        await spool.retry(mail)
        claim = await spool.claim_one()
        assert times(claim) == (MINUTE, NONE)
        clock.step(-step)
        await spool.settle(claim, spool.held(NONE))
        clock.step(step)
        clock.advance(MINUTE)
    clock.step(-2 * step)
    async with opened(tmp_path, clock) as spool:
        clock.advance(MINUTE)
        await spool.retry(mail)
        assert times(await spool.claim_one()) == (MINUTE, 2 * MINUTE)


async def test_a_kill_makes_mail_younger_by_what_was_not_written_down_and_never_older(
    tmp_path: Path,
) -> None:
    clock = FrozenClock()
    async with opened(tmp_path / "0", clock) as spool:
        await spool.accept()
        clock.advance(10 * MINUTE)
        await spool.writer.run(spool.store.upkeep._uptime.write)
        clock.advance(MINUTE / 2)
        await spool.accept(JANE, JOHN)
        shutil.copytree(tmp_path / "0", tmp_path / "killed")
    clock.advance(HOUR)
    async with opened(tmp_path / "killed", clock) as spool:
        clock.advance(3 * MINUTE)
        old, young = await spool.claim(2)
        assert times(old) == (13 * MINUTE, NONE)
        # It came half a minute after the uptime that is known, and that passes once more.
        assert times(young) == (2.5 * MINUTE, NONE)


async def test_mail_that_came_after_an_idle_month_ages_at_once_after_a_kill(
    tmp_path: Path,
) -> None:
    clock = FrozenClock()
    async with opened(tmp_path / "0", clock) as spool:
        clock.advance(30 * 24 * HOUR)
        await spool.accept()
        shutil.copytree(tmp_path / "0", tmp_path / "killed")
    async with opened(tmp_path / "killed", clock) as spool:
        clock.advance(HOUR)
        assert times(await spool.claim_one()) == (HOUR, NONE)


@pytest.mark.P5
async def test_without_a_word_on_the_uptime_it_is_told_from_the_mail(tmp_path: Path) -> None:
    clock = FrozenClock()
    async with opened(tmp_path, clock) as spool:
        await spool.accept()
        clock.advance(HOUR)
        await spool.accept(JOHN)
        # Lost, and not to be written again either.
        for statement in (
            "DELETE FROM service",
            "CREATE TRIGGER t BEFORE INSERT ON service BEGIN SELECT RAISE(ABORT, 'no'); END",
        ):
            await spool.writer.run(methodcaller("execute", statement))
    async with opened(tmp_path, clock) as spool:
        clock.advance(MINUTE)
        old, young = await spool.claim(2)
        assert times(old) == (HOUR + MINUTE, NONE)
        assert times(young) == (MINUTE, NONE)


async def test_a_spool_of_the_first_release_counts_from_its_first_opening(tmp_path: Path) -> None:
    with closing(schema.connect(tmp_path / "spool.db")) as connection:
        schema.migrate(connection, schema.SPOOL[:1])
        connection.execute(
            "INSERT INTO entry VALUES (1, '06H04YCY58GVCD1MB7KG', 'billing', '', 1780000000000, "
            "3, 891568578, 0, 'ready', 1, '', 1, 0, 1780000000000, 60000, 0)"
        )
        connection.execute("INSERT INTO content VALUES (1, x'616263')")
        connection.execute(
            "INSERT INTO recipient VALUES (1, 'jane@example.net', 0, 'ready', 0, 0, 1, '', '', 0)"
        )
    clock = FrozenClock()
    async with opened(tmp_path, clock) as spool:
        clock.advance(MINUTE)
        assert times(await spool.claim_one()) == (2 * MINUTE, NONE)


@pytest.mark.parametrize("is_held", [False, True])
async def test_mail_does_not_age_while_an_operator_has_the_spool_of_a_stopped_daemon(
    tmp_path: Path, *, is_held: bool
) -> None:
    clock = FrozenClock()
    async with opened(tmp_path, clock) as spool:
        mail = await spool.accept()
        if is_held:
            await spool.settle(await spool.claim_one(), spool.held(MINUTE))
        clock.advance(MINUTE)
    async with opened(tmp_path, clock, is_running=False) as spool:
        # A listing is being read, over night.
        clock.advance(10 * HOUR)
        assert await spool.retry(mail) is State.READY
        clock.advance(10 * HOUR)
    async with opened(tmp_path, clock) as spool:
        clock.advance(MINUTE)
        counted = (MINUTE, MINUTE) if is_held else (2 * MINUTE, NONE)
        assert times(await spool.claim_one()) == counted
