"""Pauses, kept by the store: over restarts, and at no cost of the lifetime of paused mail."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from relay.mail.entry import State
from relay.mail.envelope import SenderName
from relay.operators import Pause
from relay.policy.expiry import PROVING, Terms
from relay.ports import SpoolError
from relay.store import pauses as module
from relay.upkeep import Expired
from tests.unit.store.stores import BILLING, Opened, opened

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LIFETIME = 4 * DAY
TERMS = Terms(lifetime=LIFETIME, longest_wait=2 * HOUR, keep_failed=7 * DAY, history=30 * DAY)
OTHER = SenderName("other")


def a_pause(spool: Opened, reason: str = "wrong template") -> Pause:
    return Pause(BILLING, spool.clock.now(), "root", reason)


async def expired(spool: Opened) -> list[str]:
    """Give up all that may be; return the senders."""
    page = await spool.store.upkeep.look(0, TERMS, now=spool.clock.now())
    found: list[Expired] = []
    for group in page.expiring:
        found += await spool.store.upkeep.expire(group, TERMS, now=spool.clock.now())
    return [one.mail.sender for one in found]


async def test_a_pause_outlives_a_restart_and_ends_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        written = await spool.store.pauses.write(a_pause(spool))
        assert written == a_pause(spool)
        spool.clock.advance(HOUR)
        again = await spool.store.pauses.write(a_pause(spool, "still wrong"))
        assert (again.reason, again.since) == ("still wrong", written.since)
    async with opened(tmp_path) as spool:
        assert await spool.store.pauses.read() == [again]
        await spool.store.pauses.remove(BILLING)
        await spool.store.pauses.remove(BILLING)
        assert await spool.store.pauses.read() == []


async def test_paused_mail_does_not_expire_and_goes_on_as_old_as_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        before = await spool.accept()
        other = await spool.accept(sender=OTHER)
        # Deferred before: it was tried in this run.
        await spool.settle(await spool.claim_one(), spool.deferred())
        spool.clock.advance(DAY)
        await spool.store.pauses.write(a_pause(spool))
        meanwhile = await spool.accept()
        spool.clock.advance(30 * DAY)
        assert await expired(spool) == [other.sender]
        page = await spool.store.upkeep.look(0, TERMS, now=spool.clock.now())
        assert page.overdue == timedelta(0)
        assert page.held_long == 0
        await spool.store.pauses.remove(BILLING)
        assert await expired(spool) == []
        # Three days of its four are left to the first, all four to the second.
        spool.clock.advance(3 * DAY - HOUR)
        assert await expired(spool) == []
        spool.clock.advance(HOUR)
        assert await expired(spool) == [BILLING]
        assert (await spool.show(before)).state is State.FAILED
        spool.clock.advance(DAY)
        assert await expired(spool) == [BILLING]
        assert (await spool.show(meanwhile)).state is State.FAILED


async def test_what_was_over_when_its_sender_was_paused_is_tried_before_it_expires(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as spool:
        await spool.accept()
        await spool.settle(await spool.claim_one(), spool.deferred())
        spool.clock.advance(LIFETIME)
        await spool.store.pauses.write(a_pause(spool))
        spool.clock.advance(DAY)
        await spool.store.pauses.remove(BILLING)
        assert await expired(spool) == []
        spool.clock.advance(PROVING)
        assert await expired(spool) == [BILLING]


async def test_a_long_queue_is_let_go_in_pages_and_a_resume_broken_off_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE", 7)
    async with opened(tmp_path) as spool:
        await spool.fill(50, state=State.READY)
        await spool.store.pauses.write(a_pause(spool))
        spool.clock.advance(30 * DAY)
        pages = 0
        let_go = module._let_go

        def failing(*args: object, **words: object) -> object:
            nonlocal pages
            pages += 1
            if pages == 4:
                raise SpoolError("disk full")
            return let_go(*args, **words)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(module, "_let_go", failing)
            with pytest.raises(SpoolError):
                await spool.store.pauses.remove(BILLING)
        assert await spool.store.pauses.read(), "a pause that could not be ended must hold"
        spool.clock.advance(30 * DAY)
        await spool.store.pauses.remove(BILLING)
        spool.clock.advance(LIFETIME - HOUR)
        assert await expired(spool) == []
        spool.clock.advance(HOUR)
        assert await expired(spool) == [BILLING] * 50


@pytest.mark.P8
async def test_a_damaged_page_of_the_queue_keeps_no_pause_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def malformed(*_: object, **__: object) -> None:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    async with opened(tmp_path) as spool:
        await spool.accept()
        await spool.store.pauses.write(a_pause(spool))
        monkeypatch.setattr(module, "_let_go", malformed)
        await spool.store.pauses.remove(BILLING)
        assert await spool.store.pauses.read() == []
