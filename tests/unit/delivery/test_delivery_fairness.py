"""One sender's backlog never delays another's mail by more than a call: hours of it, in lapsed time."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from relay.delivery.gate import SHARE
from relay.mail.entry import State
from relay.mail.envelope import SenderName
from relay.policy.sender import CALL, Priority, Rate
from tests.builders import a_sender
from tests.fakes import FrozenClock
from tests.timelapse import BEGIN, LapsedClock, lapse
from tests.unit.delivery.lapsed import BULK, OTP, RATE, Call, a_house, fill
from tests.unit.store.stores import opened

BACKLOG = 100_000

pytestmark = pytest.mark.P6

# Arrivals that keep no step with anything.
GAPS = [4 * 0.618 ** (n % 5) for n in range(15)]


@pytest.mark.parametrize("recipients", [1, CALL])
def test_a_backlog_of_a_hundred_thousand_delays_another_sender_by_one_call_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipients: int
) -> None:
    entries = BACKLOG if recipients == 1 else 2000
    fill(tmp_path, BULK, entries, recipients)

    async def work(clock: LapsedClock) -> None:
        senders = a_sender(BULK, priority=Priority.BULK), a_sender(OTP)
        async with a_house(tmp_path, clock, *senders) as house:
            came = await house.accept_now_and_then(OTP, GAPS)
            await asyncio.sleep(5)
            delays = house.delays(came)
            # A call is paid for in recipients, at the rate that is used of what SES grants.
            call = recipients / (RATE * SHARE)
            assert max(delays) <= call + 0.01, f"the longest of {sorted(delays)[-3:]}"
            left = (await house.store.queue.counts())[State.READY]
            assert left > entries // 10, "the backlog ended before the test did"
            # Bulk had all the rest: the account was never idle.
            took = clock.monotonic() - house.carrier.calls[0].at
            assert house.carrier.shares().total() >= 0.94 * RATE * took

    lapse(work, monkeypatch)


def test_a_mail_to_a_thousand_is_twenty_turns_and_not_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would keep the account for a minute: each of its calls is dealt with in turn."""
    fill(tmp_path, BULK, 20, 20 * CALL)

    async def work(clock: LapsedClock) -> None:
        senders = a_sender(BULK, priority=Priority.BULK), a_sender(OTP)
        async with a_house(tmp_path, clock, *senders) as house:
            came = await house.accept_now_and_then(OTP, GAPS)
            await asyncio.sleep(5)
            delays = house.delays(came)
            assert max(delays) <= CALL / (RATE * SHARE) + 0.01, sorted(delays)[-3:]
            # What gave way keeps its place: few mails are begun before the first is done.
            order = [call.queue_id for call in house.carrier.calls if call.sender == BULK]
            assert len(set(order)) <= 3
            # Attempts that go on and those that begin never take the same tokens.
            took = house.carrier.calls[-1].at - house.carrier.calls[0].at
            assert house.carrier.shares().total() <= SHARE * RATE * took + CALL + 1

    lapse(work, monkeypatch)


def test_a_backlog_of_transactional_mail_leaves_bulk_its_tenth_and_each_sender_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [SenderName(name) for name in ("bulk-a", "bulk-b", "otp-a", "otp-b")]
    for name, recipients in zip(names, (1, 3, 20, 1), strict=True):
        fill(tmp_path, name, 2000, recipients)

    async def work(clock: LapsedClock) -> None:
        senders = [
            a_sender(name, priority=Priority.BULK if n < 2 else Priority.TRANSACTIONAL)
            for n, name in enumerate(names)
        ]
        async with a_house(tmp_path, clock, *senders) as house:
            await asyncio.sleep(60)
            got = house.carrier.shares()
            total = got.total()
            assert total >= 0.94 * RATE * 59
            assert 0.09 <= (got[names[0]] + got[names[1]]) / total <= 0.11, got
            assert got[names[0]] == pytest.approx(got[names[1]], abs=6)
            assert got[names[2]] == pytest.approx(got[names[3]], abs=40)

    lapse(work, monkeypatch)


