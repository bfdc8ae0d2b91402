"""How long mail waited and how long it was held: counted while the relay is up, and by state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from relay.mail.entry import State
from relay.ports import Claim
from tests.fakes import FrozenClock
from tests.unit.store.stores import BILLING, Opened, failed, opened

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
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
    clock.advance(100 * HOUR)
    async with opened(tmp_path, clock) as spool:
        clock.advance(2 * MINUTE)
        counted = (NONE, 2 * MINUTE) if held else (2 * MINUTE, NONE)
        assert times(await spool.claim_one()) == counted


async def test_a_clock_that_steps_back_takes_nothing_away(spool: Opened) -> None:
    await spool.accept()
    spool.clock.advance(HOUR)
    claim = await spool.claim_one()
    spool.clock.advance(-30 * MINUTE)
    await spool.settle(claim, spool.deferred(NONE))
    spool.clock.advance(-10 * MINUTE)
    due = await spool.retry(claim.mail)
    assert due is State.READY
    assert times(await spool.claim_one()) == (HOUR, NONE)
