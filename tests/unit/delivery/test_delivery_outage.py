"""An hour in which SES takes requests and answers none: in lapsed time, on a real spool."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from relay.mail.entry import State
from relay.mail.outcome import Ambiguous
from relay.policy.breaker import LONGEST_PAUSE
from relay.policy.verdict import Answer, Broken, Stage
from relay.ports import Consignment, SendQuota
from tests.builders import a_sender
from tests.timelapse import LapsedClock, lapse
from tests.unit.delivery.lapsed import BULK, a_house, fill

HOUR = 3600
RESPONSE = 60.0  # seconds until a call is given up (rules R10)
ENTRIES = 600
A_HANDFUL = 10
"""Of entries ambiguous by one outage, whatever was waiting (rules R2)."""


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
            begun = clock.monotonic()

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
            # Those begun before the first was given up, and one for each probe of the breaker.
            first = [call for call in house.carrier.calls if call.at < begun + RESPONSE + 1]
            assert len(first) <= A_HANDFUL
            probes = HOUR / (RESPONSE + LONGEST_PAUSE) + 6
            assert len(house.carrier.calls) <= A_HANDFUL + probes
            counts = await house.store.queue.counts()
            assert sum(counts.values()) == ENTRIES
            assert counts[State.READY] >= ENTRIES - A_HANDFUL - probes
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


@pytest.mark.P3
@pytest.mark.parametrize("rate", [14.0, 200.0])
def test_an_outage_amid_traffic_leaves_what_was_under_way_and_a_handful(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float
) -> None:
    fill(tmp_path, BULK, 3000)

    async def work(clock: LapsedClock) -> None:
        async with a_house(tmp_path, clock, a_sender(BULK)) as house:
            house.account.quota = SendQuota(rate, 1e9, 0)
            goes_silent = clock.monotonic() + 5

            def judge(_: Consignment) -> Answer | None:
                if clock.monotonic() < goes_silent:
                    return None
                return Broken(Stage.NO_ANSWER, "no answer within 60 s")

            house.carrier.judge = judge
            house.carrier.seconds = lambda _: 0.1 if clock.monotonic() < goes_silent else RESPONSE
            await asyncio.sleep(5 + RESPONSE - 1)
            answered = sum(call.at < goes_silent for call in house.carrier.calls)
            assert answered >= 0.9 * 5 * min(rate, 25 / 0.1), "healthy traffic was slowed down"
            lost = len(house.carrier.calls) - answered
            # What begins in the round trip before the last answer comes, and a handful.
            assert lost <= rate * 0.1 + A_HANDFUL, lost

    lapse(work, monkeypatch)