def test_a_sender_that_hangs_in_its_lanes_does_not_delay_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, BULK, 1000)

    async def work(clock: LapsedClock) -> None:
        senders = a_sender(BULK, priority=Priority.BULK), a_sender(OTP)
        async with a_house(tmp_path, clock, *senders) as house:
            house.carrier.seconds = lambda one: 60.0 if one.mail.sender == BULK else 0.2
            came = await house.accept_now_and_then(OTP, GAPS)
            await asyncio.sleep(5)
            assert max(house.delays(came)) <= 1 / (RATE * SHARE) + 0.01
            assert house.gate.busy[BULK] == house.gate.lanes // 2

    lapse(work, monkeypatch)


def test_another_senders_mail_waits_for_its_own_limits_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, BULK, 5000)

    async def work(clock: LapsedClock) -> None:
        slow = a_sender(OTP, rate=Rate(1, 10.0))
        async with a_house(tmp_path, clock, a_sender(BULK, priority=Priority.BULK), slow) as house:
            await asyncio.sleep(5)
            came = dict([await house.accept(OTP) for _ in range(4)])
            await asyncio.sleep(35)
            delays = sorted(house.delays(came))
            for number, delay in enumerate(delays):
                assert 10 * number <= delay + 0.01
                assert delay <= 10 * number + 1 / (RATE * SHARE) + 0.01

    lapse(work, monkeypatch)


def busiest(calls: Sequence[Call], seconds: float) -> int:
    """Return the most recipients called for in any span of that length."""
    most, first, within = 0, 0, 0
    for call in calls:
        within += call.recipients
        while calls[first].at <= call.at - seconds:
            within -= calls[first].recipients
            first += 1
        most = max(most, within)
    return most


def test_after_an_outage_and_a_restart_all_that_is_due_goes_at_the_accounts_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was rescheduled in bulk, and nobody hurries."""
    fill(tmp_path, BULK, 20_000)

    async def work(clock: LapsedClock) -> None:
        async with a_house(tmp_path, clock, a_sender(BULK)) as house:
            house.carrier.is_down = True
            await asyncio.sleep(3600)
            asked = len(house.carrier.calls)
            # An hour of it costs some attempts for each probe of the breaker, none for each mail.
            assert asked < 100
            counts = await house.store.queue.counts()
            assert counts[State.READY] >= 20_000 - 100
            house.carrier.is_down = False
            await asyncio.sleep(120 + 30)
            after = house.carrier.calls[asked:]
            assert len(after) > 30 * RATE * 0.9
            # One call first, to see whether it is over.
            assert after[1].at - after[0].at >= 0.2
            assert busiest(house.carrier.calls, 1.0) <= RATE * SHARE + 1
        clock_at = clock.monotonic()
        # The host is down for a week: everything is due, whatever it waited for.
        await asyncio.sleep(7 * 86_400)
        async with a_house(tmp_path, clock, a_sender(BULK)) as house:
            await asyncio.sleep(20)
            assert house.carrier.calls[0].at > clock_at + 7 * 86_400
            assert busiest(house.carrier.calls, 1.0) <= RATE * SHARE + 1

    lapse(work, monkeypatch)


async def test_what_a_wake_up_costs_does_not_depend_on_the_length_of_the_queue(
    tmp_path: Path,
) -> None:
    """The scheduler asks for what it can send, and is given that; it goes through nothing."""
    costs = {}
    for entries in (1000, 30_000):
        path = tmp_path / str(entries)
        fill(path, BULK, entries)
        for number in range(5):
            fill(path, SenderName(f"other-{number}"), entries // 10)
        clock = FrozenClock(BEGIN)
        async with opened(path, clock) as spool:
            steps = 0

            def stepped() -> int:
                nonlocal steps
                steps += 1
                return 0

            await spool.writer.run(lambda connection: connection.set_progress_handler(stepped, 1))
            tracemalloc.start()
            wants = {BULK: 2, OTP: 1, SenderName("other-1"): 2}
            claims = [await spool.claims(wants, room=3) for _ in range(20)]
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert [len(one.taken) for one in claims] == [3] * 20
            assert peak < 4 * 1024 * 1024
            costs[entries] = steps
    assert costs[30_000] <= 1.05 * costs[1000], costs
