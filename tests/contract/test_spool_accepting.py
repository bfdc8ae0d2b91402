"""What ports.Spool and ports.Draft promise, kept by the store."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from relay.mail.address import Address
from relay.mail.entry import State
from relay.mail.envelope import QUEUE_ID, Envelope, SenderName
from relay.ports import Draft, Spool, SpoolError, SpoolFullError, WithdrawnError
from tests.unit.store.stores import (
    BILLING,
    JANE,
    JOE,
    JOHN,
    LARGE,
    SMALL,
    Opened,
    opened,
    relayed,
)

ENVELOPE = Envelope(JOE, (JANE,))


@pytest.fixture(name="spool")
async def _spool(tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(tmp_path) as spool:
        yield spool


def test_the_store_is_what_the_ports_describe(spool: Opened) -> None:
    front: Spool = spool.store.spool
    draft: Draft = front.draft()
    assert QUEUE_ID.fullmatch(draft.queue_id)
    assert draft.size == 0


@pytest.mark.P1
@pytest.mark.P2
@pytest.mark.parametrize("content", [b"", SMALL, bytes(range(256)) * 512, LARGE])
async def test_accepted_mail_is_there_octet_for_octet_after_a_restart(
    tmp_path: Path, content: bytes
) -> None:
    async with opened(tmp_path) as spool:
        mail = await spool.accept(JANE, JOHN, content=content)
    async with opened(tmp_path) as spool:
        claim = await spool.claim_one()
        assert claim.mail == mail
        assert mail.size == len(content)
        found = claim.content
        assert (found if isinstance(found, bytes) else found.path.read_bytes()) == content


@pytest.mark.parametrize("reverse_path", [None, Address.parse('"odd one"@example.com')])
async def test_the_envelope_comes_back_as_it_was(
    spool: Opened, reverse_path: Address | None
) -> None:
    odd = tuple(Address.parse(t) for t in ("Z@example.net", '"a@b"@example.net', "a@[192.0.2.1]"))
    await spool.accept(*odd, reverse_path=reverse_path)
    claim = await spool.claim_one()
    assert claim.mail.envelope == Envelope(reverse_path, odd)
    assert claim.recipients == odd


@pytest.mark.P1
async def test_a_file_is_durable_before_its_row_is_handed_over(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    submit = spool.writer.submit
    monkeypatch.setattr("os.fsync", lambda _: steps.append("fsync"))

    def watched(*arguments: Any) -> object:
        steps.append("row")
        return submit(*arguments)

    monkeypatch.setattr(spool.writer, "submit", watched)
    await spool.accept(content=LARGE)
    assert steps == ["fsync", "fsync", "row"]


async def test_many_commits_at_once_share_a_few_transactions(spool: Opened) -> None:
    spool.facts.told.clear()
    mails = await asyncio.gather(*(spool.accept() for _ in range(100)))
    assert len({mail.queue_id for mail in mails}) == 100
    batches = [fact[1][0] for fact in spool.facts.told if fact[0] == "spool_committed"]
    assert sum(batches) == 100
    assert len(batches) <= 10


async def test_the_scheduler_learns_of_mail_once_it_is_durable(spool: Opened) -> None:
    noticed: list[SenderName] = []
    spool.store.on_commit = noticed.append
    assert spool.store.on_commit == noticed.append
    await spool.accept()
    assert noticed == [BILLING]


async def test_a_scheduler_that_fails_to_listen_harms_no_commit(spool: Opened) -> None:
    def fail(_: SenderName) -> None:
        raise LookupError("a bug elsewhere")

    spool.store.on_commit = fail
    await asyncio.gather(spool.accept(), spool.accept())
    assert spool.facts.names().count("fault") == 2


async def test_a_draft_is_committed_once(spool: Opened) -> None:
    draft = spool.store.spool.draft()
    await draft.append(SMALL)
    await spool.store.spool.commit(draft, BILLING, ENVELOPE)
    with pytest.raises(SpoolError, match="committed or discarded already"):
        await spool.store.spool.commit(draft, BILLING, ENVELOPE)
    await draft.discard()
    assert len(await spool.claim(5)) == 1


async def test_a_discarded_draft_cannot_be_committed(spool: Opened) -> None:
    draft = spool.store.spool.draft()
    await draft.discard()
    with pytest.raises(SpoolError):
        await spool.store.spool.commit(draft, BILLING, ENVELOPE)


@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_a_commit_that_fails_leaves_nothing_and_harms_no_other(
    spool: Opened, content: bytes
) -> None:
    twice = Envelope(JOE, (JANE, JANE))
    draft = spool.store.spool.draft()
    await draft.append(content)
    ended = await asyncio.gather(
        spool.accept(content=content),
        spool.store.spool.commit(draft, BILLING, twice),
        spool.accept(content=content),
        return_exceptions=True,
    )
    assert [isinstance(one, SpoolError) for one in ended] == [False, True, False]
    assert "spool_failed" in spool.facts.names()
    assert len(await spool.claim(5)) == 2
    await spool.store.spool._contents.close()
    assert not (spool.path / "content" / draft.queue_id).exists()


# --- taking it back -------------------------------------------------------------------------------


async def busy(spool: Opened) -> Callable[[], None]:
    """Keep the writer busy until what is returned is called."""
    began, go_on = threading.Event(), threading.Event()

    def work(_: sqlite3.Connection) -> None:
        began.set()
        go_on.wait()

    spool.writer.post(work)
    await asyncio.to_thread(began.wait)
    return go_on.set


async def handed_over(spool: Opened) -> None:
    """Return once a commit is with the writer's thread, which is busy."""
    waiting = spool.writer._thread._waiting
    await asyncio.to_thread(lambda: waiting.put(waiting.get()))


