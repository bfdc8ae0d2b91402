"""The mover: the ledger learns of every outcome, once, whatever happens in between."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest

from relay.ports import SpoolError
from relay.store import mover as moving
from relay.store.mover import Mover
from relay.store.writer import Writer
from tests.unit.store.stores import JANE, Opened, opened, relayed


@pytest.fixture(name="spool")
async def _spool(tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(tmp_path) as spool:
        yield spool


def mover_of(spool: Opened) -> Mover:
    mover = spool.store.queue._on_settled.__self__  # type: ignore[attr-defined]
    assert isinstance(mover, Mover)
    return mover


def record_of(spool: Opened) -> Writer:
    return spool.record_writer


async def rows(writer: Writer, table: str) -> int:
    def count(connection: sqlite3.Connection) -> int:
        (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
        assert isinstance(found, int)
        return found

    return await writer.run(count)


async def relay(spool: Opened, count: int = 1) -> None:
    for _ in range(count):
        await spool.accept()
    for claim in await spool.claim(count):
        await spool.settle(claim, relayed())


async def test_a_settlement_wakes_it(spool: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = asyncio.Event()
    delete = moving._delete

    def watched(connection: sqlite3.Connection, *, last: int) -> None:
        delete(connection, last=last)
        loop.call_soon_threadsafe(moved.set)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(moving, "_delete", watched)
    await relay(spool)
    await moved.wait()
    assert await rows(spool.writer, "outbox") == 0
    assert await rows(record_of(spool), "ledger") == 1


async def test_everything_is_moved_page_by_page(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "_PAGE", 3)
    await relay(spool, 10)
    assert len(await spool.facts_of(str(JANE))) == 10
    assert await rows(spool.writer, "outbox") == 0


async def test_closing_leaves_nothing_behind(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await relay(spool, 10)
    for name, table, expected in (("spool", "outbox", 0), ("record", "ledger", 10)):
        connection = sqlite3.connect(tmp_path / f"{name}.db")
        (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
        connection.close()
        assert found == expected


@pytest.mark.P3
async def test_a_crash_between_copy_and_deletion_only_repeats_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(moving, "_delete", crash)
        async with opened(tmp_path) as spool:
            await relay(spool, 3)
            assert len(await spool.facts_of(str(JANE))) == 3
            assert await rows(spool.writer, "outbox") == 3
    async with opened(tmp_path) as spool:
        assert len(await spool.facts_of(str(JANE))) == 3
        assert await rows(spool.writer, "outbox") == 0


async def test_while_the_record_is_sick_mail_flows_and_it_is_told_of_once(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    mover = mover_of(spool)
    run = record_of(spool).run

    async def refuse(*_: Any) -> None:
        raise SpoolError("record.db: disk I/O error")

    monkeypatch.setattr(record_of(spool), "run", refuse)
    for _ in range(3):
        await relay(spool)
        await mover.catch_up()
    assert await rows(spool.writer, "outbox") == 3
    assert spool.facts.names().count("fault") == 1

    monkeypatch.setattr(record_of(spool), "run", run)
    await mover.catch_up()
    assert await rows(spool.writer, "outbox") == 0
    monkeypatch.setattr(record_of(spool), "run", refuse)
    await relay(spool)
    await mover.catch_up()
    assert spool.facts.names().count("fault") == 2


async def test_a_sick_record_is_tried_again_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "_FIRST_REST", 0.001)
    async with opened(tmp_path) as spool:
        await record_of(spool).run(
            methodcaller("execute", "ALTER TABLE ledger RENAME TO elsewhere")
        )
        await relay(spool)
        await mover_of(spool).catch_up()
        moved = asyncio.Event()
        loop = asyncio.get_running_loop()
        delete = moving._delete

        def watched(connection: sqlite3.Connection, *, last: int) -> None:
            delete(connection, last=last)
            loop.call_soon_threadsafe(moved.set)

        monkeypatch.setattr(moving, "_delete", watched)
        await record_of(spool).run(
            methodcaller("execute", "ALTER TABLE elsewhere RENAME TO ledger")
        )
        await moved.wait()
        assert await rows(record_of(spool), "ledger") == 1
