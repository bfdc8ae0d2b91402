"""An hour in which SES takes requests and answers none: in lapsed time, on a real spool."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from relay.mail.entry import State
from relay.mail.outcome import Ambiguous
from relay.policy.breaker import LONGEST_PAUSE
from relay.policy.verdict import Answer, Broken, Stage
from relay.ports import Consignment
from tests.builders import a_sender
from tests.timelapse import LapsedClock, lapse
from tests.unit.delivery.lapsed import BULK, a_house, fill

HOUR = 3600
RESPONSE = 60.0  # seconds until a call is given up (rules R10)
ENTRIES = 600


@pytest.mark.P3
@pytest.mark.P8
def test_an_hour_of_timeouts_leaves_the_queue_intact_and_all_of_it_is_delivered_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, BULK, ENTRIES)

    async def work(clock: LapsedClock) -> None:
        async with a_house(tmp_path, clock, a_sender(BULK)) as house:
            taken: list[str] = []
            is_silent = True

            def judge(consignment: Consignment) -> Answer | None:
                if is_silent:
                    return Broken(Stage.NO_ANSWER, "no answer within 60 s")
                taken.append(consignment.mail.queue_id)
                return None

            house.carrier.judge = judge
            house.carrier.seconds = lambda _: RESPONSE if is_silent else 0.1
            await asyncio.sleep(HOUR)
            told = [args[3] for name, args in house.facts.told if name == "attempted"]
            assert all(isinstance(outcome, Ambiguous) for outcome in told)
            # Those under way when it began, a lane each, and one for each probe.
            probes = HOUR / (RESPONSE + LONGEST_PAUSE) + 6
            assert len(house.carrier.calls) <= house.gate.lanes // 2 + probes
            counts = await house.store.queue.counts()
            assert sum(counts.values()) == ENTRIES
            assert counts[State.READY] >= ENTRIES - house.gate.lanes // 2 - probes
            assert counts[State.FAILED] == counts[State.HELD] == 0

            is_silent = False
            # A probe, then all that is ready, then what waits for its patient schedule.
            await asyncio.sleep(LONGEST_PAUSE + ENTRIES / 13)
            counts = await house.store.queue.counts()
            assert counts[State.READY] == 0
            await asyncio.sleep(3 * HOUR)
            assert (await house.store.queue.counts()) == dict.fromkeys(State, 0)
            assert len(taken) == len(set(taken)) == ENTRIES

    lapse(work, monkeypatch)
