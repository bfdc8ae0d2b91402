"""Killed at named points and at random, under load: nothing acknowledged is lost (P1, P3).

The long runs are `make crash`; here each kind of transaction and each side of it is met once.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash import report
from tests.crash.campaign import RANDOM, STOP, Campaign, Settings, plan
from tests.crash.points import POINTS
from tests.crash.sabotage import SABOTAGES
from tests.forked import Nursery

SEED = 20261127
ENDINGS = (
    "content: durable, no row yet",
    "recovery: before a stray is removed",
    "row: in the commit",
    RANDOM,
    "row: committed, no reply yet",
    "reply: written",
    STOP,
    "mark: committed, no call yet",
    "call: before its first octet",
    "call: last octet written",
    "recovery: claims half ended",
    "call: answered, not recorded",
    "outcome: in the commit",
    "outcome: committed",
    "chunk: recorded, the next not sent",
    "mover: copied, not deleted",
    "checkpoint: pages half copied",
    RANDOM,
    "migration: between its statements",
    "reload: rules in force",
    "stop: before it drains",
)


@pytest.mark.P1
@pytest.mark.P3
@pytest.mark.timeout(180)
async def test_nothing_acknowledged_is_lost_and_what_is_sent_twice_was_under_way(
    tmp_path: Path, nursery: Nursery
) -> None:
    campaign = Campaign(tmp_path, Settings(ENDINGS, SEED, passages=3, life=0.3), nursery)
    await campaign.run()
    books = campaign.books
    assert not books.complaints, f"seed {SEED}, spool in {tmp_path}: {books.complaints[:20]}"
    assert books.owed == 0
    assert books.acknowledged > len(ENDINGS), report.by_ending(books)


@pytest.mark.P1
@pytest.mark.P3
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["the reply comes before the commit", "a stop cuts off calls"])
async def test_a_broken_relay_is_found_out(tmp_path: Path, nursery: Nursery, name: str) -> None:
    sabotage = SABOTAGES[name]
    campaign = Campaign(tmp_path, Settings(sabotage.endings, SEED, name), nursery)
    await campaign.run()
    complaints = campaign.books.complaints
    assert sabotage.found_in(complaints), f"{name}: not noticed, but {complaints[:5]}"


def test_a_plan_has_every_point_and_what_must_come_before_it() -> None:
    endings = plan(2 * len(POINTS), 1)
    assert set(POINTS) < set(endings)
    for name, point in POINTS.items():
        if point.first:
            places = [at for at, ending in enumerate(endings) if ending == name]
            assert all(endings[at - 1] == point.first for at in places), name