@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_a_commit_cancelled_before_the_writer_picks_it_leaves_nothing(
    spool: Opened, content: bytes
) -> None:
    go_on = await busy(spool)
    task = asyncio.create_task(spool.accept(content=content))
    await handed_over(spool)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on()
    assert not await spool.claim(5)
    await spool.store.spool._contents.close()
    assert not list((spool.path / "content").iterdir())


@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_a_commit_discarded_before_the_writer_picks_it_says_so(
    spool: Opened, content: bytes
) -> None:
    go_on = await busy(spool)
    draft = spool.store.spool.draft()
    await draft.append(content)
    task = asyncio.create_task(spool.store.spool.commit(draft, BILLING, ENVELOPE))
    await handed_over(spool)
    await draft.discard()
    with pytest.raises(WithdrawnError):
        await task
    go_on()
    assert not await spool.claim(5)
    assert not list((spool.path / "content").iterdir())


async def test_a_commit_discarded_while_its_file_is_written_says_so(spool: Opened) -> None:
    draft = spool.store.spool.draft()
    await draft.append(LARGE)
    task = asyncio.create_task(spool.store.spool.commit(draft, BILLING, ENVELOPE))
    await asyncio.sleep(0)
    await draft.discard()
    with pytest.raises(WithdrawnError):
        await task
    assert not await spool.claim(5)
    assert not list((spool.path / "content").iterdir())


async def test_a_commit_cancelled_while_its_file_is_written_leaves_nothing(
    spool: Opened,
) -> None:
    draft = spool.store.spool.draft()
    await draft.append(LARGE)
    task = asyncio.create_task(spool.store.spool.commit(draft, BILLING, ENVELOPE))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not await spool.claim(5)
    await spool.store.spool._contents.close()
    assert not list((spool.path / "content").iterdir())


@pytest.mark.P3
@pytest.mark.parametrize("undo", ["cancel", "discard"])
async def test_once_the_writer_has_picked_it_reply_and_row_agree(
    spool: Opened, monkeypatch: pytest.MonkeyPatch, undo: str
) -> None:
    began, go_on = threading.Event(), threading.Event()
    insert = spool.store.spool.insertion

    def slowly(connection: sqlite3.Connection, arrivals: list[Any]) -> object:
        began.set()
        go_on.wait()
        return insert(connection, arrivals)

    monkeypatch.setattr(spool.store.spool, "insertion", slowly)
    draft = spool.store.spool.draft()
    await draft.append(SMALL)
    task = asyncio.create_task(spool.store.spool.commit(draft, BILLING, ENVELOPE))
    await asyncio.to_thread(began.wait)
    if undo == "cancel":
        task.cancel()
    else:
        await draft.discard()
    go_on.set()
    mail = await task
    assert (await spool.show(mail)).state is State.READY


