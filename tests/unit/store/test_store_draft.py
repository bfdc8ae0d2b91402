"""Drafts: small ones in memory, large ones in files that are durable before their row."""

from __future__ import annotations

import errno
import os
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.ports import SpoolError, SpoolFullError
from relay.store.draft import DraftFile
from relay.store.window import IN_MEMORY
from tests.unit.store.drafts import QUEUE_ID, Desk, desk_in


@pytest.fixture(name="desk")
async def _desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_in(tmp_path) as desk:
        yield desk


async def test_small_content_stays_in_memory(desk: Desk) -> None:
    draft = desk.draft()
    for piece in (b"From: a\r\n", b"\r\n", b"hello"):
        await draft.append(piece)
    assert (draft.size, draft.crc32) == (16, zlib.crc32(b"From: a\r\n\r\nhello"))
    assert desk.window.held == 16
    assert await draft.seal() == b"From: a\r\n\r\nhello"
    assert desk.window.held == 16
    draft.close()
    assert desk.is_clear()
    assert not desk.contents.path(QUEUE_ID).exists()


@pytest.mark.P6
@pytest.mark.parametrize("size", [1, 2, 700])
async def test_content_in_small_pieces_takes_little_more_memory_than_is_counted(
    desk: Desk, size: int
) -> None:
    draft = desk.draft()
    whole = os.urandom(size) * (60_000 // size)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for at in range(0, len(whole), size):
            await draft.append(whole[at : at + size])
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert desk.window.held == len(whole)
    assert taken < 1.5 * len(whole) + 8192, f"{taken} octets hold {len(whole)}"
    assert await draft.seal() == whole
    draft.close()


async def test_large_content_goes_to_a_file_as_it_arrives(desk: Desk) -> None:
    draft = desk.draft()
    octets = os.urandom(64 * 1024)
    for _ in range(5):
        await draft.append(octets)
        assert desk.window.held <= IN_MEMORY
    assert await draft.seal() is None
    assert desk.contents.path(QUEUE_ID).read_bytes() == octets * 5
    assert (draft.size, draft.crc32) == (len(octets) * 5, zlib.crc32(octets * 5))
    draft.close()
    assert desk.is_clear()


@pytest.mark.P1
async def test_the_file_and_its_name_are_durable_when_it_is_sealed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    fsync = os.fsync

    def watched(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watched)
    draft = desk.draft()
    await draft.append(b"x" * (IN_MEMORY + 1))
    await draft.append(b"y")
    await draft.seal()
    path = desk.contents.path(QUEUE_ID)
    assert synced == [path, path.parent]
    assert path.stat().st_size == draft.size
    draft.close()


async def test_a_discarded_draft_leaves_nothing(desk: Desk) -> None:
    draft = desk.draft()
    await draft.append(b"x" * (IN_MEMORY + 1))
    await draft.append(b"y")
    assert desk.contents.path(QUEUE_ID).exists()
    for _ in range(2):
        await draft.discard()
        assert not desk.contents.path(QUEUE_ID).exists()
    assert desk.is_clear()
    with pytest.raises(SpoolError, match="committed or discarded already"):
        await draft.append(b"z")


async def test_a_removal_waits_for_the_write_it_overtook(desk: Desk) -> None:
    file = DraftFile(desk.contents.path(QUEUE_ID))
    file.write(b"x")
    file.remove()
    file.write(b"late")
    file.seal(b"later")
    file.remove()
    assert not desk.contents.path(QUEUE_ID).exists()


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, SpoolFullError), (errno.EIO, SpoolError)]
)
async def test_a_disk_that_fails_is_told_of(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[SpoolError]
) -> None:
    def fail(_fd: int, _octets: bytes) -> int:
        raise OSError(number, os.strerror(number))

    draft = desk.draft()
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", fail)
        with pytest.raises(SpoolError, match=os.strerror(number)) as caught:
            await draft.append(b"x" * (IN_MEMORY + 1))
    assert type(caught.value) is kind
    assert [type(failure) for failure in desk.failures] == [OSError]
    # What it lacks now would not be noticed by the checksum.
    with pytest.raises(SpoolError, match="is broken"):
        await draft.append(b"x")
    assert desk.is_clear()
    await draft.discard()
    assert not desk.contents.path(QUEUE_ID).exists()


async def test_a_short_write_is_gone_on_with(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, octets: write(fd, octets[:50_000]))
    draft = desk.draft()
    octets = os.urandom(200_000)
    await draft.append(octets)
    await draft.seal()
    monkeypatch.undo()
    assert desk.contents.path(QUEUE_ID).read_bytes() == octets
    draft.close()


# --- room on the disk -----------------------------------------------------------------------------


@pytest.mark.P6
async def test_the_floor_is_looked_at_when_a_file_is_begun_and_as_it_grows(desk: Desk) -> None:
    desk.room = 2 * (IN_MEMORY + 1)
    draft = desk.draft()
    await draft.append(b"x" * IN_MEMORY)
    assert desk.room == 2 * (IN_MEMORY + 1)
    await draft.append(b"x")
    assert desk.room == IN_MEMORY + 1
    await draft.append(b"x" * (IN_MEMORY + 1))
    assert desk.room == 0
    with pytest.raises(SpoolFullError):
        await draft.append(b"x" * (IN_MEMORY + 1))
    assert desk.is_clear()
    await draft.discard()
    assert not desk.contents.path(QUEUE_ID).exists()
    # No trouble with the disk: that it is kept free is what was asked for.
    assert not desk.failures


@pytest.mark.P6
async def test_the_end_of_a_file_is_no_exception(desk: Desk) -> None:
    draft = desk.draft()
    await draft.append(b"x" * (IN_MEMORY + 1))
    await draft.append(b"x" * 100)
    desk.room = 99
    with pytest.raises(SpoolFullError):
        await draft.seal()
    draft.drop()
    assert desk.is_clear()
