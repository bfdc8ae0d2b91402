"""A start takes no more with many queued than with few: counted, not timed.

What is counted are the steps of SQLite's machine, on every connection that writes, and the octets
that Python keeps. `make million` times it, with the real daemon.
"""

from __future__ import annotations

import sqlite3
import tracemalloc
from pathlib import Path

import pytest

from bench.filled import SENDERS, Filling, fill
from relay.mail.entry import State
from relay.store import schema
from tests.fakes import FrozenClock
from tests.unit.store.stores import opened, relayed

FEW, MANY = 2_000, 50_000
# A step of the machine is one of its instructions; they are counted by the ten.
EACH = 10
# What a few calls take that were under way when it was killed; far less than a step an entry.
MORE = 2_000


class Steps:
    """Instructions that SQLite has carried out."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> int:
        self.count += EACH
        return 0


@pytest.fixture(name="steps")
def _steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    steps, connect = Steps(), schema.connect

    def counted(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.set_progress_handler(steps, EACH)
        return connection

    monkeypatch.setattr(schema, "connect", counted)
    return steps


async def started(path: Path, messages: int, steps: Steps) -> tuple[int, int, int]:
    """Start on that many, claim and settle; return steps of either, and octets kept."""
    clock = FrozenClock()
    fill(path, Filling(messages, 256), now=clock.now())
    steps.count = 0
    tracemalloc.start()
    async with opened(path, clock) as spool:
        for_start, steps.count = steps.count, 0
        _, kept = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert spool.store.recovered.entries == messages
        backlogs = [spool.store.spool.backlog(sender).messages for sender in SENDERS]
        assert sum(backlogs) == messages
        claims = await spool.claim(50, sender=SENDERS[1])
        assert len(claims) == 50
        for claim in claims:
            assert await spool.settle(claim, relayed()) is None
        counts = await spool.store.queue.counts()
        assert counts[State.SCHEDULED] > messages // 6
        return for_start, steps.count, kept


@pytest.mark.P6
async def test_a_start_takes_no_more_with_many_than_with_few(tmp_path: Path, steps: Steps) -> None:
    few = await started(tmp_path / "few", FEW, steps)
    many = await started(tmp_path / "many", MANY, steps)
    assert 0 < few[0] < MANY, "nothing was counted, or each entry is"
    names = ("steps of the start", "steps of the first claim and its outcomes", "octets kept")
    for name, of_few, of_many in zip(names, few, many, strict=True):
        assert of_few > 0, name
        words = f"{name}: {of_few} with {FEW} entries, {of_many} with {MANY}"
        assert of_many <= 2 * of_few + MORE, words
