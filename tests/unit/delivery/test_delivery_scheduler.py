"""Whose mail goes next: over the real spool, with a SES that answers when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import Any

import pytest

from relay.delivery.calls import Desk
from relay.delivery.gate import LANES, Gate
from relay.delivery.pauses import Pauses
from relay.delivery.scheduler import UNRECORDED_REST, Scheduler
from relay.mail.entry import State
from relay.mail.envelope import AccountName, Envelope, QueueId, SenderName
from relay.mail.outcome import Relayed
from relay.operators import Pause
from relay.policy.allowance import Allowances
from relay.policy.hearing import HANDFUL
from relay.policy.sender import OverLimit, Priority, Rate, Sender
from relay.policy.verdict import Accepted, Answer, Broken, Stage
from relay.ports import Claim, Consignment, SendQuota, SpoolError
from relay.store import Store
from tests.builders import a_ruleset, a_sender, addresses, an_address
from tests.fakes import FakeSuppressions, FrozenClock, RecordingFacts, StaticRules, nothing_reported


class SlowCarrier:
    """Answers when told to; until then calls wait."""

    def __init__(self) -> None:
        self.answer: Callable[[Consignment], Answer] = lambda _: Accepted("0102-ok")
        self.calls: list[Consignment] = []
        self.changed = asyncio.Condition()
        self._open = asyncio.Event()

    def let_through(self) -> None:
        self._open.set()

    async def relay(self, consignment: Consignment) -> Answer:
        async with self.changed:
            self.calls.append(consignment)
            self.changed.notify_all()
        await self._open.wait()
        return self.answer(consignment)

    async def called(self, count: int) -> list[str]:
        """Wait for that many calls; return the senders of all of them."""
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.calls) >= count)
        return [call.mail.sender for call in self.calls]


@dataclass
class OneAccount:
    carrier: SlowCarrier
    name: AccountName = AccountName("main")  # noqa: RUF009 - a string
    quota: SendQuota | None = field(default_factory=lambda: SendQuota(1e9, 1e9, 0))


class House:
    """A scheduler at work on a real spool."""

    def __init__(self, store: Store, clock: FrozenClock, facts: RecordingFacts) -> None:
        self.store = store
        self.clock = clock
        self.facts = facts
        self.carrier = SlowCarrier()
        self.rules = StaticRules(a_ruleset(a_sender("app")))
        self.gate = Gate(OneAccount(self.carrier), facts=facts, clock=clock)
        self.pauses = Pauses(store.pauses)
        self.scheduler = Scheduler(
            Desk(
                queue=store.queue,
                suppressions=FakeSuppressions(),
                facts=facts,
                clock=clock,
                node="n1",
                jitter=lambda: 0.0,
                events_seen=lambda: False,
                reported=nothing_reported,
                is_paused=self.pauses.hold,
                may_expire=lambda: True,
            ),
            self.rules,
            {AccountName("main"): self.gate},
            Allowances(),
        )
        store.on_commit = self.pauses.on_resumed = self.scheduler.notice
        self.running: asyncio.Task[None] | None = None

    def configure(self, *senders: Sender, generation: int = 2) -> None:
        self.rules.current = a_ruleset(*senders, generation=generation)

    def start(self) -> None:
        self.running = asyncio.create_task(self.scheduler.run())

    async def accept(self, sender: str, count: int = 1) -> list[QueueId]:
        async def one(number: int) -> QueueId:
            draft = self.store.spool.draft()
            await draft.append(b"From: app@example.com\r\n\r\nHi\r\n")
            to = (an_address(f"{sender}{number}@example.net"),)
            envelope = Envelope(an_address("app@example.com"), to)
            mail = await self.store.spool.commit(draft, SenderName(sender), envelope)
            return mail.queue_id

        return list(await asyncio.gather(*(one(n) for n in range(count))))

    async def counts(self) -> dict[State, int]:
        found = await self.store.queue.counts()
        return {state: count for state, count in found.items() if count}

    async def drained(self) -> dict[State, int]:
        """Let everything end, and return what is left in the spool."""
        self.carrier.let_through()
        await self.scheduler.drain()
        return await self.counts()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    clock, facts = FrozenClock(), RecordingFacts()
    store = await Store.open(
        tmp_path / "spool",
        clock=clock,
        facts=facts,
        node="n1",
        ambiguous_wait=timedelta(minutes=30),
        min_free=0.01,
        unsafe=True,
    )
    async with store:
        house = House(store, clock, facts)
        yield house
        await house.drained()
        if house.running is not None:
            await house.running


async def test_mail_that_waited_for_the_start_goes_out(house: House) -> None:
    await house.accept("app", 3)
    house.start()
    assert await house.carrier.called(3) == ["app"] * 3
    assert await house.drained() == {}


async def test_mail_that_arrives_later_is_noticed(house: House) -> None:
    house.start()
    house.carrier.let_through()
    for count in (1, 2, 3):
        await house.accept("app")
        await house.carrier.called(count)
    assert await house.drained() == {}


@pytest.mark.P6
async def test_a_backlog_behind_a_slow_ses_never_takes_all_lanes(house: House) -> None:
    house.configure(a_sender("bulk", priority=Priority.BULK), a_sender("otp"))
    for _ in range(LANES):
        # Answers came by the dozen until now: else no more than a handful is begun.
        house.gate.learn(Relayed("0102-000000"), 1)
    await house.accept("bulk", 3 * LANES)
    house.start()
    senders = await house.carrier.called(LANES // 2)
    assert senders == ["bulk"] * (LANES // 2)
    await house.accept("otp")
    senders = await house.carrier.called(LANES // 2 + 1)
    assert senders[LANES // 2] == "otp"
    assert await house.drained() == {State.READY: 3 * LANES - LANES // 2}


@pytest.mark.P3
@pytest.mark.P6
async def test_while_ses_is_not_heard_a_handful_is_begun_and_one_of_any_other_sender(
    house: House,
) -> None:
    house.configure(a_sender("bulk", priority=Priority.BULK), a_sender("otp"))
    await house.accept("bulk", 2 * LANES)
    house.start()
    assert await house.carrier.called(HANDFUL) == ["bulk"] * HANDFUL
    await house.accept("otp", 2)
    assert (await house.carrier.called(HANDFUL + 1))[-1] == "otp"
    assert await house.drained() == {State.READY: 2 * LANES - HANDFUL + 1}


async def test_no_more_is_claimed_than_the_account_may_send(house: House) -> None:
    # Three hundredths of a second's worth may go at once.
    house.gate = Gate(
        OneAccount(house.carrier, quota=SendQuota(100, 1e9, 0)),
        facts=house.facts,
        clock=house.clock,
    )
    house.scheduler._gates = {AccountName("main"): house.gate}
    await house.accept("app", 20)
    house.start()
    await house.carrier.called(3)
    house.carrier.let_through()
    assert await house.drained() == {State.READY: 17}
    assert len(house.carrier.calls) == 3


@pytest.mark.P5
@pytest.mark.P6
async def test_a_sender_whose_outcomes_cannot_be_recorded_rests_alone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.configure(a_sender("bad"), a_sender("good"))
    settle = house.store.queue.settle

    async def malformed(claim: Claim, *args: Any, **keys: Any) -> State | None:
        if claim.mail.sender == "good":
            return await settle(claim, *args, **keys)
        error = SpoolError("malformed")
        error.is_lasting = True
        raise error

    monkeypatch.setattr(house.store.queue, "settle", malformed)
    house.carrier.let_through()
    await house.accept("bad")
    house.start()
    await house.carrier.called(1)
    while "damaged" not in house.facts.names():  # noqa: ASYNC110 - facts tell nobody
        await asyncio.sleep(0)
    await house.accept("bad", 5)
    await house.accept("good", 5)
    assert await house.carrier.called(6) == ["bad"] + ["good"] * 5
    monkeypatch.undo()
    house.clock.advance(timedelta(seconds=UNRECORDED_REST))
    house.scheduler.notice(SenderName("bad"))
    await house.carrier.called(11)
    assert await house.drained() == {State.CORRUPT: 1}


@pytest.mark.P3
async def test_a_drain_ends_although_an_outcome_cannot_be_recorded(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> State | None:
        raise SpoolError("disk full")

    monkeypatch.setattr(house.store.queue, "settle", full)
    monkeypatch.setattr("relay.delivery.scheduler.DRAIN_LIMIT", 0.05)
    await house.accept("app")
    house.start()
    await house.carrier.called(1)
    # The mark says to the next start that SES may have it.
    assert await house.drained() == {State.IN_FLIGHT: 1}
    assert ("fault", "drain") in [(name, *told[:1]) for name, told in house.facts.told]


async def test_without_a_bound_on_the_rate_all_that_is_due_goes(house: House) -> None:
    account = OneAccount(house.carrier, quota=None)
    house.gate = Gate(account, facts=house.facts, clock=house.clock)
    house.scheduler._gates = {AccountName("main"): house.gate}
    await house.accept("app", 20)
    account.quota = SendQuota(inf, inf, 0)
    house.start()
    house.carrier.let_through()
    await house.carrier.called(20)
    assert await house.drained() == {}


async def test_a_paced_sender_is_sent_no_faster_than_its_rate(house: House) -> None:
    paced = a_sender("app", rate=Rate(1, 60.0), burst=2)
    house.configure(paced)
    await house.accept("app", 6)
    house.start()
    house.carrier.let_through()
    await house.carrier.called(2)
    house.clock.advance(timedelta(seconds=60))
    house.scheduler.notice(SenderName("app"))
    await house.carrier.called(3)
    assert await house.drained() == {State.READY: 3}


async def test_a_paced_sender_is_sent_no_more_recipients_than_its_quota(house: House) -> None:
    sender = a_sender("app")
    limits = replace(sender.limits, recipients=(Rate(3, 3600.0),))
    house.configure(replace(sender, limits=limits))
    await house.accept("app", 5)
    house.start()
    house.carrier.let_through()
    await house.carrier.called(3)
    house.clock.advance(timedelta(seconds=3659))
    house.scheduler.notice(SenderName("app"))
    house.clock.advance(timedelta(seconds=1))
    house.scheduler.notice(SenderName("app"))
    await house.carrier.called(5)
    assert await house.drained() == {}


async def test_a_sender_that_refuses_over_its_rate_is_not_paced_too(house: House) -> None:
    house.configure(a_sender("app", rate=Rate(1, 60.0), over_limit=OverLimit.REFUSE))
    await house.accept("app", 4)
    house.start()
    house.carrier.let_through()
    await house.carrier.called(4)
    assert await house.drained() == {}


@pytest.mark.P8
async def test_mail_of_a_removed_sender_is_held_not_sent_and_not_lost(house: House) -> None:
    (queue_id,) = await house.accept("gone")
    house.start()
    await house.accept("app")
    await house.carrier.called(1)
    assert await house.drained() == {State.HELD: 1}
    entry = await house.store.queue.show(queue_id)
    assert entry is not None
    assert entry.reason == "sender-removed"
    assert ("held", "sender-removed") in [(n, a[1]) for n, a in house.facts.told if n == "held"]


@pytest.mark.P8
async def test_an_outage_costs_a_few_attempts_not_one_for_every_mail(house: House) -> None:
    house.carrier.answer = lambda _: Broken(Stage.NOT_SENT, "connection refused")
    house.carrier.let_through()
    await house.accept("app", 200)
    house.start()
    await house.carrier.called(3)
    left = await house.drained()
    assert sum(left.values()) == 200
    assert len(house.carrier.calls) <= LANES
    # The others keep their place: nothing was rescheduled in bulk.
    assert left[State.READY] >= 200 - LANES


async def test_a_deferred_mail_is_tried_again_when_it_is_due(house: House) -> None:
    answers: Iterator[Answer] = iter([Broken(Stage.NOT_SENT, "refused"), Accepted("0102-ok")])
    house.carrier.answer = lambda _: next(answers)
    house.carrier.let_through()
    house.start()
    await house.accept("app")
    await house.carrier.called(1)
    house.clock.advance(timedelta(seconds=31))
    house.scheduler.notice(SenderName("app"))
    await house.carrier.called(2)
    assert await house.drained() == {}


@pytest.mark.P3
async def test_draining_during_a_claim_gives_back_what_it_brings(house: House) -> None:
    """An orderly stop opens no window for duplicates: nothing claimed is left marked."""
    await house.accept("app", 10)
    for _ in range(3):
        house.start()
        # One turn of the loop: the scheduler is asking the queue.
        await asyncio.sleep(0)
        house.carrier.let_through()
        await house.scheduler.drain()
        assert house.scheduler.in_flight == 0
        left = await house.counts()
        assert set(left) <= {State.READY}
        assert sum(left.values()) + len(house.carrier.calls) == 10
        house.scheduler._draining = False
        house.gate._closed = False


def a_pause(house: House, sender: str) -> Pause:
    return Pause(SenderName(sender), house.clock.now(), "root", "wrong template")


@pytest.mark.P8
async def test_mail_of_a_paused_sender_is_kept_and_goes_once_it_is_resumed(house: House) -> None:
    house.configure(a_sender("app"), a_sender("paused"))
    await house.accept("paused", 3)
    await house.pauses.pause(a_pause(house, "paused"))
    house.start()
    house.carrier.let_through()
    await house.accept("paused", 2)
    await house.accept("app")
    assert await house.carrier.called(1) == ["app"]
    # Whoever is noticed after it has been passed over.
    await house.accept("app")
    assert await house.carrier.called(2) == ["app"] * 2
    assert (await house.counts())[State.READY] == 5
    assert not await house.pauses.resume(SenderName("app"))
    assert await house.pauses.resume(SenderName("paused"))
    assert sorted(await house.carrier.called(7)) == ["app"] * 2 + ["paused"] * 5
    assert await house.drained() == {}


async def test_a_pause_during_a_claim_gives_back_what_it_brings(house: House) -> None:
    await house.accept("app", 3)
    claim = house.store.queue.claim

    async def paused_meanwhile(*args: Any, **words: Any) -> Any:
        claims = await claim(*args, **words)
        if claims.taken and not house.pauses.in_force:
            await house.pauses.pause(a_pause(house, "app"))
        return claims

    house.store.queue.claim = paused_meanwhile  # type: ignore[method-assign]
    house.start()
    while not house.pauses.in_force:  # noqa: ASYNC110 - pauses tell nobody
        await asyncio.sleep(0)
    assert await house.drained() == {State.READY: 3}
    assert house.carrier.calls == []


async def test_a_mail_to_many_stops_after_the_call_under_way_once_it_is_paused(
    house: House,
) -> None:
    draft = house.store.spool.draft()
    await draft.append(b"From: app@example.com\r\n\r\nHi\r\n")
    envelope = Envelope(an_address("app@example.com"), addresses(120))
    await house.store.spool.commit(draft, SenderName("app"), envelope)
    house.start()
    await house.carrier.called(1)
    await house.pauses.pause(a_pause(house, "app"))
    house.carrier.let_through()
    while house.scheduler.in_flight:  # noqa: ASYNC110 - attempts tell nobody
        await asyncio.sleep(0)
    assert len(house.carrier.calls) == 1
    await house.pauses.resume(SenderName("app"))
    await house.carrier.called(3)
    asked = [address for call in house.carrier.calls for address in call.recipients]
    assert sorted(asked, key=str) == sorted(addresses(120), key=str), "twice, or not at all"
    assert await house.drained() == {}
