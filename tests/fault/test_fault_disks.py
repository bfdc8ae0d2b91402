"""Disks that are full, locks that others hold, limits of the process: the real ones, no seams."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from relay.operators import Verb
from relay.policy.expiry import Terms
from relay.ports import SpoolError, SpoolFullError
from relay.store import thread
from relay.store.wal import Log
from tests.fault.disks import MIB, Filler, limited, small_disk, sqlite_error
from tests.unit.store.stores import BILLING, JANE, LARGE, Opened, failed, opened, relayed

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
RESERVE = 2 * MIB
TERMS = Terms(lifetime=4 * DAY, longest_wait=SECOND, keep_failed=7 * DAY, history=30 * DAY)


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 12) as disk:
        yield disk


async def until_full(spool: Opened, content: bytes) -> int:
    """Accept mail until there is no room; return how many were accepted."""
    for accepted in range(10_000):
        try:
            await spool.accept(content=content)
        except SpoolFullError:
            return accepted
    raise AssertionError("a full disk still takes mail")


def told_of_folds(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Have a relay at rest soon; return what is set whenever its log was folded."""
    is_folded, loop, fold = asyncio.Event(), asyncio.get_running_loop(), Log.fold

    def watched(log: Log, how: Any) -> None:
        fold(log, how)
        if log._path.name == "spool.db-wal":
            loop.call_soon_threadsafe(is_folded.set)

    monkeypatch.setattr(thread, "IDLE", 0.01)
    monkeypatch.setattr(Log, "fold", watched)
    return is_folded


async def resumed(spool: Opened) -> None:
    """Return once service has resumed, by nobody's doing but the clock's."""
    spool.clock.advance(SECOND)
    spool.store.spool.has_room_for(1)
    await spool.come_round()
    assert spool.store.spool.has_room_for(1), "the disk is well, and mail is still refused"


@pytest.mark.P1
@pytest.mark.P3
@pytest.mark.parametrize("content", [b"x" * 4096, LARGE], ids=["rows", "files"])
async def test_a_disk_that_somebody_else_fills_and_empties(disk: Path, content: bytes) -> None:
    filler = Filler(disk)
    async with opened(disk / "spool", reserve=RESERVE) as spool:
        for _ in range(20):
            await spool.accept(JANE)
        in_hand = await spool.claim(10)
        filler.fill()
        accepted = await until_full(spool, content)
        # The log may have had some space of its own; it ends, and the reserve is not for this.
        assert accepted < 10 * MIB // len(content)
        # What SES said of ten mails, while there is not an octet left on the disk.
        await until_full(spool, b"x" * 4096)
        for claim in in_hand:
            assert await spool.settle(claim, relayed()) is None
        assert not spool.store.spool.is_well
        with pytest.raises(SpoolError, match="outcomes alone"):
            await spool.claim()
        filler.go()
        await resumed(spool)
        assert (disk / "spool" / "reserve").stat().st_blocks * 512 >= RESERVE
        kept = {claim.mail.queue_id for claim in await spool.claim(10_000)}
        sent = {claim.mail.queue_id for claim in in_hand}
        assert not kept & sent, "what was recorded as sent is handed out again"
        assert len(kept) + len(sent) >= 20
        await spool.accept(content=content)


@pytest.mark.P3
async def test_outcomes_are_recorded_out_of_the_reserve_while_nothing_else_is(disk: Path) -> None:
    filler = Filler(disk)
    async with opened(disk / "spool", reserve=RESERVE) as spool:
        for _ in range(40):
            await spool.accept(JANE, content=b"x" * 4096)
        in_hand = await spool.claim(40)
        # A log that was emptied must grow for whatever is written next.
        with contextlib.closing(sqlite3.connect(spool.path / "spool.db")) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        filler.fill()
        for claim in in_hand:
            assert await spool.settle(claim, relayed()) is None
        assert not (disk / "spool" / "reserve").exists(), "it was not needed: the disk is not full"
        assert not spool.store.spool.is_well
        with pytest.raises(SpoolError, match="outcomes alone"):
            await spool.claim()
        filler.go()
        await resumed(spool)
        assert not await spool.claim()


@pytest.mark.P5
async def test_on_a_full_disk_dropping_and_purging_make_room(disk: Path) -> None:
    filler = Filler(disk)
    async with opened(disk / "spool", reserve=RESERVE) as spool:
        spent = [await spool.accept(content=LARGE) for _ in range(4)]
        for claim in await spool.claim(10):
            await spool.settle(claim, failed())
        dropped = [await spool.accept(content=LARGE) for _ in range(16)]
        filler.fill()
        # Of what is small, until the log cannot grow and the reserve is given up.
        await until_full(spool, b"x" * 4096)
        with pytest.raises(SpoolError, match="outcomes alone"):
            await spool.order(Verb.HOLD, *dropped)
        spool.clock.advance(TERMS.keep_failed)
        now = spool.clock.now()
        (group,) = (await spool.store.upkeep.look(0, TERMS, now=now)).spent
        purged = await spool.store.upkeep.purge(group, TERMS, now=now)
        assert {mail.queue_id for mail in purged} == {mail.queue_id for mail in spent}
        assert len(await spool.order(Verb.DROP, *dropped)) == len(dropped)
        await spool.store.spool._contents.close()
        assert not list((spool.path / "content").iterdir())
        await resumed(spool)
        await spool.accept()


