"""Each fault at each step of a commit, and of recording an outcome: the table of what holds.

Never a 250 without a commit; never again what is known sent; service resumes by itself.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from relay.mail.entry import State
from relay.mail.envelope import QueueId
from relay.ports import Claim, SpoolError
from relay.store import opening, schema
from tests.fault.disks import Seam
from tests.unit.store.stores import JANE, JOHN, LARGE, SMALL, Opened, opened, relayed

FAULTS = {
    "full": sqlite3.SQLITE_FULL,
    "write": sqlite3.SQLITE_IOERR_WRITE,
    "fsync": sqlite3.SQLITE_IOERR_FSYNC,
    "truncate": sqlite3.SQLITE_IOERR_TRUNCATE,
    "shm": sqlite3.SQLITE_IOERR_SHMSIZE,
    "busy": sqlite3.SQLITE_BUSY,
    "no descriptor": sqlite3.SQLITE_CANTOPEN,
    "no memory": sqlite3.SQLITE_NOMEM,
    "read-only": sqlite3.SQLITE_READONLY,
}
SECOND = timedelta(seconds=1)


@pytest.fixture(name="seam")
def _seam(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seam]:
    """A seam before the connection that writes spool.db."""
    seam = Seam()
    connect = schema.connect

    def seamed(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        return seam.connect(connection) if path.name == opening.SPOOL_DATABASE else connection

    monkeypatch.setattr(schema, "connect", seamed)
    yield seam
    seam.healed()


async def resumed(spool: Opened) -> None:
    """Return once service has resumed, by nobody's doing but the clock's."""
    spool.clock.advance(SECOND)
    spool.store.spool.has_room_for(1)
    await spool.come_round()
    assert spool.store.spool.has_room_for(1), "the disk is well, and mail is still refused"
    assert spool.store.spool.is_well


# --- accepting ------------------------------------------------------------------------------------

STEPS_OF_ACCEPTING = (
    "BEGIN IMMEDIATE",
    "INSERT INTO entry",
    "INSERT INTO recipient",
    "COMMIT",
)


@pytest.mark.P1
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
async def test_no_250_without_a_commit(
    tmp_path: Path, seam: Seam, fault: str, content: bytes
) -> None:
    async with opened(tmp_path) as spool:
        kept = {(await spool.accept(content=content)).queue_id}
        for step in STEPS_OF_ACCEPTING:
            seam.fail(step, FAULTS[fault])
            for _ in range(2):
                with pytest.raises(SpoolError):
                    await spool.accept(content=content)
            assert seam.healed(), f"{step}: the fault never came"
            assert not spool.store.spool.is_well, step
            assert not spool.store.spool.has_room_for(1), step
            await resumed(spool)
            kept.add((await spool.accept(content=content)).queue_id)
        await spool.store.close()
        async with opened(spool.path, spool.clock) as again:
            claims = await again.claim(10)
            assert {claim.mail.queue_id for claim in claims} == kept
            assert again.store.recovered.corrupt == again.store.recovered.strays == 0


@pytest.mark.P1
@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_sent_that_cannot_be_marked(
    tmp_path: Path, seam: Seam, fault: str
) -> None:
    async with opened(tmp_path) as spool:
        await spool.accept()
        for at in ("BEGIN IMMEDIATE", "UPDATE entry", "INSERT INTO attempt", "COMMIT"):
            seam.fail(at, FAULTS[fault])
            with pytest.raises(SpoolError):
                await spool.claim()
            assert seam.healed(), f"{at}: the fault never came"
            await resumed(spool)
        (claim,) = await spool.claim()
        assert claim.attempts == {JANE: 1}


# --- recording outcomes ---------------------------------------------------------------------------


async def _whole(spool: Opened, claim: Claim) -> State | None:
    return await spool.settle(claim, relayed(), relayed())


async def _half(spool: Opened, claim: Claim) -> State | None:
    return await spool.settle(claim, relayed(), spool.deferred())


async def _doubtful(spool: Opened, claim: Claim) -> State | None:
    return await spool.settle(claim, spool.ambiguous(), spool.ambiguous())


async def _released(spool: Opened, claim: Claim) -> State | None:
    now = spool.clock.now()
    await spool.store.queue.release(claim, now=now, due_at=now)
    return State.READY


async def _damaged(spool: Opened, claim: Claim) -> State | None:
    now = spool.clock.now()
    await spool.store.queue.damaged(claim, "its checksum fails", now=now)
    return State.CORRUPT


Record = Callable[[Opened, Claim], Awaitable[State | None]]

OUTCOMES: dict[str, tuple[Record, State | None, tuple[str, ...]]] = {
    "relayed": (_whole, None, ("DELETE FROM recipient", "DELETE FROM entry", "INSERT INTO outbox")),
    "half": (_half, State.SCHEDULED, ("DELETE FROM recipient", "UPDATE recipient", "UPDATE entry")),
    "ambiguous": (_doubtful, State.AMBIGUOUS, ("UPDATE recipient", "UPDATE entry")),
    "released": (_released, State.READY, ("UPDATE recipient", "UPDATE entry")),
    "damaged": (_damaged, State.CORRUPT, ("UPDATE entry", "DELETE FROM attempt")),
}


def steps_of(outcome: str) -> tuple[str, ...]:
    return ("BEGIN IMMEDIATE", *OUTCOMES[outcome][2], "COMMIT")


async def in_hand(spool: Opened) -> Claim:
    """Have a mail that SES is being asked to take."""
    await spool.accept(JANE, JOHN)
    return await spool.claim_one()


async def states(spool: Opened) -> Counter[State]:
    return +Counter(await spool.store.queue.counts())


@pytest.mark.P3
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_what_is_known_sent_is_not_sent_again(
    tmp_path: Path, seam: Seam, fault: str, outcome: str
) -> None:
    record, state, _ = OUTCOMES[outcome]
    async with opened(tmp_path) as spool:
        for step in steps_of(outcome):
            before = await states(spool)
            claim = await in_hand(spool)
            seam.fail(step, FAULTS[fault])
            for _ in range(2):
                with pytest.raises(SpoolError) as caught:
                    await record(spool, claim)
                assert not caught.value.is_lasting, f"{step}: who records it would give up"
            half = before + Counter({State.IN_FLIGHT: 1})
            assert await states(spool) == half, f"{step}: half an outcome was recorded"
            assert seam.healed(), f"{step}: the fault never came"
            await resumed(spool)
            assert not await spool.claim(), f"{step}: handed out while its outcome was in hand"
            assert await record(spool, claim) is state
            after = before + Counter({} if state is None else {state: 1})
            assert await states(spool) == after, step
            await send_what_is_due(spool)


@pytest.mark.P3
@pytest.mark.parametrize("fault", ["full", "write", "shm"])
@pytest.mark.parametrize("outcome", OUTCOMES)
async def test_on_a_full_disk_outcomes_are_recorded_by_the_reserve_and_sending_stops(
    tmp_path: Path, seam: Seam, monkeypatch: pytest.MonkeyPatch, fault: str, outcome: str
) -> None:
    record, state, _ = OUTCOMES[outcome]
    async with opened(tmp_path) as spool:
        reserve = spool.path / "reserve"
        for step in steps_of(outcome):
            claim = await in_hand(spool)
            waiting = await spool.accept(JOHN)
            assert reserve.stat().st_blocks * 512 >= 1 << 16, "the reserve has no blocks"
            seam.fail(step, FAULTS[fault], while_=reserve.exists)
            assert await record(spool, claim) is state, step
            assert not reserve.exists(), step
            # Space for it cannot be had: the disk is as full as before.
            with monkeypatch.context() as patched:
                patched.setattr(os, "posix_fallocate", _refuse)
                for _ in range(2):
                    spool.clock.advance(SECOND)
                    with pytest.raises(SpoolError, match="outcomes alone are recorded"):
                        await spool.claim()
                    with pytest.raises(SpoolError, match="outcomes alone are recorded"):
                        await spool.accept()
                    assert not spool.store.spool.is_well, step
            assert seam.healed(), f"{step}: the fault never came"
            await resumed(spool)
            sent = await send_what_is_due(spool)
            assert waiting.queue_id in sent, step
        told = [words["is_well"] for name, words in spool.facts.words if name == "database_turned"]
        assert told == [False, True] * len(steps_of(outcome))


async def send_what_is_due(spool: Opened) -> set[QueueId]:
    """Relay everything that is due; return what that was."""
    claims = await spool.claim(10)
    for claim in claims:
        await spool.settle(claim, *[relayed()] * len(claim.recipients))
    return {claim.mail.queue_id for claim in claims}


def _refuse(*_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
