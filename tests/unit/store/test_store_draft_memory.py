"""What drafts hold in memory: little where there is much of it, and nothing once they have ended."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from relay.ports import SpoolError, WithdrawnError
from relay.store.draft import Stage, StoredDraft
from relay.store.window import IN_MEMORY, Window
from tests.unit.store.drafts import QUEUE_ID, Desk, desk_in

pytestmark = pytest.mark.P6


@pytest.fixture(name="desk")
async def _desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_in(tmp_path) as desk:
        yield desk


@pytest.fixture(name="stuck_disk")
def _stuck_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Writes wait until this is set."""
    go_on = threading.Event()
    write = os.write

    def slowly(fd: int, octets: bytes) -> int:
        go_on.wait()
        return write(fd, octets)

    monkeypatch.setattr(os, "write", slowly)
    yield go_on
    go_on.set()


async def test_when_memory_is_short_each_draft_gets_less(desk: Desk) -> None:
    desk.window.take(64 * 1024 * 1024)
    draft = desk.draft()
    await draft.append(b"x" * (16 * 1024))
    assert not draft.in_file
    await draft.append(b"x")
    assert draft.in_file
    await draft.discard()


async def test_small_content_waits_for_commits_and_what_has_a_file_does_not(desk: Desk) -> None:
    desk.window = Window(1000, much=500, little=100)
    large, small = desk.draft(1), desk.draft(2)
    await large.append(b"x" * 501)
    await small.append(b"x")
    committed = []
    for number in range(3, 7):
        committed.append(desk.draft(number))
        await committed[-1].append(b"x" * 100)
        await committed[-1].seal()
    desk.window.take(1600)
    waiting = asyncio.create_task(small.append(b"y"))
    await large.append(b"x")
    await desk.draft(8).append(b"x" * 101)
    assert not waiting.done()
    committed[0].close()
    await waiting
    assert not small.in_file
    assert await small.seal() == b"xy"


async def test_clients_that_do_not_go_on_stop_nobody(desk: Desk) -> None:
    """A thousand that trickle hold all there is; mail of the others goes through files."""
    desk.window = Window(5000, much=500, little=10)
    idle = [desk.draft(number) for number in range(1, 1001)]
    for draft in idle:
        await draft.append(b"x" * 10)
    assert desk.window.kept == 10_000
    busy = [desk.draft(number) for number in range(1001, 1011)]
    await asyncio.gather(*(draft.append(b"y" * 10) for draft in busy))
    assert all(draft.in_file for draft in busy)
    assert desk.window.held == 10_000
    for draft in busy:
        await draft.append(b"z")
        assert await draft.seal() is None
        draft.close()
        assert desk.contents.path(draft.queue_id).read_bytes() == b"y" * 10 + b"z"
    for draft in idle:
        await draft.discard()
    assert desk.is_clear()


async def test_octets_count_until_they_are_written_whoever_has_given_up_waiting(
    desk: Desk, stuck_disk: threading.Event
) -> None:
    draft = desk.draft()
    appending = asyncio.create_task(draft.append(b"x" * (IN_MEMORY + 1)))
    await asyncio.sleep(0)
    appending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await appending
    discarding = asyncio.create_task(draft.discard())
    await asyncio.sleep(0)
    assert desk.window.held == IN_MEMORY + 1
    stuck_disk.set()
    await discarding
    await desk.come_round()
    assert desk.is_clear()
    assert not desk.contents.path(QUEUE_ID).exists()


async def test_a_draft_discarded_while_it_waits_holds_nothing(desk: Desk) -> None:
    desk.window = Window(10, much=10, little=10)
    desk.window.begin()
    desk.window.take(20)
    for ended_first in (True, False):
        draft = desk.draft()
        appending = asyncio.create_task(draft.append(b"x"))
        await asyncio.sleep(0)
        if ended_first:
            desk.window.end()
        await draft.discard()
        if not ended_first:
            desk.window.give_back(1)
        with pytest.raises(WithdrawnError):
            await appending
        if ended_first:
            desk.window.begin()
    desk.window.give_back(19)
    desk.window.end()
    assert desk.is_clear()


async def commits(draft: StoredDraft) -> None:
    await draft.seal()
    draft.close()


async def is_withdrawn(draft: StoredDraft) -> None:
    sealing = asyncio.create_task(draft.seal())
    await asyncio.sleep(0)
    await draft.discard()
    if draft.in_file:
        with pytest.raises(WithdrawnError):
            await sealing
    else:
        await sealing
    draft.drop()


async def is_discarded(draft: StoredDraft) -> None:
    await draft.discard()


