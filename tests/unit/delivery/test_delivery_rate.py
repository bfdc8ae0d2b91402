"""An account's rate and day as SES counts them: the simulator's allowances, in lapsed time (R12)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from relay.delivery.gate import Gate
from relay.mail.entry import State
from relay.mail.envelope import SenderName
from relay.mail.outcome import Outcome
from relay.policy.day import REFUSED_FOR, Hold
from relay.policy.sender import Priority
from relay.policy.verdict import Accepted, Answer, Refused, verdict
from relay.ports import Consignment, SendQuota
from relay.simulator import ApiError, Settings, Throttle
from relay.simulator.quota import Quota
from tests.builders import a_sender
from tests.fakes import FrozenClock, RecordingFacts
from tests.timelapse import BEGIN, LapsedClock, lapse
from tests.unit.delivery.lapsed import BULK, OTP, RATE, OneAccount, TimedCarrier, a_house, fill

pytestmark = pytest.mark.P6

BULK_MAIL = 2000


class Judge:
    """The simulator's allowances: rates counted both ways, as AWS does not say which it is."""

    def __init__(self, clock: LapsedClock | FrozenClock, rate: float, daily: int = -1) -> None:
        self.clock, self.rate, self.daily = clock, rate, daily
        self.quotas = {throttle: Quota() for throttle in Throttle}
        self.refused: list[ApiError] = []
        self.taken = 0

    def ask(self, recipients: int) -> Answer:
        for throttle, quota in self.quotas.items():
            error = quota.take(
                recipients,
                counted=recipients,
                settings=Settings(
                    max_send_rate=self.rate, daily_quota=self.daily, throttle=throttle
                ),
                now=self.clock.now(),
            )
            if error is not None:
                self.refused.append(error)
                return Refused(error.status, error.code, error.text)
        self.taken += recipients
        return Accepted("0102-ok")

    def __call__(self, consignment: Consignment) -> Answer:
        return self.ask(len(consignment.recipients))

    @property
    def used(self) -> int:
        """What GetSendQuota says was sent in the last 24 hours."""
        return self.quotas[Throttle.BUCKET].sent_last_24_hours(self.clock.now())


def hanging(share: int) -> Callable[[Consignment], float]:
    """Return how long calls take: every so many-th of bulk mail a minute; 0: none."""
    number = 0

    def seconds(consignment: Consignment) -> float:
        nonlocal number
        if consignment.mail.sender != BULK:
            return 0.1
        number += 1
        return 60.0 if share and number % share == 0 else 0.1

    return seconds


