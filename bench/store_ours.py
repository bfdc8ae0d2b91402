"""The relay's store under a closed loop of producers.

`python -m bench.store_ours LIFE DIRECTORY MESSAGES PRODUCERS SIZE`.
LIFE is `accept` (until it is durable) or `whole` (accepted, marked, its outcome recorded, retired).
Prints one line of JSON: CPU and wall seconds, and how long each accept took.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.store_life import Lap, content_of
from relay.clock import SystemClock
from relay.mail.address import Address
from relay.mail.entry import Settled
from relay.mail.envelope import Envelope, SenderName
from relay.mail.outcome import Relayed
from relay.ports import Claim
from relay.store import Store

_SENDER: Final = SenderName("bench")
_ENVELOPE: Final = Envelope(Address("bench", "example.com"), (Address("someone", "example.net"),))
_LEASE: Final = timedelta(minutes=10)
_LANES: Final = 50


class _Deaf:
    """Facts nobody hears: what telling costs is measured elsewhere."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


async def _produce(store: Store, content: bytes, count: int, took: list[float]) -> None:
    for _ in range(count):
        began = time.perf_counter()
        draft = store.spool.draft()
        await draft.append(content)
        await store.spool.commit(draft, _SENDER, _ENVELOPE)
        took.append(time.perf_counter() - began)


async def _send(store: Store, clock: SystemClock, count: int) -> None:
    """Claim what is due and record that SES took it, as the scheduler does, with no SES between."""
    woken = asyncio.Event()
    store.on_commit = lambda _: woken.set()
    under_way: set[asyncio.Task[None]] = set()

    async def attempt(claim: Claim) -> None:
        settled = {claim.recipients[0]: Settled(Relayed("0100-bench-000000"), None)}
        await store.queue.settle(claim, settled, now=clock.now())

    def ended(task: asyncio.Task[None]) -> None:
        under_way.discard(task)
        woken.set()

    left = count
    while left:
        free = _LANES - len(under_way)
        woken.clear()
        claims = await store.queue.claim(
            {_SENDER: free}, node="bench", now=clock.now(), lease=_LEASE, chunk=50, room=1_000_000
        )
        left -= len(claims.taken)
        for claim in claims.taken:
            task = asyncio.create_task(attempt(claim))
            under_way.add(task)
            task.add_done_callback(ended)
        if left:
            await woken.wait()
    if under_way:
        await asyncio.wait(under_way)


async def _run(life: str, directory: Path, count: int, producers: int, size: int) -> Lap:
    clock, content = SystemClock(), content_of(size)
    store = await Store.open(
        directory,
        clock=clock,
        facts=_Deaf(),
        node="bench",
        ambiguous_wait=timedelta(minutes=30),
        min_free=0.0,
    )
    async with store:
        warm = asyncio.create_task(_send(store, clock, producers)) if life == "whole" else None
        await asyncio.gather(*(_produce(store, content, 1, []) for _ in range(producers)))
        if warm is not None:
            await warm
        took: list[float] = []
        lap = Lap.begin()
        async with asyncio.TaskGroup() as tasks:
            if life == "whole":
                tasks.create_task(_send(store, clock, count))
            for _ in range(producers):
                tasks.create_task(_produce(store, content, count // producers, took))
        return lap.end(len(took), took)


def main() -> None:
    """Run one life and print what it cost."""
    life, directory, count, producers, size = sys.argv[1:]
    lap = uvloop.run(_run(life, Path(directory), int(count), int(producers), int(size)))
    print(json.dumps(lap.told()))


if __name__ == "__main__":
    main()
