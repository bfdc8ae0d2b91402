"""Mail whose acceptance was told of is there after `kill -9`, whenever that comes."""

from __future__ import annotations

import itertools
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from relay.ports import ContentFile
from tests.unit.store.stores import LARGE, SMALL, opened

# Accepts mail as fast as it can and prints each queue id once its commit has returned, large
# content and small; claims and settles some, so that all kinds of transactions are cut short.
CHILD = """
import asyncio, sys
from pathlib import Path
from tests.unit.store.stores import LARGE, SMALL, opened

async def accept(spool, content):
    while True:
        mail = await spool.accept(content=content)
        sys.stdout.write(mail.queue_id + "\\n")
        sys.stdout.flush()

async def deliver(spool):
    while True:
        for claim in await spool.claim(2):
            await spool.settle(claim, spool.deferred())

async def main():
    async with opened(Path(sys.argv[1])) as spool:
        contents = [SMALL] * 8 + [LARGE] * 2
        await asyncio.gather(*(accept(spool, content) for content in contents), deliver(spool))

asyncio.run(main())
"""
ROOT = Path(__file__).parents[2]


def killed(path: Path, told: int) -> list[str]:
    """Kill a child once it has told of so many mails; return all it told of."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    ) as child:
        assert child.stdout is not None
        acknowledged = [line.strip() for line in itertools.islice(child.stdout, told)]
        child.kill()
        # What it wrote before it died was told as well; the last line may be cut short.
        return acknowledged + [line.strip() for line in child.stdout if line.endswith("\n")]


@pytest.mark.P1
@pytest.mark.parametrize("told", [1, 7, 40, 150])
async def test_what_was_told_of_is_there(tmp_path: Path, told: int) -> None:
    acknowledged = killed(tmp_path, told)
    assert len(acknowledged) >= told
    async with opened(tmp_path) as spool:
        assert spool.store.recovered.corrupt == 0
        entries = await spool.entries()
        known = {entry.mail.queue_id for entry in entries}
        assert set(acknowledged) <= known
        for queue_id in known:
            await spool.retry(queue_id)
        whole = set()
        for claim in await spool.claim(len(known)):
            content = claim.content
            if isinstance(content, ContentFile):
                assert content.path.read_bytes() == LARGE
                assert (content.size, content.crc32) == (len(LARGE), zlib.crc32(LARGE))
            else:
                assert content == SMALL
            whole.add(claim.mail.queue_id)
        assert whole == known
        files = {path.name for path in (tmp_path / "content").iterdir()}
        assert files == {e.mail.queue_id for e in entries if e.mail.size == len(LARGE)}
