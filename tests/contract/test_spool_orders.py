"""What operators.QueueOrders promises, kept by the store: each verb in each state, by the table."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from relay.mail.address import Address
from relay.mail.entry import State, Turn
from relay.mail.envelope import Mail, QueueId, SenderName
from relay.operators import Order, QueueOrders, Result, Selection, Verb
from relay.store.states import after
from tests.unit.store.stores import (
    BILLING,
    JANE,
    JOE,
    JOHN,
    LARGE,
    SMALL,
    Opened,
    failed,
    opened,
    relayed,
)

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
PRINTERS = SenderName("printers")
UNKNOWN = QueueId("06H04YCY58GVCD1MB7KG")
CELLS = list(itertools.product(Verb, State))


@pytest.fixture(name="spool")
async def _spool(tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(tmp_path) as spool:
        yield spool


async def mail_in(spool: Opened, state: State, *, content: bytes = SMALL) -> Mail:
    """Return a mail for Jane alone that is in that state."""
    mail = await spool.accept(content=content)
    if state is State.READY:
        return mail
    claim = await spool.claim_one()
    match state:
        case State.IN_FLIGHT:
            pass
        case State.SCHEDULED:
            await spool.settle(claim, spool.deferred(HOUR))
        case State.HELD:
            await spool.settle(claim, spool.held(HOUR))
        case State.AMBIGUOUS:
            await spool.settle(claim, spool.ambiguous(HOUR))
        case State.FAILED:
            await spool.settle(claim, failed())
        case State.CORRUPT:
            await spool.store.queue.damaged(claim, "a bad cable", now=spool.clock.now())
    assert (await spool.show(mail)).state is state
    return mail


async def mail_in_every_state(spool: Opened, *, but: frozenset[State] = frozenset()) -> None:
    # What is due is claimed first, so that comes last.
    for state in sorted(set(State) - but, key=lambda state: state is State.READY):
        await mail_in(spool, state)


async def state_of(spool: Opened, mail: Mail) -> State | None:
    shown = await spool.store.queue.show(mail.queue_id)
    return None if shown is None else shown.state


# --- the table ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "state"), CELLS)
async def test_each_verb_leads_from_each_state_where_the_table_says(
    spool: Opened, verb: Verb, state: State
) -> None:
    mail = await mail_in(spool, state)
    expected = after(state, Turn(verb.value))
    (turned,) = await spool.order(verb, mail)
    assert (turned.queue_id, turned.state) == (mail.queue_id, expected)
    assert await state_of(spool, mail) is expected
    if state is State.IN_FLIGHT:
        assert turned.result is Result.IN_FLIGHT
    elif state is expected is State.CORRUPT:
        assert turned.result is Result.CORRUPT
    else:
        # What is held is held anew by an operator: that is another reason.
        is_changed = expected is not state or (verb, state) == (Verb.HOLD, State.HELD)
        assert (turned.result is Result.CHANGED) is is_changed


@pytest.mark.parametrize(("verb", "state"), CELLS)
async def test_the_ledger_tells_of_what_was_changed_and_of_nothing_else(
    spool: Opened, verb: Verb, state: State
) -> None:
    mail = await mail_in(spool, state)
    before = await spool.facts_of(mail.queue_id)
    (turned,) = await spool.order(verb, mail, reason="wrong template")
    lines = await spool.store.record.trace(mail.queue_id, 100)
    more = [line for line in lines if line.fact not in {*before, "accepted"}]
    words = {Verb.HOLD: "held", Verb.RELEASE: "released", Verb.RETRY: "retried"}
    if turned.result is not Result.CHANGED:
        assert more == []
        return
    (line,) = more
    assert line.fact == words.get(verb, "dropped")
    assert line.detail == "by op: wrong template"
    assert (line.recipient, line.sender) == (str(JANE), BILLING)


@pytest.mark.parametrize("state", sorted(set(State) - {State.IN_FLIGHT}))
async def test_what_is_retried_or_released_from_hold_can_be_claimed_at_once(
    spool: Opened, state: State
) -> None:
    mail = await mail_in(spool, state)
    await spool.order(Verb.RETRY, mail)
    assert (await spool.claim_one()).mail.queue_id == mail.queue_id


@pytest.mark.parametrize("state", [State.READY, State.SCHEDULED, State.HELD, State.AMBIGUOUS])
async def test_what_is_held_is_not_claimed_until_it_is_released(
    spool: Opened, state: State
) -> None:
    mail = await mail_in(spool, state)
    await spool.order(Verb.HOLD, mail, reason="wrong template")
    shown = await spool.show(mail)
    assert (shown.reason, shown.due_at) == ("held by op: wrong template", None)
    assert shown.recipients[0].reason == "held by op: wrong template"
    spool.clock.advance(timedelta(days=365))
    assert not await spool.claim()
    await spool.order(Verb.RELEASE, mail)
    shown = await spool.show(mail)
    assert (shown.state, shown.reason, shown.due_at) == (State.READY, "", spool.clock.now())
    assert (await spool.claim_one()).mail.queue_id == mail.queue_id


@pytest.mark.P8
async def test_a_hold_by_an_operator_is_neither_probed_nor_readmitted(spool: Opened) -> None:
    held, orphan = await spool.accept(), await spool.accept()
    for claim in await spool.claim(2):
        await spool.store.queue.hold(claim, "sender-removed", now=spool.clock.now())
    await spool.order(Verb.HOLD, held)
    assert await spool.store.queue.readmit([BILLING], now=spool.clock.now()) == 1
    assert await state_of(spool, held) is State.HELD
    assert await state_of(spool, orphan) is State.READY


async def test_a_recipient_has_its_own_way_through_the_table(spool: Opened) -> None:
    """Who failed stays failed and is not held; who was relayed is no part of it any more."""
    mail = await spool.accept(JANE, JOHN, JOE)
    await spool.settle(await spool.claim_one(), failed(), spool.deferred(HOUR), relayed())
    await spool.order(Verb.HOLD, mail)
    shown = await spool.show(mail)
    assert [(one.address, one.state) for one in shown.recipients] == [
        (JANE, State.FAILED),
        (JOHN, State.HELD),
    ]
    assert shown.state is State.HELD
    await spool.order(Verb.RELEASE, mail)
    claim = await spool.claim_one()
    assert claim.recipients == (JOHN,)
    await spool.settle(claim, spool.deferred(HOUR))
    await spool.order(Verb.RETRY, mail)
    assert (await spool.claim_one()).recipients == (JANE, JOHN)


async def test_the_same_again_changes_nothing(spool: Opened) -> None:
    mail = await spool.accept()
    for verb in (Verb.HOLD, Verb.RELEASE, Verb.RETRY):
        results = [turned.result for _ in range(2) for turned in await spool.order(verb, mail)]
        # A mail that was released is due already.
        changed = Result.UNCHANGED if verb is Verb.RETRY else Result.CHANGED
        assert results == [changed, Result.UNCHANGED]
    assert [t.result for t in await spool.order(Verb.DROP, mail)] == [Result.CHANGED]
    assert [t.result for t in await spool.order(Verb.DROP, mail)] == [Result.UNKNOWN]
    facts = await spool.facts_of(mail.queue_id)
    assert facts == ["held", "released", "dropped"]


async def test_a_second_hold_is_told_of_beside_the_first(spool: Opened) -> None:
    mail = await spool.accept()
    for _ in range(2):
        await spool.order(Verb.HOLD, mail)
        spool.clock.advance(MINUTE)
        await spool.order(Verb.RELEASE, mail)
        spool.clock.advance(MINUTE)
    assert await spool.facts_of(mail.queue_id) == ["held", "released"] * 2


# --- drop -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", sorted(set(State) - {State.IN_FLIGHT}))
@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
async def test_what_is_dropped_leaves_nothing_behind_but_its_ledger(
    tmp_path: Path, state: State, content: bytes
) -> None:
    async with opened(tmp_path) as spool:
        mail = await mail_in(spool, state, content=content)
        await spool.order(Verb.DROP, mail)
        assert spool.store.spool.backlog(BILLING)[:2] == (0, 0)
        assert set((await spool.store.queue.counts()).values()) == {0}
        rows = await spool.writer.run(
            lambda connection: [
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
                for table in ("entry", "recipient", "content", "attempt")
            ]
        )
        assert rows == [0, 0, 0, 0]
        assert "dropped" in await spool.facts_of(mail.queue_id)
    assert not [*(tmp_path / "content").iterdir(), *(tmp_path / "corrupt").iterdir()]
    async with opened(tmp_path) as spool:
        assert spool.store.recovered == (0, 0, 0, 0)
        assert not await spool.claim()


async def test_a_file_goes_only_after_its_row(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = await spool.accept(content=LARGE)
    there: list[bool] = []
    forget = spool.store.spool._contents.forget

    def watched(queue_id: QueueId) -> None:
        there.append((spool.path / "content" / queue_id).exists())
        forget(queue_id)

    monkeypatch.setattr(spool.store.spool._contents, "forget", watched)
    await spool.writer.run(
        lambda connection: connection.execute(
            "CREATE TRIGGER no BEFORE DELETE ON entry BEGIN SELECT raise(ABORT, 'no'); END"
        )
    )
    with pytest.raises(Exception, match="no"):
        await spool.order(Verb.DROP, mail)
    assert there == []
    assert await state_of(spool, mail) is State.READY
    await spool.writer.run(lambda connection: connection.execute("DROP TRIGGER no"))
    await spool.order(Verb.DROP, mail)
    assert there == [True]


async def test_mail_in_flight_is_not_called_back_and_may_be_asked_for_again(
    spool: Opened,
) -> None:
    mail = await mail_in(spool, State.IN_FLIGHT)
    # All others are in the queue still.
    other = await spool.accept()
    results = {t.queue_id: t.result for t in await spool.order(Verb.DROP, sender=BILLING)}
    assert results == {mail.queue_id: Result.IN_FLIGHT, other.queue_id: Result.CHANGED}
    assert await state_of(spool, mail) is State.IN_FLIGHT


# --- another sender -------------------------------------------------------------------------------


async def test_mail_of_a_removed_sender_waits_for_another_one(spool: Opened) -> None:
    mail = await spool.accept(sender=PRINTERS)
    (claim,) = await spool.claim(sender=PRINTERS)
    await spool.store.queue.hold(claim, "sender-removed", now=spool.clock.now())
    senders = frozenset({BILLING})
    for verb in (Verb.RELEASE, Verb.RETRY):
        (turned,) = await spool.order(verb, mail, senders=senders)
        assert (turned.result, turned.state) == (Result.NO_SENDER, State.HELD)
    (turned,) = await spool.order(Verb.RELEASE, mail, senders=senders, new_sender=BILLING)
    assert (turned.result, turned.state) == (Result.CHANGED, State.READY)
    assert (await spool.claim_one()).mail.sender == BILLING
    assert spool.store.spool.backlog(PRINTERS)[:2] == (0, 0)
    assert spool.store.spool.backlog(BILLING)[:2] == (1, len(SMALL))
    line = (await spool.store.record.trace(mail.queue_id, 100))[-1]
    assert (line.fact, line.detail) == ("released", "by op, as billing: because")


async def test_mail_of_a_configured_sender_is_not_given_away(spool: Opened) -> None:
    mail = await spool.accept(sender=PRINTERS)
    await spool.order(Verb.HOLD, mail)
    senders = frozenset({BILLING, PRINTERS})
    (turned,) = await spool.order(Verb.RELEASE, mail, senders=senders, new_sender=BILLING)
    assert (turned.result, turned.state) == (Result.UNCHANGED, State.HELD)
    (turned,) = await spool.order(Verb.RELEASE, mail, new_sender=BILLING)
    assert turned.result is Result.UNCHANGED
    assert (await spool.show(mail)).mail.sender == PRINTERS


async def test_to_retry_mail_is_not_to_release_what_a_colleague_holds(spool: Opened) -> None:
    """Unlike what SES's answers hold, and unless it is known to be held."""
    held = await spool.accept()
    await spool.order(Verb.HOLD, held, reason="wrong template")
    other = await mail_in(spool, State.HELD)

    async def retry(*mails: Mail, **criteria: Any) -> dict[QueueId, Result]:
        turned = await spool.order(Verb.RETRY, *mails, **criteria)
        return {one.queue_id: one.result for one in turned}

    assert await retry(sender=BILLING) == {
        held.queue_id: Result.ON_HOLD,
        other.queue_id: Result.CHANGED,
    }
    assert await state_of(spool, held) is State.HELD
    assert await retry(states=frozenset({State.HELD})) == {held.queue_id: Result.CHANGED}
    await spool.order(Verb.HOLD, held)
    assert await retry(held) == {held.queue_id: Result.CHANGED}


