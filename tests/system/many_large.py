"""`python -m tests.system.many_large URL FILE:COUNT...`: so many large mails on their way at once.

Each file is content in a spool, and as many mails have it. Prints what memory grew by at most, in
octets, more than for one of each; small mail goes before, so that code is there.
"""

from __future__ import annotations

import asyncio
import os
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

import uvloop

from relay.clock import SystemClock
from relay.facts import Facts
from relay.mail.address import Address
from relay.mail.envelope import AccountName
from relay.policy.sender import Route
from relay.policy.verdict import Accepted
from relay.ports import Consignment, Content, ContentFile
from relay.ses.account import AccountSettings, SesAccount
from tests.builders import a_mail
from tests.system.resources import forget_peak, peak, resident


class _Silent:
    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def _file(path: Path) -> ContentFile:
    checksum = 0
    with path.open("rb") as file:
        while octets := file.read(1 << 20):
            checksum = zlib.crc32(octets, checksum)
    return ContentFile(path, path.stat().st_size, checksum)


def _consignment(content: Content) -> Consignment:
    size = len(content) if isinstance(content, bytes) else content.size
    to = (Address("jane", "example.net"),)
    return Consignment(a_mail(*to, size=size), content, to, Route(AccountName("main")), ())


async def _grown(url: str, files: dict[Path, int]) -> int:
    settings = AccountSettings(name=AccountName("main"), region="eu-west-1", endpoint_url=url)
    facts = cast("Facts", _Silent())
    contents = [_file(path) for path, count in files.items() for _ in range(count)]
    async with SesAccount(settings, clock=SystemClock(), facts=facts) as account:

        async def relay(content: Content) -> None:
            answer = await account.carrier.relay(_consignment(content))
            assert isinstance(answer, Accepted), answer

        await relay(b"Subject: small\r\n\r\n")
        for path in files:
            # v2 of the API is looked for when it is first needed.
            await relay(_file(path))
        forget_peak(os.getpid())
        before = resident(os.getpid())
        async with asyncio.TaskGroup() as group:
            for content in contents:
                group.create_task(relay(content))
        return peak(os.getpid()) - before


def main(url: str, *pairs: str) -> None:
    """Send and print."""
    files = {Path(path): int(count) for path, _, count in (pair.rpartition(":") for pair in pairs)}
    sys.stdout.write(f"{uvloop.run(_grown(url, files))}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
