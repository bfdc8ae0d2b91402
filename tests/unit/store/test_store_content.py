"""Drafts: small ones in memory, large ones in files that are durable before their row."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.mail.envelope import QueueId
from relay.ports import SpoolError, SpoolFullError
from relay.store import content as contents_module
from relay.store.content import (
    IN_MEMORY,
    Contents,
    StoredDraft,
    complaint_of,
    complaint_of_file,
    set_aside,
)

QUEUE_ID = QueueId("06H04YCY58GVCD1MB7KG")


@pytest.fixture(name="failures")
def _failures() -> list[BaseException]:
    return []


@pytest.fixture(name="contents")
async def _contents(tmp_path: Path, failures: list[BaseException]) -> AsyncIterator[Contents]:
    for name in ("content", "corrupt"):
        (tmp_path / name).mkdir()
    contents = Contents(tmp_path, failures.append)
    yield contents
    await contents.close()


async def test_small_content_stays_in_memory(contents: Contents) -> None:
    draft = StoredDraft(QUEUE_ID, contents)
    for piece in (b"From: a\r\n", b"\r\n", b"hello"):
        await draft.append(piece)
    assert (draft.size, draft.crc32) == (16, zlib.crc32(b"From: a\r\n\r\nhello"))
    assert contents.buffered == 16
    assert await draft.seal() == b"From: a\r\n\r\nhello"
    assert contents.buffered == 16
    draft.close()
    assert contents.buffered == 0
    assert not contents.path(QUEUE_ID).exists()


async def test_large_content_goes_to_a_file_as_it_arrives(contents: Contents) -> None:
    draft = StoredDraft(QUEUE_ID, contents)
    octets = os.urandom(64 * 1024)
    for _ in range(5):
        await draft.append(octets)
        assert contents.buffered <= IN_MEMORY
    assert await draft.seal() is None
    assert contents.path(QUEUE_ID).read_bytes() == octets * 5
    assert (draft.size, draft.crc32) == (len(octets) * 5, zlib.crc32(octets * 5))
    draft.close()
    assert contents.buffered == 0


@pytest.mark.P6
async def test_when_memory_is_short_each_draft_gets_less(contents: Contents) -> None:
    contents.buffered = 64 * 1024 * 1024
    draft = StoredDraft(QUEUE_ID, contents)
    await draft.append(b"x" * (16 * 1024))
    assert not draft.in_file
    await draft.append(b"x")
    assert draft.in_file
    await draft.discard()


@pytest.mark.P1
async def test_the_file_and_its_name_are_durable_when_it_is_sealed(
    contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    fsync = os.fsync

    def watched(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watched)
    draft = StoredDraft(QUEUE_ID, contents)
    await draft.append(b"x" * (IN_MEMORY + 1))
    await draft.append(b"y")
    await draft.seal()
    path = contents.path(QUEUE_ID)
    assert synced == [path, path.parent]
    assert path.stat().st_size == draft.size


async def test_a_discarded_draft_leaves_nothing(contents: Contents) -> None:
    draft = StoredDraft(QUEUE_ID, contents)
    await draft.append(b"x" * (IN_MEMORY + 1))
    await draft.append(b"y")
    assert contents.path(QUEUE_ID).exists()
    for _ in range(2):
        await draft.discard()
        assert not contents.path(QUEUE_ID).exists()
    assert contents.buffered == 0
    with pytest.raises(SpoolError, match="committed or discarded already"):
        await draft.append(b"z")


async def test_a_removal_waits_for_the_write_it_overtook(contents: Contents) -> None:
    file = contents_module._DraftFile(contents.path(QUEUE_ID))
    file.write(b"x")
    file.remove()
    file.write(b"late")
    file.seal(b"later")
    file.remove()
    assert not contents.path(QUEUE_ID).exists()


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, SpoolFullError), (errno.EIO, SpoolError)]
)
async def test_a_disk_that_fails_is_told_of(
    contents: Contents,
    failures: list[BaseException],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[SpoolError],
) -> None:
    def fail(_fd: int, _octets: bytes) -> int:
        raise OSError(number, os.strerror(number))

    draft = StoredDraft(QUEUE_ID, contents)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", fail)
        with pytest.raises(SpoolError, match=os.strerror(number)) as caught:
            await draft.append(b"x" * (IN_MEMORY + 1))
    assert type(caught.value) is kind
    assert [type(failure) for failure in failures] == [OSError]
    await draft.discard()
    assert not contents.path(QUEUE_ID).exists()


async def test_a_short_write_is_gone_on_with(
    contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, octets: write(fd, octets[:50_000]))
    draft = StoredDraft(QUEUE_ID, contents)
    octets = os.urandom(200_000)
    await draft.append(octets)
    await draft.seal()
    monkeypatch.undo()
    assert contents.path(QUEUE_ID).read_bytes() == octets


async def test_trouble_with_a_removal_nobody_waits_for_is_told_of(
    contents: Contents, failures: list[BaseException]
) -> None:
    contents.path(QUEUE_ID).mkdir()
    contents.remove(QUEUE_ID)
    await contents.close()
    await contents._loop.run_in_executor(None, lambda: None)
    assert [type(failure) for failure in failures] == [IsADirectoryError]


def test_what_is_read_back_must_be_what_was_spooled(tmp_path: Path) -> None:
    octets = b"hello"
    checksum = zlib.crc32(octets)
    assert complaint_of(octets, 5, checksum) == ""
    assert complaint_of(b"hell", 5, checksum) == "its content has 4 octets instead of 5"
    assert complaint_of(b"hullo", 5, checksum) == "its content fails its checksum"

    path = tmp_path / "content"
    assert complaint_of_file(path, 5) == "its content file is missing"
    assert complaint_of_file(path / "x", 5) == "its content file is missing"
    path.write_bytes(b"hullo")
    assert complaint_of_file(path, 5) == ""
    assert complaint_of_file(path, 6) == "its content file has 5 octets instead of 6"
    with pytest.raises(NotADirectoryError):
        complaint_of_file(path / "x", 5)


def test_setting_aside_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "corrupt").mkdir()
    set_aside(tmp_path / "file", tmp_path / "corrupt")
    (tmp_path / "file").write_bytes(b"x")
    set_aside(tmp_path / "file", tmp_path / "corrupt")
    assert (tmp_path / "corrupt" / "file").read_bytes() == b"x"
