"""Killed on either side of a commit of an operator's order or of the sweeper: all of it or nothing.

What sessions and attempts write is proved with whole daemons (tests.crash); these steps end mail
without SES, so what is asked of them is asked here.
"""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest

from relay.mail.entry import State
from relay.operators import Verb
from relay.policy.expiry import Terms
from relay.store import schema
from tests.crash.hooks import Trap, watch
from tests.fakes import FrozenClock
from tests.unit.store.stores import LARGE, SMALL, Opened, failed, opened

ROOT = Path(__file__).parents[2]
NOTHING = timedelta(0)
# All that is in the queue is past its time.
TERMS = Terms(NOTHING, timedelta(hours=4), NOTHING, timedelta(days=30))


@dataclass(frozen=True)
class Step:
    """Something that changes or ends mail."""

    begins: State
    ends: State | None
    """None: it is gone."""
    fact: str
    """What the ledger says of it then."""


STEPS = {
    "hold": Step(State.SCHEDULED, State.HELD, "held"),
    "retry": Step(State.FAILED, State.READY, "retried"),
    "drop": Step(State.SCHEDULED, None, "dropped"),
    "expire": Step(State.SCHEDULED, State.FAILED, "expired"),
    "purge": Step(State.FAILED, None, "purged"),
}


async def take(step: str, spool: Opened) -> None:
    if step not in {"expire", "purge"}:
        await spool.order(Verb(step), sender="billing")
        return
    spool.clock.advance(timedelta(hours=2))
    now, upkeep = spool.clock.now(), spool.store.upkeep
    page = await upkeep.look(0, TERMS, now=now)
    if step == "expire":
        for group in page.expiring:
            await upkeep.expire(group, TERMS, now=now)
    else:
        for group in page.spent:
            await upkeep.purge(group, TERMS, now=now)


def die(path: Path, step: str, place: str) -> None:
    """Take the step in this process, and be killed before or after its commit."""

    async def main() -> None:
        async with opened(path, later()) as spool:
            trap = Trap(place, 1)

            def see(_: sqlite3.Connection, sql: str, execute: Callable[[], Any]) -> Any:
                is_step = sql == "COMMIT" and is_armed.is_set()
                if is_step and threading.current_thread().name == "writer-spool.db":
                    if place == "after":
                        execute()
                    trap.passed()
                return execute()

            seen.append(see)
            is_armed.set()
            await take(step, spool)

    is_armed = threading.Event()
    seen: list[Callable[..., Any]] = []
    watch(schema, lambda *asked: seen[0](*asked) if seen else asked[-1]())
    asyncio.run(main())


def later() -> FrozenClock:
    clock = FrozenClock()
    clock.advance(timedelta(hours=3))
    return clock


@pytest.mark.P1
@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("name", STEPS)
async def test_a_step_is_taken_whole_or_not_and_the_ledger_says_which(
    tmp_path: Path, name: str, place: str
) -> None:
    step = STEPS[name]
    async with opened(tmp_path) as spool:
        for content in (SMALL, LARGE, SMALL):
            await spool.accept(content=content)
        ids = []
        for claim in await spool.claim(3):
            ids.append(claim.mail.queue_id)
            await spool.settle(claim, failed() if step.begins is State.FAILED else spool.deferred())
    program = f"from {__name__} import die, Path; die(Path(sys.argv[1]), {name!r}, {place!r})"
    words = [sys.executable, "-c", f"import sys; {program}", str(tmp_path)]
    child = await asyncio.to_thread(subprocess.run, words, cwd=ROOT, capture_output=True, text=True)
    assert child.returncode == -SIGKILL, child.stderr

    async with opened(tmp_path, later()) as spool:
        is_gone = place == "after" and step.ends is None
        recovered = spool.store.recovered
        assert (recovered.entries, recovered.strays, recovered.corrupt) == (
            (0, 1, 0) if is_gone else (3, 0, 0)
        )
        ends = step.ends if place == "after" else step.begins
        assert [entry.state for entry in await spool.entries()] == ([] if is_gone else [ends] * 3)
        told = [Counter(await spool.facts_of(queue_id))[step.fact] for queue_id in ids]
        assert told == [place == "after"] * 3
        # The same again goes on with it, and tells nothing twice.
        await take(name, spool)
        left = await spool.entries()
        assert [entry.state for entry in left] == ([] if step.ends is None else [step.ends] * 3)
        again = [Counter(await spool.facts_of(queue_id))[step.fact] for queue_id in ids]
        assert again == [1] * 3
    files = [path.name for path in (tmp_path / "content").iterdir()]
    assert len(files) == (0 if step.ends is None else 1)