# --- room -----------------------------------------------------------------------------------------


async def test_there_is_room_while_the_floor_of_free_space_holds(tmp_path: Path) -> None:
    async with opened(tmp_path, min_free=0.0) as spool:
        assert spool.store.spool.has_room_for(1)
        assert not spool.store.spool.has_room_for(1 << 60)
    async with opened(tmp_path, min_free=1.0) as spool:
        assert not spool.store.spool.has_room_for(1)


async def test_there_is_no_room_while_commits_fail_and_there_is_again_when_they_work(
    spool: Opened,
) -> None:
    def full(_: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with pytest.raises(SpoolFullError):
        await spool.writer.run(full)
    assert not spool.store.spool.has_room_for(1)
    # No mail is begun any more, so the question itself has it tried out.
    await spool.come_round()
    assert spool.store.spool.has_room_for(1)


@pytest.mark.P6
async def test_content_that_announced_no_size_cannot_pass_the_floor(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of large contents, each begun while there still was room."""
    spare = 1 << 20
    found = os.statvfs_result((1, 1, spare, spare, spare, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: found)
    spool.clock.advance(timedelta(seconds=1))
    front = spool.store.spool
    drafts = [front.draft() for _ in range(10) if front.has_room_for(0)]
    refused = []
    for _ in range(2):  # the first fits in memory
        for draft in list(drafts):
            try:
                await draft.append(b"x" * 100_000)
            except SpoolFullError:
                refused.append(draft)
                drafts.remove(draft)
    content = spool.path / "content"
    assert sum(path.stat().st_size for path in content.iterdir()) <= spare
    assert (len(drafts), len(refused)) == (5, 5)
    for draft in refused:
        # Part of it was refused, and less than all must not become mail.
        with pytest.raises(SpoolError):
            await front.commit(draft, BILLING, ENVELOPE)
    for draft in drafts + refused:
        await draft.discard()
    assert not list(content.iterdir())
    assert front.has_room_for(0)


async def test_however_a_commit_ends_its_memory_is_free_again(spool: Opened) -> None:
    front, window = spool.store.spool, spool.store.spool._window
    for content in (SMALL, LARGE):
        await spool.accept(content=content)
        draft = front.draft()
        await draft.append(content)
        with pytest.raises(SpoolError):
            await front.commit(draft, BILLING, Envelope(JOE, (JANE, JANE)))
        go_on = await busy(spool)
        for undo in ("cancel", "discard"):
            draft = front.draft()
            await draft.append(content)
            task = asyncio.create_task(front.commit(draft, BILLING, ENVELOPE))
            await handed_over(spool)
            if undo == "cancel":
                task.cancel()
            else:
                await draft.discard()
            (ended,) = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(ended, asyncio.CancelledError | WithdrawnError)
        go_on()
    await spool.store.close()
    draft = front.draft()
    await draft.append(SMALL)
    with pytest.raises(SpoolError, match="is closed"):
        await front.commit(draft, BILLING, ENVELOPE)
    assert (window.kept, window.writing, window._freeing) == (0, 0, 0)


async def test_a_draft_of_somebody_else_is_refused(spool: Opened) -> None:
    with pytest.raises(SpoolError):
        await spool.store.spool.commit(SimpleNamespace(), BILLING, ENVELOPE)


async def test_content_goes_when_its_mail_has_left(spool: Opened) -> None:
    mail = await spool.accept(content=LARGE)
    path = spool.path / "content" / mail.queue_id
    assert path.stat().st_size == len(LARGE)
    assert await spool.settle(await spool.claim_one(), relayed()) is None
    await spool.store.spool._contents.close()
    assert not path.exists()