@pytest.mark.parametrize(("hangs", "entries", "mails"), [(0, BULK_MAIL, 75), (5, 400, 40)])
def test_the_rate_is_used_and_not_exceeded_while_transactional_mail_goes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: int, entries: int, mails: int
) -> None:
    """R12. Where a fifth of bulk mail hangs for a minute its lanes fill up, and only its own."""
    fill(tmp_path, BULK, entries)

    async def work(clock: LapsedClock) -> None:
        senders = a_sender(BULK, priority=Priority.BULK), a_sender(OTP)
        async with a_house(tmp_path, clock, *senders) as house:
            judge = Judge(clock, RATE)
            house.carrier.judge, house.carrier.seconds = judge, hanging(hangs)
            came = await house.accept_now_and_then(OTP, [2.0] * mails)
            await asyncio.sleep(5)
            calls = house.carrier.calls
            assert len(judge.refused) <= 0.01 * len(calls), judge.refused
            delays = sorted(house.delays(came))
            assert delays[int(0.99 * len(delays))] < 2, delays[-3:]
            if hangs:
                assert house.gate.busy[BULK] >= 0.9 * (house.gate.lanes // 2)
                return
            last = max(call.at for call in calls if call.sender == BULK)
            allowance = RATE * (last - calls[0].at)
            used = sum(call.recipients for call in calls if call.at <= last)
            assert used >= 0.95 * allowance, f"{used} of {allowance}"
            assert (await house.store.queue.counts())[State.READY] == 0

    lapse(work, monkeypatch)


class Bench:
    """A gate and a judge, without mail: calls for one recipient each, as fast as may be."""

    def __init__(self, rate: float, daily: int = -1, *, reads: bool = True) -> None:
        self.clock = FrozenClock(BEGIN)
        self.facts = RecordingFacts()
        self.judge = Judge(self.clock, rate, daily)
        self.account = OneAccount(TimedCarrier(self.clock))
        self.account.quota = None
        self.gate = Gate(self.account, facts=self.facts, clock=self.clock, reserve=0.1)
        self._reads = reads
        self._read_at = 0.0
        self.granted = rate
        self.read()

    def read(self) -> None:
        """Read the quota every five minutes, as an account does."""
        now = self.clock.monotonic()
        if self._reads and now >= self._read_at:
            self._read_at = now + 300
            daily = float("inf") if self.judge.daily < 0 else self.judge.daily
            number = 0 if self.account.quota is None else self.account.quota.number + 1
            self.account.quota = SendQuota(self.granted, daily, self.judge.used, number)

    def run(self, seconds: float, priority: Priority = Priority.BULK) -> tuple[int, int]:
        """Send for so long; return how many recipients were taken, and calls refused."""
        taken, refused = self.judge.taken, len(self.judge.refused)
        ends = self.clock.monotonic() + seconds
        while self.clock.monotonic() < ends:
            self.read()
            room = self.gate.room()
            if room.bulk if priority is Priority.BULK else room.attempts:
                lane = self.gate.enter(SenderName("one"), priority)
                self.gate.spend(SenderName("one"), priority, 1)
                self.gate.learn(self.outcome(), 1)
                self.gate.leave(lane)
            else:
                assert room.wait > 0
                self.clock.advance(timedelta(seconds=min(room.wait, 60.0) + 1e-6))
        return self.judge.taken - taken, len(self.judge.refused) - refused

    def outcome(self) -> Outcome:
        return verdict(self.judge.ask(1))

    def holds(self) -> list[Hold]:
        return [args[1] for name, args in self.facts.told if name == "daily_quota"]


@pytest.mark.parametrize("rate", [0.5, 1, 2.5, 14, 90])
def test_what_is_granted_is_used_and_never_exceeded(rate: float) -> None:
    bench = Bench(rate)
    taken, refused = bench.run(50)
    assert refused == 0
    assert taken >= 0.95 * 50 * rate


@pytest.mark.parametrize(("granted", "rate"), [(14, 7), (14, 2)])
def test_an_account_that_lets_less_through_than_it_grants_is_found_out(
    granted: float, rate: float
) -> None:
    """Another application has the rest of the rate, then it ends: the pace follows both ways."""
    bench = Bench(rate)
    bench.granted = granted
    bench.account.quota = replace(bench.account.quota or SendQuota(0, 0, 0), rate=granted)
    bench.run(120)
    taken, refused = bench.run(600)
    assert refused <= 0.015 * (taken + refused)
    assert taken >= 0.8 * 600 * rate
    assert bench.gate.condition().is_slowed
    assert "slowed" in bench.facts.names()
    assert "breaker" not in bench.facts.names(), "throttling has opened the breaker"
    bench.judge.rate = granted
    bench.run(300)
    taken, refused = bench.run(100)
    assert refused == 0
    assert taken >= 0.95 * 100 * granted


def test_the_day_ends_for_bulk_before_it_ends_for_transactional_mail_and_frees_itself() -> None:
    bench = Bench(14, daily=1000)
    assert bench.run(600) == (900, 0)
    assert bench.holds() == [Hold.BULK]
    assert bench.run(60, Priority.TRANSACTIONAL) == (100, 0)
    assert bench.holds() == [Hold.BULK, Hold.ALL]
    assert bench.run(22 * 3600) == (0, 0)
    assert bench.run(3 * 3600) == (900, 0)
    assert bench.holds()[-1] is Hold.BULK


def test_a_day_that_ends_before_it_is_known_costs_a_call_a_quarter_of_an_hour() -> None:
    """Nobody may read the quota: what SES refuses is all that is known."""
    bench = Bench(14, daily=100, reads=False)
    assert bench.run(600) == (100, 1)
    assert bench.holds() == [Hold.ALL]
    assert bench.run(3600) == (0, 3600 / REFUSED_FOR)
    taken, refused = bench.run(86_400)
    assert taken == 100
    assert refused <= 86_400 / REFUSED_FOR
    assert "breaker" not in bench.facts.names()


def test_a_reading_that_shows_room_ends_the_wait_after_a_refusal() -> None:
    bench = Bench(14, daily=1000)
    assert bench.gate.room().attempts
    bench.gate.learn(verdict(Refused(400, "Throttling", "Daily message quota exceeded.")), 1)
    assert bench.gate.room().attempts == 0
    assert bench.run(299) == (0, 0)
    taken, _ = bench.run(10)
    assert taken > 100


def test_a_message_that_is_refused_moves_neither_pace_nor_breaker_nor_day() -> None:
    bench = Bench(14, daily=1000)
    before = bench.gate.condition()
    for answer in (
        Refused(400, "MessageRejected", "Illegal content"),
        Refused(400, "InvalidParameterValue", "Missing final '@domain'"),
        Refused(403, "AccessDenied", "not yours"),
        Refused(400, "SomethingNew", ""),
    ):
        for _ in range(10):
            bench.gate.learn(verdict(answer), 1)
    assert bench.gate.condition() == before
    assert bench.facts.told == []
