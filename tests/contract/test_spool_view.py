"""What ports.QueueView promises, kept by the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from operator import methodcaller
from pathlib import Path

import pytest

from relay.mail.entry import State
from relay.mail.envelope import QueueId, SenderName
from relay.ports import SpoolError
from tests.unit.store.stores import BILLING, JANE, JOHN, Opened, failed, opened, relayed

MINUTE = timedelta(minutes=1)
UNKNOWN = QueueId("06H04YCY58GVCD1MB7KG")


@pytest.fixture(name="spool")
async def _spool(tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(tmp_path) as spool:
        yield spool


async def test_every_state_is_counted_the_empty_ones_too(spool: Opened) -> None:
    assert await spool.store.queue.counts() == dict.fromkeys(State, 0)
    for _ in range(5):
        await spool.accept()
    claims = await spool.claim(4)
    for claim, settled in zip(claims, (relayed(), spool.deferred(), failed()), strict=False):
        await spool.settle(claim, settled)
    assert await spool.store.queue.counts() == dict.fromkeys(State, 0) | {
        State.READY: 1,
        State.IN_FLIGHT: 1,
        State.SCHEDULED: 1,
        State.FAILED: 1,
    }


async def test_entries_are_listed_by_queue_id_page_by_page(spool: Opened) -> None:
    mails = []
    for _ in range(5):
        mails.append(await spool.accept(JANE, JOHN))
        spool.clock.advance(MINUTE)
    after, pages = "", []
    while page := await spool.store.queue.list_entries(after, 2):
        pages.append([entry.mail for entry in page])
        after = page[-1].mail.queue_id
    assert pages == [mails[:2], mails[2:4], mails[4:]]


async def test_an_entry_is_shown_as_it_stands(spool: Opened) -> None:
    mail = await spool.accept(JANE, JOHN)
    shown = await spool.show(mail)
    assert shown.mail == mail
    assert (shown.state, shown.due_at, shown.reason) == (State.READY, mail.arrived_at, "")
    await spool.settle(await spool.claim_one(), spool.deferred(), spool.ambiguous())
    jane, john = (await spool.show(mail)).recipients
    assert (jane.state, jane.attempts) == (State.SCHEDULED, 1)
    assert jane.reason == "throttled: 451 4.4.5 SES Throttling: slow down"
    assert john.state is State.AMBIGUOUS


async def test_an_unknown_entry_is_none(spool: Opened) -> None:
    assert await spool.store.queue.show(UNKNOWN) is None
    assert await spool.store.queue.retry(UNKNOWN, now=spool.clock.now()) is None


async def test_the_senders_are_those_with_mail_configured_or_not(spool: Opened) -> None:
    await spool.accept()
    await spool.accept(sender=SenderName("gone"))
    assert sorted(await spool.store.queue.senders()) == [BILLING, "gone"]


async def test_retrying_makes_waiting_and_failed_recipients_due_now(spool: Opened) -> None:
    mail = await spool.accept(JANE, JOHN)
    await spool.settle(await spool.claim_one(), failed(), spool.deferred(60 * MINUTE))
    assert not await spool.claim()
    assert await spool.store.queue.retry(mail.queue_id, now=spool.clock.now()) is State.READY
    claim = await spool.claim_one()
    assert claim.recipients == (JANE, JOHN)
    assert claim.attempts == {JANE: 2, JOHN: 2}


async def test_held_mail_can_be_retried(spool: Opened) -> None:
    mail = await spool.accept()
    await spool.store.queue.hold(await spool.claim_one(), "held", now=spool.clock.now())
    assert await spool.store.queue.retry(mail.queue_id, now=spool.clock.now()) is State.READY
    assert (await spool.claim_one()).mail == mail


async def test_retrying_takes_nothing_away_from_an_attempt(spool: Opened) -> None:
    mail = await spool.accept()
    claim = await spool.claim_one()
    assert await spool.store.queue.retry(mail.queue_id, now=spool.clock.now()) is State.IN_FLIGHT
    assert await spool.settle(claim, relayed()) is None


async def test_retrying_mends_no_content(spool: Opened) -> None:
    mail = await spool.accept()
    await spool.store.queue.damaged(await spool.claim_one(), "half", now=spool.clock.now())
    assert await spool.store.queue.retry(mail.queue_id, now=spool.clock.now()) is State.CORRUPT
    assert not await spool.claim()


async def test_a_view_that_cannot_be_had_is_a_spool_error(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.writer.run(methodcaller("execute", "ALTER TABLE tally RENAME TO lost"))
        with pytest.raises(SpoolError, match=r"spool\.db cannot be read: no such table: tally"):
            await spool.store.queue.counts()
        assert await spool.store.queue.list_entries("", 10) == []
