"""What ports.Spool promises of a sender's backlog, kept by the store and by the fake of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from relay.mail.entry import State
from relay.mail.envelope import Envelope, SenderName
from relay.ports import Spool, SpoolError
from tests.fakes import FakeSpool
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

ENVELOPE = Envelope(JOE, (JANE,))
PRINTERS = SenderName("printers")
NOTHING = (0, 0)

pytestmark = pytest.mark.P6


@pytest.fixture(name="spool")
async def _spool(tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(tmp_path) as spool:
        yield spool


@pytest.fixture(name="front", params=["fake", "store"])
async def _front(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Spool]:
    if request.param == "fake":
        yield FakeSpool()
        return
    async with opened(tmp_path) as spool:
        yield spool.store.spool


def kept(front: Spool, sender: SenderName = BILLING) -> tuple[int, int]:
    """Messages and octets."""
    return front.backlog(sender)[:2]


async def of_rows(spool: Opened, sender: SenderName = BILLING) -> tuple[int, int]:
    """Return the backlog, which must be what the rows add up to."""
    row = await spool.writer.run(
        lambda connection: connection.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM entry WHERE sender = ?", (sender,)
        ).fetchone()
    )
    found = kept(spool.store.spool, sender)
    assert found == row
    return found


# --- whatever the spool ---------------------------------------------------------------------------


async def test_at_first_there_is_none(front: Spool) -> None:
    assert kept(front, BILLING) == NOTHING


@pytest.mark.parametrize("content", [b"", SMALL, LARGE])
async def test_what_is_committed_is_counted_for_its_sender_alone(
    front: Spool, content: bytes
) -> None:
    for _ in range(2):
        draft = front.draft()
        await draft.append(content)
        assert front.backlog(BILLING).messages in {0, 1}
        await front.commit(draft, BILLING, ENVELOPE)
    assert kept(front, BILLING) == (2, 2 * len(content))
    assert kept(front, PRINTERS) == NOTHING


async def test_what_is_not_committed_is_not_counted(front: Spool) -> None:
    draft = front.draft()
    await draft.append(SMALL)
    assert kept(front, BILLING) == NOTHING
    await draft.discard()
    assert kept(front, BILLING) == NOTHING


async def test_a_commit_that_fails_is_not_counted(front: Spool) -> None:
    envelope = ENVELOPE
    if isinstance(front, FakeSpool):
        front.commit_error = SpoolError("spool.db: disk I/O error")
    else:
        envelope = Envelope(JOE, (JANE, JANE))
    draft = front.draft()
    await draft.append(SMALL)
    with pytest.raises(SpoolError):
        await front.commit(draft, BILLING, envelope)
    assert kept(front, BILLING) == NOTHING


# --- the store ------------------------------------------------------------------------------------


async def test_it_is_counted_until_ses_has_taken_it_for_all(spool: Opened) -> None:
    await spool.accept(JANE, JOHN)
    claim = await spool.claim_one()
    assert await of_rows(spool) == (1, len(SMALL))
    assert await spool.settle(claim, relayed(), spool.deferred()) is State.SCHEDULED
    assert await of_rows(spool) == (1, len(SMALL))
    spool.clock.advance(timedelta(minutes=1))
    assert await spool.settle(await spool.claim_one(), relayed()) is None
    assert await of_rows(spool) == NOTHING


async def test_many_that_come_and_go_at_once_are_all_counted(spool: Opened) -> None:
    await asyncio.gather(*(spool.accept() for _ in range(100)))
    await asyncio.gather(*(spool.accept(sender=PRINTERS) for _ in range(7)))
    claims = await spool.claim(60)
    await asyncio.gather(*(spool.settle(claim, relayed()) for claim in claims))
    assert await of_rows(spool) == (40, 40 * len(SMALL))
    assert await of_rows(spool, PRINTERS) == (7, 7 * len(SMALL))


async def test_what_could_not_be_recorded_changes_nothing(spool: Opened) -> None:
    await spool.accept()
    claim = await spool.claim_one()
    await spool.settle(claim, relayed())
    await spool.accept()
    with pytest.raises(Exception, match="the claim is over"):
        await spool.settle(claim, relayed())
    assert await of_rows(spool) == (1, len(SMALL))


async def test_failed_and_corrupt_mail_fills_the_disk_too_also_after_a_restart(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as spool:
        for content in (SMALL, LARGE, SMALL, SMALL):
            await spool.accept(content=content)
        await spool.accept(sender=PRINTERS)
        first, second, third = await spool.claim(3)
        now = spool.clock.now()
        assert await spool.settle(first, failed()) is State.FAILED
        await spool.store.queue.damaged(second, "its checksum fails", now=now)
        await spool.store.queue.hold(third, "sender-removed", now=now)
        expected = (4, 3 * len(SMALL) + len(LARGE))
        assert await of_rows(spool) == expected
    async with opened(tmp_path) as spool:
        assert await of_rows(spool) == expected
        assert await of_rows(spool, PRINTERS) == (1, len(SMALL))
        assert await spool.settle(await spool.claim_one(), relayed()) is None
        assert await of_rows(spool) == (3, 2 * len(SMALL) + len(LARGE))
    async with opened(tmp_path) as spool:
        assert await of_rows(spool) == (3, 2 * len(SMALL) + len(LARGE))


async def test_those_who_commit_at_once_do_not_all_take_the_last_of_a_share(spool: Opened) -> None:
    front = spool.store.spool
    drafts = [front.draft() for _ in range(5)]
    for draft in drafts:
        await draft.append(SMALL)
    commits = [asyncio.create_task(front.commit(draft, BILLING, ENVELOPE)) for draft in drafts]
    await asyncio.sleep(0)
    assert kept(front) == (5, 5 * len(SMALL)), "what is being committed does not count"
    await asyncio.gather(*commits)
    assert await of_rows(spool) == (5, 5 * len(SMALL))


async def test_the_room_is_what_is_kept_and_what_is_free_above_the_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A disk of 1,000 blocks of 1 KiB, 300 of them free, of which 100 must stay free.
    table = os.statvfs_result((1024, 1024, 1000, 310, 300, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: table)
    async with opened(tmp_path, min_free=0.1) as spool:
        front = spool.store.spool
        assert front.backlog(BILLING).room == 200 * 1024
        await spool.accept(content=b"x" * 4096)
        await spool.accept(content=b"x" * 4096, sender=PRINTERS)
        # What the disk shows of it, the table does not follow.
        assert front.backlog(BILLING).room == 200 * 1024 + 2 * 4096
        fuller = os.statvfs_result((1024, 1024, 1000, 100, 90, 0, 0, 0, 0, 255))
        monkeypatch.setattr(os, "statvfs", lambda _: fuller)
        spool.clock.advance(timedelta(seconds=1))
        assert front.backlog(BILLING).room == 2 * 4096, "less than nothing is free"
