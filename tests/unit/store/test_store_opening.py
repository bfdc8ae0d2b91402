"""A store opens whole or not at all, and closes in order."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
import uvloop

from relay.ports import SpoolError
from tests.unit.store.stores import LARGE, opened, relayed


async def test_an_empty_directory_becomes_a_spool(tmp_path: Path) -> None:
    path = tmp_path / "var" / "spool"
    async with opened(path) as spool:
        assert path.stat().st_mode & 0o777 == 0o700
        await spool.come_round()
        modes = {path.stat().st_mode & 0o777 for path in path.iterdir() if path.is_file()}
        assert modes == {0o600}
    names = {entry.name for entry in path.iterdir()}
    assert names == {"content", "corrupt", "lock", "record.db", "reserve", "spool.db"}


async def test_a_closed_store_takes_nothing_more(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.accept()
        draft = spool.store.spool.draft()
        await draft.append(LARGE)
    with pytest.raises(SpoolError, match=r"spool\.db is closed"):
        await spool.accept()
    with pytest.raises(SpoolError, match="the spool is closed"):
        await spool.accept(content=LARGE)
    with pytest.raises(SpoolError, match=r"spool\.db is closed"):
        await spool.store.queue.counts()
    with pytest.raises(SpoolError, match=r"record\.db is closed"):
        await spool.facts_of("nothing")
    await draft.discard()
    await spool.store.close()


async def test_closing_ends_all_threads(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    async with opened(tmp_path) as spool:
        await spool.accept(content=LARGE)
        await spool.settle(await spool.claim_one(), relayed())
        await spool.facts_of("nothing")
        assert len(set(threading.enumerate()) - before) >= 4
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert all(name.startswith("asyncio") for name in left)


async def test_what_is_under_way_when_it_closes_is_finished(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        commits = [asyncio.create_task(spool.accept()) for _ in range(20)]
        await asyncio.sleep(0)
    assert len({mail.queue_id for mail in await asyncio.gather(*commits)}) == 20
    async with opened(tmp_path) as spool:
        assert spool.store.recovered.entries == 20


@pytest.mark.parametrize("which", ["writer", "record_writer"])
async def test_whoever_runs_the_daemon_learns_that_a_writer_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    async with opened(tmp_path) as spool:
        died = asyncio.get_running_loop().create_future()
        spool.store.on_death = died.set_result

        def fail(*_: object) -> None:
            raise RuntimeError("a bug")

        writer = getattr(spool, which)
        monkeypatch.setattr(writer._thread, "_pick", fail)
        with pytest.raises(SpoolError, match="a bug"):
            await writer.run(lambda _: None)
        assert str(await died) == "a bug"
        assert "fault" in spool.facts.names()
        if which == "writer":
            assert not spool.store.spool.has_room_for(1)
            with pytest.raises(SpoolError, match="cannot be written any more"):
                await spool.accept()
            with pytest.raises(SpoolError, match="cannot be written any more"):
                await spool.claim()


def test_uvloop_is_as_good_as_asyncio(tmp_path: Path) -> None:
    async def live() -> list[str]:
        async with opened(tmp_path) as spool:
            mail = await spool.accept(content=LARGE)
            await spool.settle(await spool.claim_one(), spool.deferred())
            return await spool.facts_of(mail.queue_id)

    assert uvloop.run(live()) == ["deferred"]
