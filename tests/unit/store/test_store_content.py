"""Files of large content: brought back, set aside, and looked at."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay.mail.envelope import QueueId
from relay.store.content import Contents, complaint_of, complaint_of_file, set_aside

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
