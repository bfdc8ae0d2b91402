"""What relay.upkeep promises, kept by the store: who expires, what of it is told, what is forgotten."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest

from relay.mail.entry import Settled, State
from relay.mail.envelope import Mail, SenderName
from relay.mail.feedback import FeedbackEvent, FeedbackKind, FeedbackRecipient
from relay.policy.expiry import DEDUPLICATED, OPERATOR_GRACE, PROVING, Terms
from relay.ports import LeaseLostError, SpoolError
from relay.store import expiry, looking, purging
from relay.upkeep import Expired, Group, Page
from tests.fakes import FrozenClock
from tests.unit.store.stores import (
    BILLING,
    JANE,
    JOE,
    JOHN,
    LARGE,
    PATIENCE,
    SMALL,
    Opened,
    failed,
    opened,
    relayed,
)

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LIFETIME = timedelta(days=4)
TERMS = Terms(lifetime=LIFETIME, longest_wait=75 * MINUTE, keep_failed=7 * DAY, history=30 * DAY)


@pytest.fixture(name="spool")
async def _spool(tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(tmp_path) as spool:
        yield spool


async def look(spool: Opened, terms: Terms = TERMS) -> Page:
    """The whole queue, on one page."""
    page = await spool.store.upkeep.look(0, terms, now=spool.clock.now())
    while page.next is not None:
        more = await spool.store.upkeep.look(page.next, terms, now=spool.clock.now())
        page = Page(
            [*page.expiring, *more.expiring],
            [*page.spent, *more.spent],
            [*page.far, *more.far],
            max(page.overdue, more.overdue),
            page.held_long + more.held_long,
            more.next,
        )
    return page


async def expire(spool: Opened, terms: Terms = TERMS) -> dict[str, Expired]:
    """Give up all that may be, as the sweeper does."""
    expired: list[Expired] = []
    for group in (await look(spool, terms)).expiring:
        expired += await spool.store.upkeep.expire(group, terms, now=spool.clock.now())
    return {one.mail.queue_id: one for one in expired}


async def entries_of(spool: Opened, groups: Any) -> int:
    return sum(len(group) for group in groups)


async def defer(spool: Opened, *settled: Settled) -> None:
    """One attempt at the one mail that is due."""
    await spool.settle(await spool.claim_one(), *settled)


# --- who expires ----------------------------------------------------------------------------------


async def test_mail_nobody_attempts_expires_at_the_end_of_its_lifetime(spool: Opened) -> None:
    mail = await spool.accept(JANE, JOHN)
    spool.clock.advance(LIFETIME - SECOND)
    assert not await expire(spool)
    spool.clock.advance(SECOND)
    told = (await expire(spool))[mail.queue_id]
    assert told.mail.sender == BILLING
    assert set(told.outcomes) == {JANE, JOHN}
    shown = await spool.show(mail)
    assert (shown.state, shown.due_at, shown.reason) == (State.FAILED, None, "expired")
    assert await spool.facts_of(mail.queue_id) == ["expired", "expired"]
    # Its content is kept, and it can be retried.
    assert await spool.retry(mail) is State.READY
    assert (await spool.claim_one()).content == SMALL


async def test_mail_that_was_deferred_expires_with_the_last_answer(spool: Opened) -> None:
    mail = await spool.accept()
    await defer(spool, spool.deferred())
    spool.clock.advance(LIFETIME)
    (failed_,) = (await expire(spool))[mail.queue_id].outcomes.values()
    assert str(failed_.reply) == (
        "554 5.4.7 Lifetime expired; last answer: 451 4.4.5 SES Throttling: slow down"
    )


@pytest.mark.P3
async def test_mail_that_may_have_gone_out_expires_as_unknown(spool: Opened) -> None:
    mail = await spool.accept(JANE, JOHN)
    await defer(spool, spool.ambiguous(), spool.deferred())
    spool.clock.advance(LIFETIME)
    outcomes = (await expire(spool))[mail.queue_id].outcomes
    assert outcomes[JANE].reply.status == "4.4.7"
    assert "not known whether SES took the message" in outcomes[JANE].reply.text
    assert outcomes[JOHN].reply.status == "5.4.7"
    lines = await spool.store.record.trace(mail.queue_id, 10)
    told = {line.recipient: line.detail for line in lines if line.fact == "expired"}
    assert told[str(JANE)].startswith("451 4.4.7 ")
    assert told[str(JOHN)].startswith("554 5.4.7 ")


@pytest.mark.P3
async def test_a_doubt_outlives_what_came_after_it(tmp_path: Path) -> None:
    """A crash in the first attempt, a plain refusal in the second."""
    clock = FrozenClock()
    async with opened(tmp_path, clock) as spool:
        mail = await spool.accept()
        await spool.claim_one()
    async with opened(tmp_path, clock) as spool:
        clock.advance(PATIENCE)
        await defer(spool, spool.deferred())
        clock.advance(LIFETIME)
        (outcome,) = (await expire(spool))[mail.queue_id].outcomes.values()
        assert outcome.reply.status == "4.4.7"


@pytest.mark.parametrize("tried", [False, True])
async def test_after_a_start_nothing_expires_without_an_attempt_or_an_hour(
    tmp_path: Path, *, tried: bool
) -> None:
    clock = FrozenClock()
    async with opened(tmp_path, clock) as spool:
        await spool.accept()
        await defer(spool, spool.deferred())
        clock.advance(LIFETIME * 2)
    async with opened(tmp_path, clock) as spool:
        assert not await expire(spool)
        if tried:
            await defer(spool, spool.deferred())
            assert len(await expire(spool)) == 1
            return
        clock.advance(PROVING - SECOND)
        page = await look(spool)
        assert not page.expiring
        assert page.overdue == LIFETIME + PROVING - SECOND
        clock.advance(SECOND)
        assert len(await expire(spool)) == 1


async def test_downtime_is_no_time_however_long(tmp_path: Path) -> None:
    clock = FrozenClock()
    async with opened(tmp_path, clock) as spool:
        await spool.accept()
        clock.advance(HOUR)
    clock.advance(LIFETIME * 10)
    async with opened(tmp_path, clock) as spool:
        clock.advance(2 * PROVING)
        page = await look(spool)
        assert (page.expiring, page.overdue) == ([], timedelta(0))
        clock.advance(LIFETIME - 3 * HOUR)
        assert len(await expire(spool)) == 1


@pytest.mark.parametrize("step", [timedelta(days=7), timedelta(days=-7)])
async def test_a_step_of_the_clock_ages_nothing(spool: Opened, step: timedelta) -> None:
    await spool.accept()
    spool.clock.advance(LIFETIME - HOUR)
    spool.clock.step(step)
    assert not await expire(spool)
    spool.clock.advance(HOUR)
    assert len(await expire(spool)) == 1


@pytest.mark.parametrize("verb", ["retry", "readmit"])
async def test_what_is_let_go_is_tried_or_free_for_an_hour_before_it_expires(
    spool: Opened, verb: str
) -> None:
    mail = await spool.accept()
    await defer(spool, spool.deferred())
    spool.clock.advance(LIFETIME)
    queue = spool.store.queue
    if verb == "retry":
        await expire(spool)
        await spool.retry(mail)
    else:
        await queue.hold(await spool.claim_one(), "sender-removed", now=spool.clock.now())
        spool.clock.advance(HOUR)
        assert await queue.readmit([BILLING], now=spool.clock.now()) == 1
    assert not await expire(spool)
    # Claimed and given back, again and again: that is no attempt, and no new hour either.
    for _ in range(3):
        claim = await spool.claim_one()
        spool.clock.advance(19 * MINUTE)
        await queue.release(claim, now=spool.clock.now(), due_at=spool.clock.now())
        assert not await expire(spool)
    spool.clock.advance(3 * MINUTE)
    assert len(await expire(spool)) == 1


async def test_what_is_let_go_and_tried_expires_at_once(spool: Opened) -> None:
    mail = await spool.accept()
    spool.clock.advance(LIFETIME)
    await expire(spool)
    await spool.retry(mail)
    await defer(spool, spool.deferred())
    assert len(await expire(spool)) == 1


async def test_only_recipients_that_were_tried_expire_within_the_hour(tmp_path: Path) -> None:
    clock = FrozenClock()
    async with opened(tmp_path, clock) as spool:
        mail = await spool.accept(JANE, JOHN)
        clock.advance(LIFETIME)
    async with opened(tmp_path, clock) as spool:
        claim = await spool.claim_one(chunk=1)
        await spool.settle(claim, spool.deferred())
        await spool.store.queue.release(claim, now=clock.now(), due_at=clock.now())
        assert set((await expire(spool))[mail.queue_id].outcomes) == {JANE}
        shown = await spool.show(mail)
        assert [one.state for one in shown.recipients] == [State.FAILED, State.READY]
        assert shown.state is State.READY
        # The next attempt may still take it.
        clock.advance(MINUTE)
        claim = await spool.claim_one()
        assert claim.recipients == (JOHN,)
        await spool.settle(claim, relayed())
        assert (await spool.show(mail)).state is State.FAILED


async def test_who_was_relayed_does_not_expire_with_the_others(spool: Opened) -> None:
    mail = await spool.accept(JANE, JOHN)
    await defer(spool, relayed(), spool.deferred())
    spool.clock.advance(LIFETIME)
    assert set((await expire(spool))[mail.queue_id].outcomes) == {JOHN}


# --- what is held ---------------------------------------------------------------------------------


@pytest.mark.P8
async def test_what_an_operator_must_mend_has_ten_days_more_and_an_alert_at_half(
    spool: Opened,
) -> None:
    mail = await spool.accept()
    spool.clock.advance(2 * DAY)
    await defer(spool, spool.held())
    spool.clock.advance(5 * DAY - SECOND)
    assert (await look(spool)).held_long == 0
    spool.clock.advance(SECOND)
    page = await look(spool)
    assert (page.held_long, page.expiring, page.overdue) == (1, [], timedelta(0))
    spool.clock.advance(7 * DAY - SECOND)
    assert not await expire(spool)
    spool.clock.advance(SECOND)
    (outcome,) = (await expire(spool))[mail.queue_id].outcomes.values()
    assert "AccessDenied" in outcome.reply.text


@pytest.mark.P8
async def test_after_a_start_what_is_held_expires_only_when_it_was_tried(tmp_path: Path) -> None:
    clock = FrozenClock()
    async with opened(tmp_path, clock) as spool:
        await spool.accept()
        await defer(spool, spool.held())
        clock.advance(LIFETIME + OPERATOR_GRACE)
    async with opened(tmp_path, clock) as spool:
        clock.advance(30 * DAY)
        page = await look(spool)
        assert not page.expiring
        assert page.overdue == 30 * DAY
        await defer(spool, spool.held())
        assert len(await expire(spool)) == 1


@pytest.mark.P8
async def test_what_waits_for_its_sender_or_by_hand_waits_for_ever(spool: Opened) -> None:
    mail = await spool.accept()
    await defer(spool, spool.deferred())
    spool.clock.advance(MINUTE)
    claim = await spool.claim_one()
    await spool.store.queue.hold(claim, "sender-removed", now=spool.clock.now())
    spool.clock.advance(365 * DAY)
    page = await look(spool)
    # It is in no way late, but operators are told that it is there.
    assert (page.expiring, page.overdue, page.held_long) == ([], timedelta(0), 1)
    group = Group((1,))
    assert not await spool.store.upkeep.expire(group, TERMS, now=spool.clock.now())
    assert (await spool.show(mail)).state is State.HELD


@pytest.mark.P5
@pytest.mark.parametrize("state", [State.CORRUPT, State.IN_FLIGHT])
async def test_no_clock_takes_what_is_corrupt_or_in_flight(spool: Opened, state: State) -> None:
    mail = await spool.accept()
    claim = await spool.claim_one()
    if state is State.CORRUPT:
        await spool.store.queue.damaged(claim, "half", now=spool.clock.now())
        spool.clock.advance(365 * DAY)
    else:
        spool.clock.advance(LIFETIME - SECOND)
    assert not await expire(spool)
    upkeep, group = spool.store.upkeep, Group((1,))
    assert not await upkeep.expire(group, TERMS, now=spool.clock.now())
    assert not await upkeep.purge(group, TERMS, now=spool.clock.now())
    assert (await spool.show(mail)).state is state


@pytest.mark.P3
async def test_an_attempt_that_never_ends_is_given_up_as_unknown(spool: Opened) -> None:
    """A lane that is wedged must not keep its mail for ever."""
    mail = await spool.accept(JANE, JOHN)
    claim = await spool.claim_one(chunk=1)
    spool.clock.advance(LIFETIME)
    assert (await look(spool)).overdue == timedelta(0)
    outcomes = (await expire(spool))[mail.queue_id].outcomes
    # SES may have been asked for one of them, and was not for the other.
    assert outcomes[JANE].reply.status == "4.4.7"
    assert outcomes[JOHN].reply.status == "5.4.7"
    assert (await spool.show(mail)).state is State.FAILED
    # Should it end after all, its outcome is nobody's.
    with pytest.raises(LeaseLostError):
        await spool.settle(claim, relayed())


async def test_a_short_lifetime_does_not_cut_off_an_attempt(spool: Opened) -> None:
    short = Terms(MINUTE, 75 * MINUTE, 7 * DAY, 30 * DAY)
    await spool.accept()
    await spool.claim_one()
    spool.clock.advance(DAY - SECOND)
    assert not await expire(spool, short)
    spool.clock.advance(SECOND)
    assert len(await expire(spool, short)) == 1


async def test_what_changed_since_it_was_looked_at_stays(spool: Opened) -> None:
    await spool.accept()
    spool.clock.advance(LIFETIME)
    (group,) = (await look(spool)).expiring
    claim = await spool.claim_one()
    assert not await spool.store.upkeep.expire(group, TERMS, now=spool.clock.now())
    await spool.settle(claim, relayed())
    assert not await spool.store.upkeep.expire(group, TERMS, now=spool.clock.now())


# --- pages and groups -----------------------------------------------------------------------------


async def test_everything_is_found_page_by_page_in_groups_that_are_few(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "_PAGE", 7)
    monkeypatch.setattr(looking, "_ENTRIES", 3)
    mails = [await spool.accept() for _ in range(20)]
    spool.clock.advance(LIFETIME)
    groups = (await look(spool)).expiring
    assert [len(group) for group in groups] == [3, 3, 1, 3, 3, 1, 3, 3]
    assert set(await expire(spool)) == {mail.queue_id for mail in mails}


async def test_a_group_has_no_more_recipients_and_octets_than_take_a_moment(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "_RECIPIENTS", 4)
    monkeypatch.setattr(looking, "_OCTETS", 5 * len(SMALL))
    for _ in range(3):
        await spool.accept(JANE, JOHN)
    for _ in range(6):
        await spool.accept(JANE)
    spool.clock.advance(LIFETIME)
    groups = (await look(spool)).expiring
    assert [len(group) for group in groups] == [2, 3, 4]


async def test_a_page_full_of_what_is_past_its_time_is_parted(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "_PAGE", 10)
    monkeypatch.setattr(looking, "_FOUND", 4)
    mails = [await spool.accept() for _ in range(25)]
    spool.clock.advance(LIFETIME)
    assert [len(group) for group in (await look(spool)).expiring] == [4, 4, 4, 4, 4, 4, 1]
    assert set(await expire(spool)) == {mail.queue_id for mail in mails}


@pytest.mark.P5
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET reverse_path = CAST(x'6aff40' AS TEXT) WHERE id = 1",
        "UPDATE recipient SET address = 'jane doe' WHERE entry = 1",
        "UPDATE entry SET arrived_at = 1 << 60 WHERE id = 1",
    ],
)
async def test_what_cannot_be_read_is_set_aside_and_keeps_no_other(
    spool: Opened, statement: str
) -> None:
    bad = await spool.accept(content=LARGE)
    good = await spool.accept()
    await spool.writer.run(methodcaller("execute", statement))
    spool.clock.advance(LIFETIME)
    assert set(await expire(spool)) == {good.queue_id}
    assert (await spool.show(bad)).state is State.CORRUPT
    assert [fact[1][0].queue_id for fact in spool.facts.told if fact[0] == "damaged"] == [
        bad.queue_id
    ]


@pytest.mark.P5
async def test_a_damaged_page_of_the_database_hides_no_other(tmp_path: Path) -> None:
    clock = FrozenClock()
    async with opened(tmp_path, clock) as spool:
        mails = [await spool.accept() for _ in range(600)]
        clock.advance(LIFETIME)
    database = tmp_path / "spool.db"
    content = bytearray(database.read_bytes())
    at = content.index((mails[300].queue_id + BILLING).encode()) // 4096 * 4096
    lost = {mail.queue_id for mail in mails if mail.queue_id.encode() in content[at : at + 4096]}
    content[at] = 0xFF
    database.write_bytes(content)
    async with opened(tmp_path, clock) as spool:
        clock.advance(PROVING)
        given_up = set(await expire(spool))
        # Nor can those on the pages beside it be written, which SQLite would share out anew.
        assert given_up <= {mail.queue_id for mail in mails} - lost
        assert len(given_up) >= 600 - 5 * len(lost)
        # It is not the sweep that ends at it.
        assert {mails[0].queue_id, mails[-1].queue_id} <= given_up


# --- due too far ahead ----------------------------------------------------------------------------


async def bring_near(spool: Opened) -> set[SenderName]:
    senders: set[SenderName] = set()
    for group in (await look(spool)).far:
        senders |= set(
            await spool.store.upkeep.bring_near(
                group, TERMS, now=spool.clock.now(), jitter=lambda: 0.5
            )
        )
    return senders


async def test_mail_does_not_sleep_a_week_because_the_clock_was_a_week_ahead(
    tmp_path: Path,
) -> None:
    clock = FrozenClock()
    async with opened(tmp_path, clock) as spool:
        clock.step(7 * DAY)
        fresh = await spool.accept(sender=SenderName("fresh"))
        mails = {}
        for name, outcome in (
            ("late", spool.deferred(HOUR)),
            ("held", spool.held(HOUR)),
            ("doubt", spool.ambiguous(PATIENCE)),
        ):
            sender = SenderName(name)
            mails[name] = await spool.accept(sender=sender)
            (claim,) = await spool.claim(sender=sender)
            await spool.settle(claim, outcome)
        clock.step(-7 * DAY)
    # Set right while the relay was down: no step was seen.
    async with opened(tmp_path, clock) as spool:
        assert await bring_near(spool) == {"fresh", "late", "held", "doubt"}
        now = clock.now()
        due = {name: (await spool.show(mail)).due_at for name, mail in mails.items()}
        assert (await spool.show(fresh)).due_at == now
        # Each at a time of its own within the longest wait; what may have gone out, patiently.
        assert due["late"] == due["held"] == now + TERMS.longest_wait / 2
        assert due["doubt"] == now + PATIENCE * 1.125
        assert not (await look(spool)).far
        assert len(await spool.claim(sender=SenderName("fresh"))) == 1
        clock.advance(TERMS.longest_wait)
        for name in mails:
            assert len(await spool.claim(sender=SenderName(name))) == 1


async def test_what_is_scheduled_by_this_clock_stays_where_it_is(spool: Opened) -> None:
    mail = await spool.accept(JANE, JOHN)
    await defer(spool, spool.deferred(TERMS.longest_wait), spool.deferred(MINUTE))
    assert not (await look(spool)).far
    # One recipient's time is wrong, the other's is not.
    await spool.writer.run(
        methodcaller(
            "execute", "UPDATE recipient SET due_at = due_at + 1000000000 WHERE position = 0"
        )
    )
    await spool.writer.run(methodcaller("execute", "UPDATE entry SET due_at = due_at + 1000000000"))
    await bring_near(spool)
    assert (await spool.show(mail)).due_at == spool.clock.now() + MINUTE


# --- what is forgotten ----------------------------------------------------------------------------


async def purge(spool: Opened) -> list[str]:
    purged: list[Mail] = []
    for group in (await look(spool)).spent:
        purged += await spool.store.upkeep.purge(group, TERMS, now=spool.clock.now())
    return [mail.queue_id for mail in purged]


async def test_failed_mail_is_kept_for_as_long_as_promised_and_the_ledger_knows(
    spool: Opened,
) -> None:
    mails = [await spool.accept(JANE, JOHN, content=content) for content in (SMALL, LARGE)]
    for claim in await spool.claim(2):
        await spool.settle(claim, failed(), relayed())
    spool.clock.advance(7 * DAY - SECOND)
    assert not await purge(spool)
    spool.clock.advance(SECOND)
    assert await purge(spool) == [mail.queue_id for mail in mails]
    assert await spool.store.queue.show(mails[0].queue_id) is None
    assert spool.store.spool.backlog(BILLING)[:2] == (0, 0)
    await spool.store.spool._contents.close()
    assert not list((spool.path / "content").iterdir())
    for mail in mails:
        assert sorted(await spool.facts_of(mail.queue_id)) == ["failed", "purged", "relayed"]
    rows = await spool.writer.run(
        lambda connection: [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - ours
            for table in ("entry", "recipient", "content", "attempt")
        ]
    )
    assert rows == [0, 0, 0, 0]


async def test_failed_mail_that_is_retried_is_not_forgotten(spool: Opened) -> None:
    mail = await spool.accept()
    await defer(spool, failed())
    spool.clock.advance(7 * DAY)
    (group,) = (await look(spool)).spent
    await spool.retry(mail)
    assert not await spool.store.upkeep.purge(group, TERMS, now=spool.clock.now())
    # Failed once more, it is kept once more.
    await defer(spool, failed())
    spool.clock.advance(7 * DAY - SECOND)
    assert not await purge(spool)


async def test_a_step_of_the_clock_forgets_no_failed_mail(spool: Opened) -> None:
    await spool.accept()
    await defer(spool, failed())
    spool.clock.step(365 * DAY)
    assert not await purge(spool)


async def rows_of(spool: Opened, table: str) -> int:
    def count(connection: sqlite3.Connection) -> int:
        (found,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
        assert isinstance(found, int)
        return found

    return await spool.record_writer.run(count)


async def forget(spool: Opened, terms: Terms = TERMS) -> int:
    """Forget all that is to be forgotten; return how many steps that took."""
    steps = 1
    while await spool.store.upkeep.forget(terms, now=spool.clock.now()):
        steps += 1
    return steps


def an_event(spool: Opened, message: str = "0100-abc") -> FeedbackEvent:
    return FeedbackEvent(
        kind=FeedbackKind.DELIVERY,
        ses_message_id=message,
        at=spool.clock.now(),
        recipients=(FeedbackRecipient(str(JANE)),),
    )


async def test_history_is_forgotten_when_it_is_old_and_not_before(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "_ROWS", 3)
    monkeypatch.setattr(purging, "_REPORTS", 2)
    record = spool.store.record
    for day in range(10):
        for number in range(2):
            mail = await spool.accept(JANE, JOHN, JOE)
            await spool.settle(await spool.claim_one(), relayed(), relayed(), relayed())
            name = f"{day}-{number}"
            await record.take_in(name, b"{}", an_event(spool, name), [])
            await record.unsuppress(
                "nobody@example.net", actor="op", reason="", now=mail.arrived_at
            )
        spool.clock.advance(DAY)
    await spool.store.record.trace("x@y", 1)
    assert await rows_of(spool, "ledger") == 60
    await forget(spool)
    assert [await rows_of(spool, name) for name in ("ledger", "event", "feedback")] == [60, 20, 20]
    spool.clock.advance(25 * DAY)
    # Half of the days are more than thirty days ago.
    assert await forget(spool) > 8
    assert [await rows_of(spool, name) for name in ("ledger", "event", "feedback")] == [30, 10, 10]
    spool.clock.advance(30 * DAY)
    await forget(spool)
    assert [await rows_of(spool, name) for name in ("ledger", "event", "feedback")] == [0, 0, 0]


async def test_what_operators_did_is_forgotten_with_the_rest(spool: Opened) -> None:
    def wrote(connection: sqlite3.Connection) -> None:
        at = int(spool.clock.now().timestamp() * 1000)
        connection.execute(
            "INSERT INTO audit (at, actor, action, subject, detail) VALUES (?, '', '', '', '')",
            (at,),
        )

    await spool.record_writer.run(wrote)
    spool.clock.advance(29 * DAY)
    await spool.record_writer.run(wrote)
    spool.clock.advance(2 * DAY)
    await forget(spool)
    assert await rows_of(spool, "audit") == 1


async def test_old_mail_that_is_told_of_late_is_remembered_from_then(spool: Opened) -> None:
    mail = await spool.accept(JANE, JOHN)
    await defer(spool, spool.deferred(), spool.held())
    spool.clock.advance(20 * DAY)
    claim = await spool.claim_one()
    await spool.settle(claim, relayed(), relayed())
    await spool.facts_of(mail.queue_id)
    spool.clock.advance(15 * DAY)
    await forget(spool)
    # The deferrals are five weeks old, that it was relayed is not.
    assert await spool.facts_of(mail.queue_id) == ["relayed", "relayed"]
    assert await forget(spool) == 1
    spool.clock.advance(16 * DAY)
    await forget(spool)
    assert await spool.facts_of(mail.queue_id) == []


async def test_mail_is_found_by_its_message_id_for_as_long_as_anything_is_known_of_it(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "_ROWS", 3)
    name, late = "1@erp.example.com", spool.clock.now() + 20 * DAY
    for _ in range(4):
        await spool.accept(message_id=name)
        await spool.settle(await spool.claim_one(), relayed())
        spool.clock.advance(MINUTE)
    await spool.accept(message_id=name)
    await spool.settle(await spool.claim_one(), spool.deferred())
    spool.clock.advance(late - spool.clock.now())
    await spool.settle(await spool.claim_one(), relayed())
    assert len(await spool.store.record.trace_message(name, 100)) == 5 + 6
    spool.clock.advance(15 * DAY)
    await forget(spool)
    left = await spool.store.record.trace_message(name, 100)
    assert [line.fact for line in left] == ["accepted", "relayed"]
    assert await rows_of(spool, "message") == 1
    spool.clock.advance(16 * DAY)
    await forget(spool)
    assert await rows_of(spool, "message") == 0


async def test_a_report_seen_is_known_for_a_fortnight_however_short_the_history(
    spool: Opened,
) -> None:
    short = Terms(HOUR, HOUR, HOUR, DAY)
    record, event = spool.store.record, an_event(spool)
    assert await record.take_in("sns-1", b"{}", event, []) is not None
    spool.clock.advance(DEDUPLICATED - SECOND)
    await forget(spool, short)
    assert await rows_of(spool, "event") == 0
    assert await record.take_in("sns-1", b"{}", event, []) is None
    spool.clock.advance(2 * SECOND)
    await forget(spool, short)
    assert await rows_of(spool, "feedback") == 0


# --- uptime -----------------------------------------------------------------------------------------


async def test_the_uptime_is_noted_while_there_is_mail_to_grow_older(spool: Opened) -> None:
    def noted(connection: sqlite3.Connection) -> int:
        (found,) = connection.execute("SELECT uptime FROM service").fetchone()
        assert isinstance(found, int)
        return found

    began = await spool.writer.run(noted)
    spool.clock.advance(MINUTE)
    await spool.store.upkeep.note_time()
    assert await spool.writer.run(noted) == began
    await spool.accept()
    await spool.store.upkeep.note_time()
    assert await spool.writer.run(noted) == began + 60_000


async def test_a_sick_spool_is_told_and_nothing_is_half_done(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = await spool.accept()
    spool.clock.advance(LIFETIME)
    (group,) = (await look(spool)).expiring

    def sick(*_: object, **__: object) -> None:
        raise sqlite3.InternalError("disk I/O error")

    monkeypatch.setattr(expiry, "give_back", sick)
    with pytest.raises(SpoolError):
        await spool.store.upkeep.expire(group, TERMS, now=spool.clock.now())
    monkeypatch.undo()
    assert (await spool.show(mail)).state is State.READY
    assert await spool.facts_of(mail.queue_id) == []
    assert len(await expire(spool)) == 1
    await asyncio.sleep(0)
