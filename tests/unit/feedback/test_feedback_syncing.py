"""The copy of SES's own list: in full and by increments, by the page, and on after a kill."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relay.aftermath import Listed, ListPage, TokenError
from relay.feedback.syncing import PACE, SWEEP_EVERY, ListSync, Synced
from relay.mail.address import Address
from relay.mail.envelope import AccountName
from relay.mail.feedback import SuppressionReason
from tests.builders import a_sender
from tests.unit.store.stores import Opened, opened

MAIN = AccountName("main")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
PAGE = 1000


class Ses:
    """SES's list of one account. Breaks off, or forgets its tokens, on cue."""

    def __init__(self, count: int = 0) -> None:
        self.entries = [Listed(f"User{n:06}@Example.net", "BOUNCE", BEGIN) for n in range(count)]
        self.asked: list[tuple[datetime | None, str]] = []
        self.break_after: int | None = None
        self.forgotten: set[str] = set()

    async def page(self, since: datetime | None, token: str) -> ListPage:
        if self.break_after is not None and len(self.asked) == self.break_after:
            raise ConnectionError("broken off")
        self.asked.append((since, token))
        if token in self.forgotten:
            self.forgotten.remove(token)
            raise TokenError(token)
        found = [one for one in self.entries if since is None or one.at >= since]
        at = int(token or 0)
        rest = at + PAGE < len(found)
        return ListPage(found[at : at + PAGE], str(at + PAGE) if rest else "")


class Waits(list[float]):
    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture(name="spool")
async def _spool(tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(tmp_path) as spool:
        yield spool


async def sync(spool: Opened, ses: Ses, *, full: bool = False) -> Synced:
    told: list[Synced] = []
    waits = Waits()
    syncing = ListSync(MAIN, ses, spool.store.sync, clock=spool.clock, sleep=waits)  # type: ignore[arg-type]
    before = len(ses.asked)
    done = await syncing.run(told.append, full=full)
    # One call a second at most, and each page told.
    assert waits == [PACE] * (len(ses.asked) - before - 1)
    assert PACE >= 1
    assert told[-1] == done
    return done


def an_address(number: int) -> Address:
    return Address.parse(f"user{number:06}@example.net")


async def test_a_full_sweep_copies_everything_with_the_spelling_of_ses(spool: Opened) -> None:
    done = await sync(spool, Ses(2500))
    assert (done.seen, done.changed, done.is_full, done.is_done) == (2500, 2500, True, True)
    found = await spool.store.suppressions.find(an_address(2400), a_sender(account="main"))
    assert found is not None
    assert (found.spelling, found.scope) == ("User002400@Example.net", "account:main")
    # The list of one account binds mail by no other.
    assert await spool.store.suppressions.find(an_address(2400), a_sender(account="other")) is None


async def test_what_is_new_is_asked_for_alone_and_what_is_gone_is_let_go_by_a_sweep(
    spool: Opened,
) -> None:
    ses = Ses(1500)
    await sync(spool, ses)
    ses.asked.clear()
    later = BEGIN + timedelta(days=1)
    ses.entries = [*ses.entries[1:], Listed("new@example.net", "COMPLAINT", later)]
    done = await sync(spool, ses)
    assert (done.is_full, done.changed) == (False, 1)
    assert [since for since, _ in ses.asked] == [BEGIN - timedelta(hours=1)] * 2
    assert spool.store.suppressions.may_hold(an_address(0))
    spool.clock.advance(SWEEP_EVERY)
    done = await sync(spool, ses)
    assert (done.is_full, done.changed, done.removed) == (True, 0, 1)
    assert not spool.store.suppressions.may_hold(an_address(0))
    assert spool.store.suppressions.counts()[SuppressionReason.COMPLAINT] == 1


@pytest.mark.P1
async def test_a_sync_of_fifty_thousand_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    ses = Ses(50_000)
    ses.break_after = 30
    async with opened(tmp_path) as spool:
        with pytest.raises(ConnectionError):
            await sync(spool, ses)
    # A process that knows of it only what is on disk.
    async with opened(tmp_path) as spool:
        assert spool.store.suppressions.may_hold(an_address(29_999))
        assert not spool.store.suppressions.may_hold(an_address(30_000))
        ses.break_after = None
        ses.asked.clear()
        done = await sync(spool, ses)
        assert (done.seen, done.removed) == (50_000, 0)
        assert len(ses.asked) == 20
        assert spool.store.suppressions.may_hold(an_address(49_999))


async def test_a_token_that_is_known_no_more_begins_the_sweep_anew(spool: Opened) -> None:
    ses = Ses(3500)
    ses.forgotten.add("2000")
    ses.break_after = 2
    with pytest.raises(ConnectionError):
        await sync(spool, ses)
    ses.break_after = None
    syncing = ListSync(MAIN, ses, spool.store.sync, clock=spool.clock, sleep=Waits())  # type: ignore[arg-type]
    done = await syncing.run(lambda _: None)
    assert (done.seen, done.removed) == (3500, 0)


async def test_what_an_operator_removed_here_stays_removed_until_ses_lists_it_anew(
    spool: Opened,
) -> None:
    ses = Ses(3)
    await sync(spool, ses)
    now = spool.clock.now()
    address = str(an_address(1))
    assert await spool.store.record.unsuppress(address, actor="op", reason="x", now=now)
    await sync(spool, ses, full=True)
    assert not spool.store.suppressions.may_hold(an_address(1))
    ses.entries[1] = Listed(ses.entries[1].address, "BOUNCE", now + timedelta(seconds=1))
    await sync(spool, ses, full=True)
    assert spool.store.suppressions.may_hold(an_address(1))
