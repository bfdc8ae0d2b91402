"""The power goes while the relay works: what was acknowledged is whole, and sent (P1, P3).

Some moments of a short recording, with few images each; `make power` takes all of them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.crash.sabotage import SABOTAGES
from tests.power.alive import send
from tests.power.check import observe
from tests.power.cut import cut, moments, search
from tests.power.images import images
from tests.power.record import SPOOL, Tracer

SEED = 20261128


@pytest.mark.P1
@pytest.mark.P3
@pytest.mark.timeout(180)
def test_what_is_left_on_the_disk_is_what_was_promised(tmp_path: Path, traced: Tracer) -> None:
    recording = traced.record(tmp_path, SEED)
    promises = recording.promises
    assert not recording.complaints, recording.complaints[:5]
    assert promises.promised, "no mail was acknowledged: nothing is shown"
    busy = [number for number, moment, _ in moments(recording) if promises.at_stake(moment)]
    chosen = set(Random(SEED).sample(busy, 8))  # noqa: S311 - to be drawn again
    report = cut(recording, lambda number, _: number in chosen, seed=SEED, subsets=4)
    assert not report.complaints, f"seed {SEED}: {report.complaints[:5]}"
    assert report.mails, "nothing was at stake"
    # One of them is put before the whole relay.
    middle = busy[len(busy) // 2]
    for number, _, disk in moments(recording):
        if number == middle:
            image = next(images(disk, "one", 0))
            seen = observe(image, SPOOL)
            assert seen.mails, "nothing is left to be sent"
            assert asyncio.run(send(image, seen, promises.letters, traced.nursery)) == []


@pytest.mark.P1
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "name", ["commits are synced at checkpoints", "the directory of content is not synced"]
)
def test_a_broken_relay_is_found_out(tmp_path: Path, traced: Tracer, name: str) -> None:
    recording = traced.record(tmp_path, SEED, name)
    complaints = search(recording, SEED).complaints
    assert SABOTAGES[name].found_in(complaints), f"{name}: not noticed, but {complaints}"
