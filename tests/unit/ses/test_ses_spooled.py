"""Large content: measured, then sent, and noticed when it is not what was spooled."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from relay.ports import ContentError, ContentFile
from relay.ses import request as v1
from relay.ses import request_v2 as v2
from relay.ses.frame import SLICE, Frame
from relay.ses.spooled import SpooledBodies

FORM = Frame(b"Action=SendRawEmail&RawMessage.Data=", b"", v1.encode)
JSON = Frame(b'{"Content": {"Raw": {"Data": "', b'"}}}', v2.encode)


@pytest_asyncio.fixture(params=[2**24, 0], ids=["kept", "read twice"])
async def forms(request: pytest.FixtureRequest) -> AsyncIterator[SpooledBodies]:
    with ThreadPoolExecutor(1) as threads:
        yield SpooledBodies(threads, kept=request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "06H04YCY58GVCD1MB7KG"


def write(path: Path, content: bytes) -> ContentFile:
    path.write_bytes(content)
    return ContentFile(path, len(content), zlib.crc32(content))


@pytest.mark.P2
@pytest.mark.parametrize(
    "size", [0, 1, SLICE - 1, SLICE, SLICE + 1, SLICE + 2, SLICE + 3, 3 * SLICE, 4 * SLICE + 100]
)
@pytest.mark.parametrize("frame", [FORM, JSON], ids=["form", "json"])
async def test_the_slices_are_the_body(
    forms: SpooledBodies, path: Path, size: int, frame: Frame
) -> None:
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    file = write(path, content)
    body = frame.around(content)
    async with forms.measured(frame, file) as form:
        assert form.length == len(body)
        assert form.digest == hashlib.sha256(body).hexdigest()
        for _ in range(2):  # a second connection may need them again
            slices = [await form.slice(number) for number in range(form.slices)]
            assert b"".join(slices) == body
        # A slice that is all "+" and "/" is three times as long; of mail, hardly any is.
        assert max(map(len, slices)) <= 3 * 256 * 1024 + len(frame.before)


@pytest.mark.P5
@pytest.mark.parametrize("found", [0, 99, 101, SLICE * 2])
async def test_content_of_another_length_is_not_sent(
    forms: SpooledBodies, path: Path, found: int
) -> None:
    file = write(path, b"x" * found)
    with pytest.raises(ContentError, match="100 were spooled"):
        async with forms.measured(FORM, replace(file, size=100)):
            pass


@pytest.mark.P5
@pytest.mark.parametrize("size", [100, SLICE * 2])
async def test_content_with_one_bit_changed_is_not_sent(
    forms: SpooledBodies, path: Path, size: int
) -> None:
    file = write(path, b"x" * size)
    write(path, b"x" * (size - 1) + b"y")
    with pytest.raises(ContentError, match="fails its checksum"):
        async with forms.measured(FORM, file):
            pass


async def test_content_that_is_gone_is_told(forms: SpooledBodies, path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        async with forms.measured(FORM, ContentFile(path, 100, 0)):
            pass


async def test_content_that_shrinks_while_it_is_sent_is_noticed(path: Path) -> None:
    file = write(path, b"x" * (SLICE + 10))
    with ThreadPoolExecutor(1) as threads:
        async with SpooledBodies(threads, kept=0).measured(FORM, file) as form:
            write(path, b"x" * (SLICE + 9))
            await form.slice(0)
            with pytest.raises(ContentError, match="shrank"):
                await form.slice(1)


async def test_only_so_much_is_kept_at_once(path: Path) -> None:
    file = write(path, b"x" * 100)
    with ThreadPoolExecutor(1) as threads:
        forms = SpooledBodies(threads, kept=250)
        for _ in range(2):  # the room is given back
            async with (
                forms.measured(FORM, file) as first,
                forms.measured(FORM, file) as second,
                forms.measured(FORM, file) as third,
            ):
                kept = [form._kept is not None for form in (first, second, third)]
                assert kept == [True, True, False]
