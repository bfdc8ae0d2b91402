"""What a crash leaves behind is put in order before anybody connects."""

from __future__ import annotations

import shutil
from datetime import timedelta
from operator import methodcaller
from pathlib import Path

import pytest

from relay.mail.entry import State
from relay.store.recovery import Recovered
from tests.fakes import FrozenClock
from tests.unit.store.stores import (
    JANE,
    JOE,
    JOHN,
    LARGE,
    PATIENCE,
    Opened,
    failed,
    opened,
    relayed,
)

MINUTE = timedelta(minutes=1)


def killed(spool: Opened, copy: Path) -> Path:
    """Return the spool as it would be found had the process been killed now."""
    shutil.copytree(spool.path, copy)
    return copy


@pytest.mark.P3
async def test_marked_recipients_are_ambiguous_and_unmarked_ones_due_at_once(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "a") as spool:
        mail = await spool.accept(JANE, JOHN, JOE)
        await spool.claim_one(chunk=2)
        path = killed(spool, tmp_path / "b")
    clock = FrozenClock()
    clock.advance(MINUTE)
    async with opened(path, clock) as spool:
        assert spool.store.recovered == Recovered(entries=1, ambiguous=2, strays=0, corrupt=0)
        assert ("spool_recovered", (1, 2, 0, 0)) in spool.facts.told
        shown = await spool.show(mail)
        assert (shown.state, shown.due_at) == (State.AMBIGUOUS, clock.now())
        assert [(one.state, one.attempts) for one in shown.recipients] == [
            (State.AMBIGUOUS, 1),
            (State.AMBIGUOUS, 1),
            (State.READY, 0),
        ]
        claim = await spool.claim_one()
        assert claim.recipients == (JOE,)
        await spool.settle(claim, relayed())
        clock.advance(PATIENCE - MINUTE)
        assert not await spool.claim()
        clock.advance(MINUTE)
        claim = await spool.claim_one()
        assert claim.recipients == (JANE, JOHN)
        assert claim.attempts == {JANE: 2, JOHN: 2}
        _, *lines = await spool.store.record.trace(str(JANE), 10)
        assert [(line.fact, line.detail) for line in lines] == [
            (
                "ambiguous",
                "The relay was stopped during an attempt: message may be sent more than once",
            )
        ]


@pytest.mark.P3
async def test_outcomes_recorded_before_the_crash_stand(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as spool:
        mail = await spool.accept(JANE, JOHN, JOE)
        claim = await spool.claim_one(chunk=2)
        await spool.settle(claim, relayed(), spool.deferred(MINUTE), mark=[JOE])
        path = killed(spool, tmp_path / "b")
    async with opened(path) as spool:
        assert spool.store.recovered.ambiguous == 1
        shown = await spool.show(mail)
        assert [(one.address, one.state) for one in shown.recipients] == [
            (JOHN, State.SCHEDULED),
            (JOE, State.AMBIGUOUS),
        ]


@pytest.mark.P3
async def test_what_was_not_in_flight_is_as_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as spool:
        for _ in range(5):
            await spool.accept()
        claims = await spool.claim(5)
        outcomes = (spool.deferred(), spool.held(), spool.ambiguous(), failed())
        for claim, outcome in zip(claims, outcomes, strict=False):
            await spool.settle(claim, outcome)
        await spool.store.queue.damaged(claims[4], "half", now=spool.clock.now())
        await spool.accept()
        before = await spool.entries()
        path = killed(spool, tmp_path / "b")
    async with opened(path) as spool:
        assert spool.store.recovered == Recovered(6, 0, 0, 0)
        assert await spool.entries() == before


async def test_a_crash_during_recovery_only_repeats_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as spool:
        for _ in range(3):
            await spool.accept()
        await spool.claim(3)
        path = killed(spool, tmp_path / "b")
    for ambiguous in (3, 0):
        async with opened(path) as spool:
            assert spool.store.recovered == Recovered(3, ambiguous, 0, 0)
            assert len(await spool.facts_of(str(JANE))) == 3


async def test_many_claims_are_ended_page_by_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.store.recovery._PAGE", 3)
    async with opened(tmp_path / "a") as spool:
        for n in range(10):
            await spool.accept(content=LARGE if n % 2 else b"small")
        await spool.claim(10)
        path = killed(spool, tmp_path / "b")
    async with opened(path) as spool:
        assert spool.store.recovered == Recovered(10, 10, 0, 0)


# --- files ----------------------------------------------------------------------------------------


async def test_content_no_row_names_is_counted_and_removed(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        mail = await spool.accept(content=LARGE)
        small = await spool.accept()
    content = tmp_path / "content"
    (content / "06H04YCY58GVCD1MB7KG").write_bytes(b"never acknowledged")
    (content / small.queue_id).write_bytes(b"its content is in its row")
    async with opened(tmp_path) as spool:
        assert spool.store.recovered == Recovered(2, 0, strays=2, corrupt=0)
    assert [path.name for path in content.iterdir()] == [mail.queue_id]


@pytest.mark.P5
async def test_what_is_not_ours_is_left_alone_and_is_not_mail(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    content = tmp_path / "content"
    (content / "06H04YCY58GVCD1MB7KG.tmp").write_bytes(b"an editor's")
    (content / "README").write_bytes(b"an operator's")
    (content / "06H04YCY58GVCD1MB7KH").mkdir()
    async with opened(tmp_path) as spool:
        assert spool.store.recovered == Recovered(0, 0, 0, 0)
    assert len(list(content.iterdir())) == 3


@pytest.mark.P5
@pytest.mark.parametrize("remains", [None, b"half"])
async def test_a_row_whose_file_is_not_whole_is_set_aside(
    tmp_path: Path, remains: bytes | None
) -> None:
    async with opened(tmp_path) as spool:
        mail = await spool.accept(content=LARGE)
        whole = await spool.accept(content=LARGE)
    path = tmp_path / "content" / mail.queue_id
    path.unlink() if remains is None else path.write_bytes(remains)
    for corrupt in (1, 0):
        async with opened(tmp_path) as spool:
            assert spool.store.recovered == Recovered(2, 0, 0, corrupt)
            shown = await spool.show(mail)
            assert (shown.state, shown.due_at) == (State.CORRUPT, None)
            claim = await spool.claim_one()
            assert claim.mail == whole
            now = spool.clock.now()
            await spool.store.queue.release(claim, now=now, due_at=now)
    aside = tmp_path / "corrupt" / mail.queue_id
    assert (aside.read_bytes() if aside.exists() else None) == remains


@pytest.mark.P5
async def test_a_move_that_a_crash_interrupted_is_finished(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        mail = await spool.accept(content=LARGE)
        await spool.writer.run(
            methodcaller("execute", "UPDATE entry SET state = 'corrupt', due_at = NULL")
        )
    async with opened(tmp_path) as spool:
        assert spool.store.recovered == Recovered(1, 0, 0, 0)
    assert (tmp_path / "corrupt" / mail.queue_id).read_bytes() == LARGE
    assert not (tmp_path / "content" / mail.queue_id).exists()