@pytest.mark.P5
async def test_what_became_corrupt_a_moment_ago_keeps_its_complaint(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = await spool.accept()
    claim = await spool.claim_one()
    await spool.store.queue.release(claim, now=spool.clock.now(), due_at=spool.clock.now())
    turn = spool.store.orders._turn

    async def late(order: Order, some: Sequence[Any]) -> Any:
        for claim in await spool.claim():
            await spool.store.queue.damaged(claim, "a bad cable", now=spool.clock.now())
        return await turn(order, some)

    monkeypatch.setattr(spool.store.orders, "_turn", late)
    (turned,) = await spool.order(Verb.RETRY, mail)
    assert (turned.result, turned.state) == (Result.CORRUPT, State.CORRUPT)
    assert (await spool.show(mail)).reason == "a bad cable"


async def test_an_operator_is_told_whose_mail_is_due(spool: Opened) -> None:
    for sender in (BILLING, PRINTERS):
        await spool.accept(sender=sender)
    book: QueueOrders = spool.store.orders
    roused = {}
    for verb in (Verb.HOLD, Verb.RELEASE):
        order = Order(verb=verb, selection=Selection(), actor="op", reason="because")
        pages = [page async for page in book.carry_out(order)]
        roused[verb] = frozenset().union(*(page.roused for page in pages))
    assert roused == {Verb.HOLD: frozenset(), Verb.RELEASE: {BILLING, PRINTERS}}


# --- selections -----------------------------------------------------------------------------------


async def test_an_id_that_is_not_there_is_said_to_be_unknown(spool: Opened) -> None:
    mail = await spool.accept()
    turned = {t.queue_id: t for t in await spool.order(Verb.HOLD, mail, UNKNOWN)}
    assert turned[mail.queue_id].result is Result.CHANGED
    assert turned[UNKNOWN] == (UNKNOWN, Result.UNKNOWN, None)
    # Nor is one that is there, but not as it was wanted.
    (one,) = await spool.order(Verb.RELEASE, mail, states=frozenset({State.FAILED}))
    assert one.result is Result.UNKNOWN


async def test_mail_that_comes_after_an_order_was_given_is_not_part_of_it(spool: Opened) -> None:
    mails = [await spool.accept() for _ in range(3)]
    order = Order(verb=Verb.HOLD, selection=Selection(), actor="op", reason="because")
    async with aclosing(spool.store.orders.carry_out(order)) as pages:
        late = [await spool.accept() async for _ in pages]
    assert {await state_of(spool, mail) for mail in mails} == {State.HELD}
    assert {await state_of(spool, mail) for mail in late} == {State.READY}


@pytest.mark.parametrize("entries", [1, 2, 3, 100])
async def test_pages_together_are_all_mail_however_long_they_are(
    spool: Opened, monkeypatch: pytest.MonkeyPatch, entries: int
) -> None:
    monkeypatch.setattr("relay.store.orders.ENTRIES", entries)
    monkeypatch.setattr("relay.store.selecting._SHALLOW", 3)
    mails = []
    for _ in range(10):
        mails.append(await spool.accept())
        spool.clock.advance(MINUTE)
    turned = await spool.order(Verb.DROP)
    assert [one.queue_id for one in turned] == [mail.queue_id for mail in mails]
    assert await spool.entries() == []


async def test_an_order_that_is_broken_off_has_done_what_its_pages_say(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.store.orders.ENTRIES", 2)
    for _ in range(6):
        await spool.accept()
    order = Order(verb=Verb.HOLD, selection=Selection(), actor="op", reason="because")
    async with aclosing(spool.store.orders.carry_out(order)) as pages:
        async for page in pages:
            assert len(page.mails) == 2
            break
    assert (await spool.store.queue.counts())[State.HELD] == 2
    again = [one.result for one in await spool.order(Verb.HOLD)]
    assert sorted(again) == [Result.CHANGED] * 4 + [Result.UNCHANGED] * 2


@pytest.mark.parametrize("verb", Verb)
async def test_what_is_foreseen_comes_true_and_until_then_nothing_changes(
    spool: Opened, verb: Verb
) -> None:
    await mail_in_every_state(spool, but=frozenset({State.CORRUPT}))
    before = await spool.entries()
    order = Order(verb=verb, selection=Selection(), actor="op", reason="because")

    def dump(connection: object) -> list[str]:
        return list(connection.iterdump())  # type: ignore[attr-defined]

    # What the mover has still to carry over is no matter of ours.
    await spool.facts_of("anything")
    was = await spool.writer.run(dump)
    foreseen = [one async for page in spool.store.orders.foresee(order) for one in page.mails]
    assert await spool.writer.run(dump) == was
    assert await spool.entries() == before
    assert foreseen == await spool.order(verb)


async def test_a_corrupt_mail_is_not_looked_at_to_foresee(spool: Opened) -> None:
    await mail_in(spool, State.CORRUPT, content=LARGE)
    order = Order(verb=Verb.RETRY, selection=Selection(), actor="op")
    (page, _) = [page async for page in spool.store.orders.foresee(order)]
    assert [one.result for one in page.mails] == [Result.CORRUPT]
    assert len(list((spool.path / "corrupt").iterdir())) == 1


# --- beside everything else -----------------------------------------------------------------------


@pytest.mark.P6
async def test_the_tally_and_the_backlog_follow(spool: Opened) -> None:
    await mail_in_every_state(spool)
    for verb in (Verb.HOLD, Verb.RELEASE, Verb.RETRY, Verb.DROP):
        await spool.order(verb)
        counted = await spool.store.queue.counts()
        entries = await spool.entries()
        shown = [entry.state for entry in entries]
        assert counted == {state: shown.count(state) for state in State}
        octets = sum(entry.mail.size for entry in entries)
        assert spool.store.spool.backlog(BILLING)[:2] == (len(entries), octets)
    assert shown == [State.IN_FLIGHT]


@pytest.mark.P8
async def test_time_held_by_an_operator_is_no_time_waited(spool: Opened) -> None:
    mail = await spool.accept()
    spool.clock.advance(MINUTE)
    await spool.order(Verb.HOLD, mail)
    spool.clock.advance(HOUR)
    await spool.order(Verb.RELEASE, mail)
    spool.clock.advance(MINUTE)
    claim = await spool.claim_one()
    assert (claim.waited, claim.held) == (2 * MINUTE, HOUR)


async def test_orders_and_attempts_at_once_lose_nothing(spool: Opened) -> None:
    for _ in range(200):
        await spool.accept()
    sent: set[str] = set()
    dropped: set[str] = set()

    async def deliver() -> None:
        while claims := await spool.claim(7):
            for claim in claims:
                await spool.settle(claim, relayed())
                sent.add(claim.mail.queue_id)

    async def drop() -> None:
        order = Order(verb=Verb.DROP, selection=Selection(), actor="op", reason="because")
        async for page in spool.store.orders.carry_out(order):
            dropped.update(t.queue_id for t in page.mails if t.result is Result.CHANGED)

    await asyncio.gather(deliver(), drop())
    left = {entry.mail.queue_id for entry in await spool.entries()}
    assert not left
    assert len(sent) + len(dropped) == 200
    assert not sent & dropped


# --- at length ------------------------------------------------------------------------------------

MANY = 10_000


@dataclass
class Flow:
    """Mail that keeps coming in, and what each had to wait, in the time of the loop's thread."""

    spool: Opened
    waits: list[float] = field(default_factory=list)
    mails: list[Mail] = field(default_factory=list)
    is_over: bool = False

    async def run(self) -> None:
        while not self.is_over:
            # Not the time on the wall: other people's work on this machine is no wait of ours.
            began = time.thread_time()
            self.mails.append(await self.spool.accept(sender=PRINTERS))
            self.waits.append(time.thread_time() - began)


@pytest.fixture(name="quick_spool")
async def _quick_spool(tmp_path: Path) -> AsyncIterator[Opened]:
    """Yield a store in memory where there is such a place: how slow a disk is, is not the matter."""
    memory = Path("/dev/shm")  # noqa: S108 - the directory made there is ours alone
    where = memory if os.access(memory, os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(dir=where) as directory:
        async with opened(Path(directory)) as spool:
            # What thousands of tests have left behind is not looked through meanwhile.
            gc.collect()
            gc.freeze()
            yield spool


@pytest.mark.P6
@pytest.mark.timeout(300)
async def test_a_long_queue_is_held_released_and_dropped_while_mail_comes_in(
    quick_spool: Opened,
) -> None:
    spool = quick_spool
    await spool.fill(MANY, state=State.READY)
    flow = Flow(spool)
    clients = [asyncio.create_task(flow.run()) for _ in range(8)]
    for verb, state in ((Verb.HOLD, State.HELD), (Verb.RELEASE, State.READY), (Verb.DROP, None)):
        spool.facts.told.clear()
        before = len(flow.mails)
        turned = await spool.order(verb, sender=BILLING)
        assert [one.result for one in turned] == [Result.CHANGED] * MANY
        assert {one.state for one in turned} == {state}
        batches = [args[0] for name, args in spool.facts.told if name == "spool_committed"]
        # In pages, with mail between them.
        assert len(batches) >= MANY / 100
        assert len(flow.mails) - before >= len(batches) / 4
    # Not cancelled: a commit that is under way already is none the less for it.
    flow.is_over = True
    await asyncio.gather(*clients)
    assert max(flow.waits) < 0.1, f"a mail waited {max(flow.waits):.3f} s of the loop's time"
    assert spool.store.spool.backlog(BILLING)[:2] == (0, 0)
    left = await spool.store.queue.counts()
    assert left == dict.fromkeys(State, 0) | {State.READY: sum(left.values())}
    assert sum(left.values()) == len(flow.mails)


@pytest.mark.P6
@pytest.mark.parametrize(
    ("verb", "recipients", "octets", "expected"),
    # By 100 mails, 400 recipients, or 1 MiB of content that is to be removed.
    [
        (Verb.DROP, 1, 100, [100, 20, 0]),
        (Verb.DROP, 300, 100, [2] * 60 + [0]),
        (Verb.DROP, 1, 100_000, [11] * 10 + [10, 0]),
        (Verb.HOLD, 1, 100_000, [100, 20, 0]),
    ],
)
async def test_a_page_is_cut_where_mail_is_heavy(
    spool: Opened, verb: Verb, recipients: int, octets: int, expected: list[int]
) -> None:
    people = [Address("user", f"example{n}.net") for n in range(recipients)]
    await asyncio.gather(*(spool.accept(*people, content=b"x" * octets) for _ in range(120)))
    order = Order(verb=verb, selection=Selection(), actor="op", reason="because")
    assert [len(page.mails) async for page in spool.store.orders.carry_out(order)] == expected