async def cannot_be_sealed(draft: StoredDraft) -> None:
    draft._contents._closed = True
    if draft.in_file:
        with pytest.raises(SpoolError, match="closed"):
            await draft.seal()
    else:
        await draft.seal()
    draft.drop()
    draft._contents._closed = False


async def is_cancelled_while_it_is_sealed(draft: StoredDraft) -> None:
    sealing = asyncio.create_task(draft.seal())
    await asyncio.sleep(0)
    sealing.cancel()
    await asyncio.wait([sealing])
    draft.drop()


async def cannot_be_written(draft: StoredDraft) -> None:
    path = draft._contents.path(draft.queue_id)
    if draft.in_file:
        assert draft._file is not None
        draft._file._close()
        path.chmod(0o600)
        draft._file._fd = os.open(path, os.O_RDONLY)
    else:
        path.mkdir()
    with pytest.raises(SpoolError):
        await draft.append(b"x" * (IN_MEMORY + 1))
    if not draft.in_file or path.is_dir():
        path.rmdir()
    await draft.discard()


async def is_cancelled_while_it_is_appended_to(draft: StoredDraft) -> None:
    appending = asyncio.create_task(draft.append(b"x" * (IN_MEMORY + 1)))
    await asyncio.sleep(0)
    appending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await appending
    assert draft.stage is Stage.BROKEN
    await draft.discard()


async def is_cancelled_while_it_waits(draft: StoredDraft) -> None:
    window = draft._window
    window.begin()
    window.take(1 << 40)
    if draft.in_file:
        await draft.append(b"x")
    else:
        appending = asyncio.create_task(draft.append(b"x"))
        await asyncio.sleep(0)
        appending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await appending
        assert draft.stage is Stage.BROKEN
    await draft.discard()
    window.give_back(1 << 40)
    window.end()


@pytest.mark.parametrize("size", [0, 10, IN_MEMORY, IN_MEMORY + 1])
@pytest.mark.parametrize(
    "end",
    [
        commits,
        is_withdrawn,
        is_discarded,
        cannot_be_sealed,
        cannot_be_written,
        is_cancelled_while_it_is_sealed,
        is_cancelled_while_it_is_appended_to,
        is_cancelled_while_it_waits,
    ],
)
async def test_however_a_draft_ends_nothing_of_it_is_counted_any_more(
    desk: Desk, end: Callable[[StoredDraft], Awaitable[None]], size: int
) -> None:
    if end is is_cancelled_while_it_waits and size == IN_MEMORY:
        size = 16 * 1024 - 1
    draft = desk.draft()
    await draft.append(b"x" * size)
    await end(draft)
    await desk.come_round()
    assert desk.is_clear()


@pytest.mark.parametrize("seed", range(8))
async def test_memory_is_bounded_whatever_clients_do_and_all_of_them_end(
    desk: Desk, seed: int
) -> None:
    """Clients send, stop for good, go away or commit in whatever order."""
    size, chunk, clients = 2000, 150, 40
    desk.window = window = Window(size, much=500, little=100)
    chance = random.Random(seed)  # noqa: S311 - dice
    highest = 0
    plans = [[chance.randrange(chunk + 1) for _ in range(chance.randrange(12))] for _ in range(40)]
    ways = [chance.choice(("commit", "discard", "stall", "cancel")) for _ in range(clients)]
    stalled: list[StoredDraft] = []
    committed = 0

    async def client(number: int) -> None:
        nonlocal highest, committed
        draft = desk.draft(number + 1)
        try:
            for count in plans[number]:
                await draft.append(b"x" * count)
                highest = max(highest, window.held)
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            await draft.discard()
            raise
        match ways[number]:
            case "commit":
                sealed = await draft.seal()
                await asyncio.sleep(0)
                if sealed is None:
                    path = desk.contents.path(draft.queue_id)
                    assert path.stat().st_size == draft.size
                else:
                    assert len(sealed) == draft.size
                draft.close()
                committed += 1
            case "discard":
                await draft.discard()
            case _:
                stalled.append(draft)

    tasks = [asyncio.create_task(client(number)) for number in range(clients)]
    for number, task in enumerate(tasks):
        if ways[number] == "cancel":
            await asyncio.sleep(0)
            task.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait(tasks)
    assert not [task for task in tasks if not task.cancelled() and task.exception()]
    assert committed == ways.count("commit")
    # Beside what may be kept, what each client is having written to its file.
    assert highest <= 2 * size + clients * (chunk + 100)
    assert window.kept <= 2 * size
    for draft in stalled:
        await draft.discard()
    await desk.come_round()
    assert desk.is_clear()
