"""What operators.QueueView promises of selections and of the queue's shape, kept by the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from relay.mail.address import Address
from relay.mail.entry import State
from relay.mail.envelope import Mail, SenderName
from relay.operators import AGES, Axis, Selection, Verb
from tests.unit.store.stores import BILLING, JANE, JOE, JOHN, Opened, failed, opened

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
PRINTERS = SenderName("printers")
ANN = Address.parse("Ann@Sub.Example.NET")
ODD = Address.parse('"a@example.net"@other.example')


@pytest.fixture(name="spool")
async def _spool(tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(tmp_path) as spool:
        yield spool


async def found(spool: Opened, **criteria: Any) -> list[Mail]:
    return [entry.mail for entry in await spool.entries(**criteria)]


async def test_without_criteria_all_mail_is_meant(spool: Opened) -> None:
    mails = []
    for _ in range(3):
        mails.append(await spool.accept())
        spool.clock.advance(MINUTE)
    assert await found(spool) == mails
    assert Selection().is_everything
    assert not Selection(reason="x").is_everything


async def test_mail_is_found_by_its_sender_and_by_its_ids(spool: Opened) -> None:
    mine, other = await spool.accept(), await spool.accept(sender=PRINTERS)
    assert await found(spool, sender=BILLING) == [mine]
    assert await found(spool, sender=SenderName("Billing")) == []
    assert await found(spool, queue_ids=frozenset({other.queue_id})) == [other]
    both = frozenset({mine.queue_id, other.queue_id})
    assert await found(spool, queue_ids=both, sender=BILLING) == [mine]


async def test_a_domain_is_that_of_some_recipient_and_no_part_of_another(spool: Opened) -> None:
    net = await spool.accept(JANE, ODD)
    spool.clock.advance(MINUTE)
    sub = await spool.accept(ANN)
    assert await found(spool, domain="Example.NET") == [net]
    assert await found(spool, domain="sub.example.net") == [sub]
    assert await found(spool, domain="other.example") == [net]
    assert await found(spool, domain="ample.net") == []
    assert await found(spool, domain="%") == []


async def test_mail_is_found_by_its_states(spool: Opened) -> None:
    for outcome in (failed(), spool.deferred(), spool.held()):
        mail = await spool.accept()
        await spool.settle(await spool.claim_one(), outcome)
        (state,) = [e.state for e in await spool.entries() if e.mail == mail]
        assert await found(spool, states=frozenset({state})) == [mail]
    several = await found(spool, states=frozenset({State.FAILED, State.HELD, State.READY}))
    assert len(several) == 2


async def test_mail_is_found_by_its_age_to_the_millisecond(spool: Opened) -> None:
    old = await spool.accept()
    spool.clock.advance(MINUTE)
    new = await spool.accept()
    instant = timedelta(milliseconds=1)
    for at, before in (
        (old.arrived_at - instant, []),
        (old.arrived_at, [old]),
        (new.arrived_at, [old, new]),
    ):
        assert await found(spool, arrived_before=at) == before
    for at, after in (
        (old.arrived_at, [old, new]),
        (old.arrived_at + instant, [new]),
        (new.arrived_at + instant, []),
    ):
        assert await found(spool, arrived_after=at) == after


@pytest.mark.parametrize("text", ["throttl", "THROTTLED: 451 4.4.5 ses", "slow down"])
async def test_mail_is_found_by_why_it_waits_in_the_words_it_is_shown_with(
    spool: Opened, text: str
) -> None:
    mail = await spool.accept(JANE, JOHN)
    await spool.settle(await spool.claim_one(), spool.deferred(), failed())
    await spool.accept()
    assert await found(spool, reason=text) == [mail]
    assert len(await found(spool, reason="rejected")) == 1
    assert await found(spool, reason="nonsense") == []
    assert await found(spool, reason="%") == []


async def test_every_criterion_must_be_met(spool: Opened) -> None:
    mail = await spool.accept(JANE, message_id="1@erp.example.com")
    at = mail.arrived_at
    criteria: dict[str, Any] = {
        "queue_ids": frozenset({mail.queue_id}),
        "sender": BILLING,
        "recipient": str(JANE),
        "domain": "example.net",
        "states": frozenset({State.HELD}),
        "arrived_before": at,
        "arrived_after": at,
        "message_id": "1@erp.example.com",
        "reason": "wrong template",
    }
    await spool.order(Verb.HOLD, mail, reason="wrong template")
    assert await found(spool, **criteria) == [mail]
    others: dict[str, Any] = {
        "queue_ids": frozenset({"0" * 20}),
        "sender": PRINTERS,
        "recipient": str(JOE),
        "domain": "example.org",
        "states": frozenset({State.READY}),
        "arrived_before": at - MINUTE,
        "arrived_after": at + MINUTE,
        "message_id": "2@erp.example.com",
        "reason": "right template",
    }
    for name, value in others.items():
        assert await found(spool, **{**criteria, name: value}) == [], name


@pytest.mark.P5
async def test_what_is_in_no_known_state_is_found_as_corrupt(spool: Opened) -> None:
    mail = await spool.accept()
    await spool.writer.run(lambda c: c.execute("UPDATE entry SET state = 'lost'"))
    corrupt = frozenset({State.CORRUPT})
    assert [m.queue_id for m in await found(spool, states=corrupt)] == [mail.queue_id]
    assert await found(spool, states=frozenset({State.READY})) == []
    await spool.order(Verb.DROP, states=corrupt)
    assert await found(spool) == []


@pytest.mark.P6
@pytest.mark.parametrize("stretch", [1, 2, 7, 1000])
@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_a_page_may_be_short_but_all_of_them_have_all(
    spool: Opened, monkeypatch: pytest.MonkeyPatch, stretch: int, limit: int
) -> None:
    monkeypatch.setattr("relay.store.selecting._SHALLOW", stretch)
    monkeypatch.setattr("relay.store.selecting._DEEP", stretch)
    monkeypatch.setattr("relay.store.view._STRETCHES", 2)
    mails = []
    for number in range(12):
        sender = PRINTERS if number % 5 else BILLING
        mails.append(await spool.accept(JANE if number % 2 else JOHN, sender=sender))
        spool.clock.advance(MINUTE)
    for selection in (Selection(), Selection(sender=BILLING), Selection(recipient=str(JANE))):
        after: str | None = ""
        seen: list[Mail] = []
        while after is not None:
            page, after = await spool.store.queue.find(selection, after, limit)
            assert len(page) <= limit
            seen += [entry.mail for entry in page]
        meant = [
            mail
            for mail in mails
            if (selection.sender in (None, mail.sender))
            and (not selection.recipient or JANE in mail.envelope.recipients)
        ]
        assert seen == meant


# --- by Message-ID --------------------------------------------------------------------------------


async def test_mail_in_the_queue_is_found_by_its_message_id(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.store.selecting._SHALLOW", 2)
    mails = []
    for name in ("1", "x", "y", "z", "1"):
        mails.append(await spool.accept(message_id=f"{name}@erp.example.com"))
        spool.clock.advance(MINUTE)
    await spool.accept()
    assert await found(spool, message_id="1@erp.example.com") == [mails[0], mails[4]]
    assert await found(spool, message_id="2@erp.example.com") == []
    assert len(await found(spool)) == 6


# --- the shape ------------------------------------------------------------------------------------


async def shape(
    spool: Opened, axis: Axis, **criteria: Any
) -> tuple[dict[str, list[int]], list[int]]:
    """Return the groups and the total, added up over all stretches."""
    groups: dict[str, list[int]] = {}
    total = [0] * (len(AGES) + 1)
    after: str | None = ""
    while after is not None:
        part = await spool.store.queue.shape(Selection(**criteria), axis, after, spool.clock.now())
        for name, counts in part.groups.items():
            known = groups.get(name, [0] * len(total))
            groups[name] = [a + b for a, b in zip(known, counts, strict=True)]
        total = [a + b for a, b in zip(total, part.total, strict=True)]
        after = part.after
    return groups, total


@pytest.mark.parametrize("stretch", [1, 2, 1000])
async def test_the_shape_counts_mail_by_age_as_qshape_does(
    spool: Opened, monkeypatch: pytest.MonkeyPatch, stretch: int
) -> None:
    monkeypatch.setattr("relay.store.selecting._SHALLOW", stretch)
    # One mail at the beginning of each column, and one a second before it ends.
    ages = [limit * MINUTE - less for limit in AGES for less in (0 * SECOND, SECOND)]
    ages.sort(reverse=True)
    for age, younger in pairwise([*ages, 0 * SECOND]):
        await spool.accept()
        spool.clock.advance(age - younger)
    groups, total = await shape(spool, Axis.SENDER)
    assert total == [1, *[2] * (len(AGES) - 1), 1]
    assert groups == {BILLING: total}


async def test_the_shape_has_a_row_for_each_sender_state_reason_and_domain(
    spool: Opened,
) -> None:
    await spool.accept(JANE, JOHN)
    await spool.settle(await spool.claim_one(), spool.deferred(), spool.deferred())
    await spool.accept(ODD, ANN, JANE, sender=PRINTERS)

    async def counts(axis: Axis, **criteria: Any) -> dict[str, int]:
        groups, total = await shape(spool, axis, **criteria)
        return {name: sum(counts) for name, counts in groups.items()} | {"T": sum(total)}

    assert await counts(Axis.SENDER) == {"billing": 1, "printers": 1, "T": 2}
    assert await counts(Axis.STATE) == {"ready": 1, "scheduled": 1, "T": 2}
    assert await counts(Axis.REASON) == {"": 1, "throttled": 1, "T": 2}
    # Two recipients in one domain are one mail for it.
    assert await counts(Axis.DOMAIN) == {
        "example.net": 2,
        "other.example": 1,
        "sub.example.net": 1,
        "T": 2,
    }
    assert await counts(Axis.DOMAIN, sender=BILLING, states=frozenset({State.SCHEDULED})) == {
        "example.net": 1,
        "T": 1,
    }
    assert await counts(Axis.STATE, recipient=str(ANN), reason="x") == {"T": 0}


async def test_mail_from_the_future_is_as_young_as_can_be(spool: Opened) -> None:
    await spool.accept()
    spool.clock.advance(-60 * MINUTE)
    _, total = await shape(spool, Axis.STATE)
    assert total[0] == 1
