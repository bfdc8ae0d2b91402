"""The relay's way to SES alone: `python -m bench.ses_ours URL API SIZE CALLS LANES`.

Content beyond what the spool keeps in its rows is in a file, as it is when mail is claimed. Prints
the CPU of a call in milliseconds.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, cast
from zlib import crc32

import uvloop

from bench.ses_sample import sample
from relay.clock import SystemClock
from relay.facts import Facts
from relay.mail.address import Address
from relay.mail.envelope import AccountName, Envelope, Mail, SenderName, new_queue_id
from relay.policy.sender import Route
from relay.policy.verdict import Accepted
from relay.ports import Consignment, Content, ContentFile
from relay.ses.account import AccountSettings, SesAccount
from relay.ses.api import Preference

_IN_A_FILE: Final = 128 * 1024
_TAGS: Final = (("relay-id", "06H04YCY58GVCD1MB7KG"), ("relay-node", "n"), ("relay-sender", "s"))


class _Facts:
    """Tells nobody anything: what calls bring is looked at here."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def _consignment(content: Content, size: int) -> Consignment:
    now = datetime.now(UTC)
    to = (Address("someone", "example.net"),)
    envelope = Envelope(Address("bench", "example.com"), to)
    mail = Mail(new_queue_id(now), SenderName("bench"), envelope, now, size)
    return Consignment(mail, content, to, Route(AccountName("main")), _TAGS)


async def _measure(
    url: str, api: Preference, content: Content, *, size: int, calls: int, lanes: int
) -> float:
    settings = AccountSettings(
        name=AccountName("main"), region="eu-west-1", endpoint_url=url, api=api
    )
    consignment = _consignment(content, size)
    async with SesAccount(settings, clock=SystemClock(), facts=cast("Facts", _Facts())) as account:

        async def lane(count: int) -> None:
            for _ in range(count):
                answer = await account.carrier.relay(consignment)
                if not isinstance(answer, Accepted):
                    raise SystemExit(f"bench: {answer}")

        async def all_lanes(count: int) -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(lanes):
                    group.create_task(lane(count // lanes))

        await all_lanes(lanes * 5)
        before = time.process_time()
        await all_lanes(calls)
        return (time.process_time() - before) / calls * 1000


def main(url: str, api: str, *, size: int, calls: int, lanes: int) -> None:
    """Measure and print."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
    octets = sample(size)
    with tempfile.TemporaryDirectory() as name:
        content: Content = octets
        if size > _IN_A_FILE:
            path = Path(name) / "content"
            path.write_bytes(octets)
            content = ContentFile(path, size, crc32(octets))
        run = _measure(url, Preference(api), content, size=size, calls=calls, lanes=lanes)
        print(uvloop.run(run))


if __name__ == "__main__":
    _size, _calls, _lanes = map(int, sys.argv[3:])
    main(sys.argv[1], sys.argv[2], size=_size, calls=_calls, lanes=_lanes)
