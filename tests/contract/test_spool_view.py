"""What operators.QueueView promises, kept by the store."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from datetime import timedelta
from operator import methodcaller
from pathlib import Path

import pytest

from relay.mail.address import Address
from relay.mail.entry import State
from relay.mail.envelope import QueueId, SenderName
from relay.operators import Selection
from relay.ports import ContentFile, SpoolError
from tests.unit.store.stores import BILLING, JANE, JOE, JOHN, LARGE, Opened, failed, opened, relayed

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
    after: str | None = ""
    pages = []
    while after is not None:
        entries, after = await spool.store.queue.find(Selection(), after, 2)
        pages.append([entry.mail for entry in entries])
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
    assert await spool.retry(UNKNOWN) is None


async def test_the_senders_are_those_with_mail_configured_or_not(spool: Opened) -> None:
    await spool.accept()
    await spool.accept(sender=SenderName("gone"))
    assert sorted(await spool.store.queue.senders()) == [BILLING, "gone"]


async def test_retrying_makes_waiting_and_failed_recipients_due_now(spool: Opened) -> None:
    mail = await spool.accept(JANE, JOHN)
    await spool.settle(await spool.claim_one(), failed(), spool.deferred(60 * MINUTE))
    assert not await spool.claim()
    assert await spool.retry(mail) is State.READY
    claim = await spool.claim_one()
    assert claim.recipients == (JANE, JOHN)
    assert claim.attempts == {JANE: 2, JOHN: 2}


async def test_held_mail_can_be_retried(spool: Opened) -> None:
    mail = await spool.accept()
    await spool.store.queue.hold(await spool.claim_one(), "held", now=spool.clock.now())
    assert await spool.retry(mail) is State.READY
    assert (await spool.claim_one()).mail == mail


async def test_retrying_takes_nothing_away_from_an_attempt(spool: Opened) -> None:
    mail = await spool.accept()
    claim = await spool.claim_one()
    assert await spool.retry(mail) is State.IN_FLIGHT
    assert await spool.settle(claim, relayed()) is None


@pytest.mark.P5
@pytest.mark.parametrize("remains", [None, b"half", LARGE[:-1] + b"?"])
async def test_retrying_mends_no_content(spool: Opened, remains: bytes | None) -> None:
    mail = await spool.accept(content=LARGE)
    path = spool.path / "content" / mail.queue_id
    path.unlink() if remains is None else path.write_bytes(remains)
    for claim in await spool.claim():
        await spool.store.queue.damaged(claim, "its checksum", now=spool.clock.now())
    for _ in range(2):
        assert await spool.retry(mail) is State.CORRUPT
        assert (await spool.show(mail)).reason.startswith("its content file ")
        assert not await spool.claim()
    assert not path.exists()


@pytest.mark.P5
@pytest.mark.parametrize("place", ["content", "corrupt"])
async def test_what_is_whole_again_is_retried(spool: Opened, place: str) -> None:
    mail = await spool.accept(content=LARGE)
    path = spool.path / "content" / mail.queue_id
    path.write_bytes(b"half")
    assert not await spool.claim()
    assert await spool.retry(mail) is State.CORRUPT
    # An operator has found a copy.
    (spool.path / place / mail.queue_id).write_bytes(LARGE)
    assert await spool.retry(mail) is State.READY
    content = (await spool.claim_one()).content
    assert isinstance(content, ContentFile)
    assert content.path.read_bytes() == LARGE


@pytest.mark.P5
async def test_small_content_that_was_whole_all_along_is_retried(spool: Opened) -> None:
    mail = await spool.accept()
    claim = await spool.claim_one()
    await spool.store.queue.damaged(claim, "a bad cable", now=spool.clock.now())
    assert await spool.retry(mail) is State.READY
    assert (await spool.claim_one()).mail == mail


@pytest.mark.P5
async def test_a_content_file_that_cannot_be_looked_at_keeps_its_entry_as_it_is(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = await spool.accept(content=LARGE)
    claim = await spool.claim_one()
    await spool.store.queue.damaged(claim, "a bad cable", now=spool.clock.now())

    def refuse(path: Path, size: int) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr("relay.store.content.complaint_of_file", refuse)
        assert await spool.retry(mail) is State.CORRUPT
    assert "spool_failed" in spool.facts.names()
    assert (await spool.show(mail)).reason == "a bad cable"
    assert await spool.retry(mail) is State.READY


# --- by recipient ---------------------------------------------------------------------------------


async def test_entries_are_found_by_recipient_oldest_first_and_whatever_the_case(
    spool: Opened,
) -> None:
    mails = []
    for people in ((JANE, JOHN), (JOE,), (JOHN,), (JOE, JOHN, JANE)):
        mails.append(await spool.accept(*people))
        spool.clock.advance(MINUTE)
    for spelt in ("john@example.net", "JOHN@Example.NET"):
        found = await spool.entries(recipient=spelt)
        assert [entry.mail for entry in found] == [mails[0], mails[2], mails[3]]
    first, after = await spool.store.queue.find(Selection(recipient=str(JOHN)), "", 2)
    assert [entry.mail for entry in first] == [mails[0], mails[2]]
    assert after is not None
    rest, after = await spool.store.queue.find(Selection(recipient=str(JOHN)), after, 2)
    assert ([entry.mail for entry in rest], after) == ([mails[3]], None)
    assert await spool.entries(recipient="nobody@example.net") == []


@pytest.mark.P6
@pytest.mark.parametrize("page", [1, 2, 3, 100])
async def test_recipients_are_gone_through_in_short_transactions(
    spool: Opened, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr("relay.store.view._RECIPIENTS", page)
    monkeypatch.setattr("relay.store.selecting._DEEP", page)
    odd = Address.parse("JANE@example.net")
    mails = []
    for _ in range(4):
        mails.append(await spool.accept(JANE, JOHN, odd))
        spool.clock.advance(MINUTE)
    found = await spool.entries(recipient="jane@example.net")
    assert [entry.mail for entry in found] == mails


async def test_a_view_that_cannot_be_had_is_a_spool_error(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.writer.run(methodcaller("execute", "ALTER TABLE tally RENAME TO lost"))
        with pytest.raises(SpoolError, match=r"spool\.db cannot be read: no such table: tally"):
            await spool.store.queue.counts()
        assert await spool.entries() == []