@pytest.mark.P5
async def test_on_a_full_disk_dropping_small_mail_makes_room_too(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves free pages in the database, which are no room for the reserve."""
    filler = Filler(disk)
    is_folded = told_of_folds(monkeypatch)
    async with opened(disk / "spool", reserve=RESERVE) as spool:
        content = b"x" * 4096
        await asyncio.gather(*(spool.accept(content=content) for _ in range(700)))
        database = spool.path / "spool.db"
        while database.stat().st_size < RESERVE * 3 // 2:
            is_folded.clear()
            await is_folded.wait()
        monkeypatch.setattr(thread, "IDLE", 3600)
        filler.fill()
        await until_full(spool, content)
        # The log gave its room back; some of it is taken, so that there is none for the reserve.
        filler.fill(leave=MIB)
        await spool.writer.run(lambda _: None, is_outcome=True)
        assert not spool.store.spool.is_well
        await spool.order(Verb.DROP, sender=BILLING)
        assert not await spool.entries()
        assert not spool.store.spool.is_well
        monkeypatch.setattr(thread, "IDLE", 0.01)
        # As the sweeper does every few seconds.
        assert await spool.store.shrink() >= RESERVE * 3 // 2
        while database.stat().st_size > RESERVE // 2:
            is_folded.clear()
            await is_folded.wait()
        await resumed(spool)
        await spool.accept()


@pytest.mark.P3
async def test_when_the_log_has_taken_the_reserve_it_is_folded_and_outcomes_are_recorded(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as spool:
        health = spool.writer.health
        assert health._reserve is not None
        # As on a disk that stays full: it was given up, and is not to be had again.
        health._reserve._size = 1 << 60
        health._reserve.release()
        health.is_starved = True
        tries = []

        def full_at_first(_: object) -> str:
            tries.append(health.is_starved)
            if len(tries) == 1:
                raise sqlite_error(sqlite3.SQLITE_FULL)
            return "recorded"

        assert await spool.writer.run(full_at_first, is_outcome=True) == "recorded"
        assert tries == [True, True]


async def test_a_start_on_a_full_disk_gives_up_the_reserve_and_serves_once_there_is_room(
    disk: Path,
) -> None:
    filler = Filler(disk)
    async with opened(disk / "spool", reserve=RESERVE) as spool:
        for _ in range(5):
            await spool.accept()
        await spool.claim(2)
        # As kill -9 leaves it.
        files = {
            name: (disk / "spool" / name).read_bytes()
            for name in ("spool.db", "spool.db-wal", "record.db", "record.db-wal")
        }
    for name, octets in files.items():
        (disk / "spool" / name).write_bytes(octets)
    filler.fill()
    async with opened(disk / "spool", reserve=RESERVE) as spool:
        assert spool.store.recovered.entries == 5
        assert spool.store.recovered.ambiguous == 2
        assert not spool.store.spool.is_well
        with pytest.raises(SpoolFullError):
            await spool.accept()
        filler.go()
        await resumed(spool)
        assert len(await spool.claim(10)) == 3


async def test_a_full_disk_is_tried_again_though_nobody_asks(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread, "IDLE", 0.01)
    monkeypatch.setattr(thread, "AGAIN", 0.01)
    filler = Filler(disk)
    filler.fill(leave=RESERVE - 4096)
    async with opened(disk / "spool", reserve=RESERVE) as spool:
        assert not spool.writer.is_well, "there was room for the reserve"
        well = asyncio.Event()
        spool.facts.__dict__["database_turned"] = lambda *_, **__: well.set()
        filler.go()
        await well.wait()
        await spool.accept()


@pytest.mark.P1
async def test_no_descriptor_left_refuses_the_mail_and_keeps_none_of_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.accept(content=LARGE)
        (claim,) = await spool.claim()
        with limited(resource.RLIMIT_NOFILE, 3):
            with pytest.raises(SpoolError):
                await spool.accept(content=LARGE)
            # What needs no descriptor goes on.
            small = await spool.accept()
            assert await spool.settle(claim, relayed()) is None
        await resumed(spool)
        large = await spool.accept(content=LARGE)
        files = {path.name for path in (tmp_path / "content").iterdir()}
        assert large.queue_id in files
        assert {one.mail.queue_id for one in await spool.claim(10)} == {
            small.queue_id,
            large.queue_id,
        }


@pytest.mark.P1
async def test_a_write_that_is_cut_short_refuses_the_mail(tmp_path: Path) -> None:
    """A limit on the length of files: write(2) writes what fits, and then nothing (EFBIG)."""
    async with opened(tmp_path) as spool:
        await spool.accept()
        with limited(resource.RLIMIT_FSIZE, 200_000):
            draft = spool.store.spool.draft()
            with pytest.raises(SpoolError, match="File too large"):
                await draft.append(LARGE)
            await draft.discard()
            accepts = [spool.accept(content=b"x" * 10_000) for _ in range(200)]
            ends = await asyncio.gather(*accepts, return_exceptions=True)
            assert all(isinstance(end, SpoolError) for end in ends[-10:])
            assert not spool.store.spool.is_well
        await resumed(spool)
        kept = sum(not isinstance(end, BaseException) for end in ends)
        assert len(await spool.claim(1000)) == 1 + kept, "replies and rows disagree"
        assert not list((tmp_path / "content").iterdir())


@pytest.mark.P3
async def test_somebody_who_holds_the_lock_delays_and_loses_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.accept()
        (claim,) = await spool.claim()
        await spool.writer.run(lambda connection: connection.execute("PRAGMA busy_timeout = 1"))
        with contextlib.closing(
            sqlite3.connect(tmp_path / "spool.db", isolation_level=None)
        ) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(SpoolError, match="locked"):
                await spool.accept()
            with pytest.raises(SpoolError, match="locked"):
                await spool.settle(claim, relayed())
            assert not spool.store.spool.is_well
            other.execute("ROLLBACK")
        await resumed(spool)
        assert not await spool.claim()
        assert await spool.settle(claim, relayed()) is None
        assert spool.store.spool.backlog(BILLING).messages == 0
