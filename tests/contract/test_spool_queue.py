"""What ports.Queue promises, kept by the store."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import threading
import zlib
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import fields, replace
from datetime import timedelta
from operator import methodcaller
from pathlib import Path

import pytest

from relay.mail.address import Address
from relay.mail.entry import State
from relay.mail.envelope import Envelope, Mail, SenderName
from relay.mail.ses_headers import SesHeaders
from relay.operators import QueueView, Selection
from relay.ports import Claim, ContentFile, LeaseLostError, Queue
from tests.unit.store.stores import (
    BILLING,
    JANE,
    JOE,
    JOHN,
    LARGE,
    LEASE,
    Opened,
    failed,
    opened,
    relayed,
)

PRINTERS = SenderName("printers")
MINUTE = timedelta(minutes=1)


@pytest.fixture(name="spool")
async def _spool(tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(tmp_path) as spool:
        yield spool


async def test_the_store_is_what_the_ports_describe(spool: Opened) -> None:
    queue: Queue = spool.store.queue
    view: QueueView = spool.store.queue
    assert not await queue.senders()
    assert await view.find(Selection(), "", 10) == ([], None)


# --- claiming -------------------------------------------------------------------------------------


async def test_a_claim_names_who_is_due_and_who_is_marked(spool: Opened) -> None:
    mail = await spool.accept(JANE, JOHN, JOE)
    claim = await spool.claim_one(chunk=2)
    assert claim.mail == mail
    assert claim.recipients == (JANE, JOHN, JOE)
    assert claim.marked == 2
    assert claim.attempts == {JANE: 1, JOHN: 1, JOE: 1}
    assert claim.lease_until == spool.clock.now() + LEASE
    assert not await spool.claim(5)


async def test_what_a_mail_asks_of_ses_is_kept_with_it(spool: Opened, tmp_path: Path) -> None:
    asked = SesHeaders("bulk", (("a", "b"), ("c", "d")), tenant="acme", contact_list="readers")
    draft = spool.store.spool.draft()
    await draft.append(b"x")
    draft.ses_headers = asked
    mail = await spool.store.spool.commit(draft, BILLING, Envelope(JANE, (JOHN,)))
    assert mail.ses_headers == asked
    plain = await spool.accept(JANE)
    shown = await spool.store.queue.show(mail.queue_id)
    assert shown is not None
    assert shown.mail.ses_headers == asked
    first, second = await spool.claim(2)
    assert first.mail == mail
    assert second.mail == plain
    assert not plain.ses_headers


@pytest.mark.P5
async def test_a_mail_whose_asking_is_damaged_is_set_aside(spool: Opened, tmp_path: Path) -> None:
    mail = await spool.accept(JANE)
    with closing(sqlite3.connect(tmp_path / "spool.db", isolation_level=None)) as other:
        other.execute("UPDATE entry SET ses_headers = 'X-SES-TENANT: ac/me'")
    assert not await spool.claim(1)
    shown = await spool.store.queue.show(mail.queue_id)
    assert shown is not None
    assert shown.state is State.CORRUPT
    assert "X-SES-TENANT holds letters" in shown.reason


async def test_one_claim_serves_many_senders_oldest_first_up_to_what_each_wants(
    spool: Opened,
) -> None:
    billing, printers = [], []
    for _ in range(3):
        billing.append(await spool.accept())
        printers.append(await spool.accept(sender=PRINTERS))
        spool.clock.advance(MINUTE)
    claims = await spool.claims({BILLING: 2, PRINTERS: 1, SenderName("nobody"): 5})
    assert [claim.mail for claim in claims.taken] == [*billing[:2], printers[0]]
    assert claims.next_due == {
        BILLING: billing[2].arrived_at,
        PRINTERS: printers[1].arrived_at,
    }


@pytest.mark.P6
@pytest.mark.parametrize(
    ("room", "taken"),
    [(1, [3]), (3, [3]), (4, [3, 2]), (5, [3, 2]), (6, [3, 2, 1]), (99, [3, 2, 1, 1])],
)
async def test_a_claim_stops_once_there_is_no_room_for_more_recipients(
    spool: Opened, room: int, taken: list[int]
) -> None:
    people = (JANE, JOHN, JOE)
    for count in (3, 2, 1, 1):
        await spool.accept(*people[:count])
        spool.clock.advance(MINUTE)
    claims = await spool.claims({BILLING: 10}, room=room)
    assert [claim.marked for claim in claims.taken] == taken
    left = await spool.store.queue.counts()
    assert left[State.READY] == 4 - len(taken)
    assert (BILLING in claims.next_due) is (len(taken) < 4)


@pytest.mark.P6
async def test_only_marked_recipients_take_room_and_the_first_is_leased_whatever_it_takes(
    spool: Opened,
) -> None:
    for _ in range(3):
        await spool.accept(JANE, JOHN, JOE)
    assert len((await spool.claims({BILLING: 10}, chunk=1, room=2)).taken) == 2
    (claim,) = (await spool.claims({BILLING: 10}, room=1)).taken
    assert claim.marked == 3


async def test_senders_are_served_in_the_order_of_the_wants(spool: Opened) -> None:
    await spool.accept()
    spool.clock.advance(MINUTE)
    late = await spool.accept(sender=PRINTERS)
    claims = await spool.claims({PRINTERS: 5, BILLING: 5}, room=1)
    assert [claim.mail for claim in claims.taken] == [late]
    assert set(claims.next_due) == {BILLING}


async def test_wanting_none_of_a_sender_only_asks_when_its_next_is_due(spool: Opened) -> None:
    mail = await spool.accept()
    claims = await spool.claims({BILLING: 0})
    assert not claims.taken
    assert claims.next_due == {BILLING: mail.arrived_at}


async def test_what_is_not_due_is_not_claimed_and_is_at_its_time(spool: Opened) -> None:
    await spool.accept()
    await spool.settle(await spool.claim_one(), spool.deferred(MINUTE))
    spool.clock.advance(MINUTE - timedelta(milliseconds=1))
    assert not await spool.claim()
    spool.clock.advance(timedelta(milliseconds=1))
    claim = await spool.claim_one()
    assert claim.attempts == {JANE: 2}


@pytest.mark.parametrize("in_time", [True, False])
async def test_claims_nobody_waits_for_any_more_are_given_back(
    spool: Opened, *, in_time: bool
) -> None:
    """A scheduler cancelled while it claims must not leave mail in flight until a restart."""
    mail = await spool.accept()
    began, go_on = threading.Event(), threading.Event()

    def work(_: sqlite3.Connection) -> None:
        began.set()
        go_on.wait()

    spool.writer.post(work)
    if in_time:
        await asyncio.to_thread(began.wait)
    task = asyncio.create_task(spool.claim())
    await asyncio.sleep(0)
    # What one pass of the loop submits is one batch: the claim is picked with the work.
    await asyncio.to_thread(began.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await spool.come_round()
    assert (await spool.claim_one()).mail == mail


async def test_claims_that_meet_a_cancellation_are_given_back(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = await spool.accept()
    task = asyncio.create_task(spool.claim())
    claimed = spool.store.queue._claimed

    def cancelling(operation: object) -> None:
        claimed(operation)  # type: ignore[arg-type]
        task.cancel()

    monkeypatch.setattr(spool.store.queue, "_claimed", cancelling)
    with pytest.raises(asyncio.CancelledError):
        await task
    monkeypatch.undo()
    assert (await spool.claim_one()).mail == mail


# --- settling -------------------------------------------------------------------------------------


async def test_mail_relayed_for_all_is_gone(spool: Opened) -> None:
    mail = await spool.accept(JANE, JOHN)
    assert await spool.settle(await spool.claim_one(), relayed(), relayed()) is None
    assert await spool.store.queue.show(mail.queue_id) is None
    assert set((await spool.store.queue.counts()).values()) == {0}
    assert await spool.store.queue.senders() == []


async def test_mail_settled_together_is_settled_each_by_itself(spool: Opened) -> None:
    for _ in range(20):
        await spool.accept()
    claims = await spool.claim(20)
    spool.facts.told.clear()
    outcomes = [relayed() if n % 2 else spool.deferred() for n in range(20)]
    states = await asyncio.gather(
        *(spool.settle(claim, one) for claim, one in zip(claims, outcomes, strict=True))
    )
    assert states == [None if n % 2 else State.SCHEDULED for n in range(20)]
    assert spool.facts.names().count("spool_committed") <= 2


async def test_an_entry_stays_in_flight_until_all_of_the_claim_have_an_outcome(
    spool: Opened,
) -> None:
    mail = await spool.accept(JANE, JOHN, JOE)
    claim = await spool.claim_one(chunk=1)
    assert await spool.settle(claim, relayed(), mark=[JOHN]) is State.IN_FLIGHT
    shown = await spool.show(mail)
    assert shown.state is State.IN_FLIGHT
    assert [(one.address, one.state) for one in shown.recipients] == [
        (JOHN, State.IN_FLIGHT),
        (JOE, State.READY),
    ]
    now = spool.clock.now()
    settled = {JOHN: relayed("0100-def"), JOE: relayed("0100-ghi")}
    assert await spool.store.queue.settle(claim, settled, now=now) is None


async def test_marking_without_an_outcome_is_allowed(spool: Opened) -> None:
    await spool.accept(JANE, JOHN)
    claim = await spool.claim_one(chunk=1)
    assert await spool.settle(claim, mark=[JOHN]) is State.IN_FLIGHT


async def test_each_recipient_keeps_its_own_time(spool: Opened) -> None:
    """An ambiguous recipient on its patient schedule is not sent again with a deferred one."""
    mail = await spool.accept(JANE, JOHN)
    state = await spool.settle(
        await spool.claim_one(), spool.ambiguous(30 * MINUTE), spool.deferred(MINUTE)
    )
    assert state is State.AMBIGUOUS
    assert (await spool.show(mail)).due_at == spool.clock.now() + MINUTE
    spool.clock.advance(MINUTE)
    claim = await spool.claim_one()
    assert claim.recipients == (JOHN,)
    assert claim.attempts == {JOHN: 2}
    assert not claim.in_doubt
    assert await spool.settle(claim, relayed()) is State.AMBIGUOUS
    spool.clock.advance(29 * MINUTE)
    claim = await spool.claim_one()
    assert claim.recipients == (JANE,)
    assert await spool.settle(claim, relayed()) is None


@pytest.mark.P3
async def test_a_doubt_stays_with_its_recipient_whatever_comes_of_later_attempts(
    spool: Opened,
) -> None:
    await spool.accept(JANE, JOHN)
    await spool.settle(await spool.claim_one(), spool.ambiguous(MINUTE), spool.deferred(MINUTE))
    for _ in range(2):
        spool.clock.advance(MINUTE)
        claim = await spool.claim_one()
        assert set(claim.in_doubt) == {JANE}
        await spool.settle(claim, spool.deferred(MINUTE), spool.deferred(MINUTE))


@pytest.mark.P3
async def test_who_was_relayed_is_never_claimed_again(spool: Opened) -> None:
    await spool.accept(JANE, JOHN)
    await spool.settle(await spool.claim_one(), relayed(), spool.deferred(MINUTE))
    spool.clock.advance(MINUTE)
    claim = await spool.claim_one()
    assert claim.recipients == (JOHN,)
    assert claim.mail.envelope.recipients == (JOHN,)


@pytest.mark.P8
async def test_what_an_operator_must_mend_is_held_and_probed(spool: Opened) -> None:
    mail = await spool.accept()
    since = spool.clock.now()
    for _ in range(3):
        assert await spool.settle(await spool.claim_one(), spool.held(10 * MINUTE)) is State.HELD
        shown = await spool.show(mail)
        assert shown.reason == "access_denied"
        assert shown.due_at == spool.clock.now() + 10 * MINUTE
        assert shown.recipients[0].reason == "access_denied: 451 4.3.5 SES AccessDenied: no"
        spool.clock.advance(10 * MINUTE)
    (held_since,) = await spool.writer.run(
        lambda connection: connection.execute("SELECT since FROM entry").fetchone()
    )
    assert held_since == int(since.timestamp() * 1000)


async def test_mail_that_failed_for_somebody_is_kept_with_its_content(spool: Opened) -> None:
    mail = await spool.accept(JANE, JOHN, content=LARGE)
    state = await spool.settle(await spool.claim_one(), failed(), relayed())
    assert state is State.FAILED
    shown = await spool.show(mail)
    assert shown.due_at is None
    assert [one.address for one in shown.recipients] == [JANE]
    assert (spool.path / "content" / mail.queue_id).exists()
    spool.clock.advance(timedelta(days=365))
    assert not await spool.claim()


async def test_mail_with_somebody_left_to_try_has_not_failed(spool: Opened) -> None:
    mail = await spool.accept(JANE, JOHN)
    state = await spool.settle(await spool.claim_one(), failed(), spool.deferred(MINUTE))
    assert state is State.SCHEDULED
    spool.clock.advance(MINUTE)
    claim = await spool.claim_one()
    assert claim.recipients == (JOHN,)
    assert await spool.settle(claim, relayed()) is State.FAILED
    assert (await spool.show(mail)).reason == "rejected"


@pytest.mark.parametrize("how", ["settled", "released", "reopened"])
async def test_an_outcome_of_a_claim_that_is_over_is_refused_and_not_recorded(
    tmp_path: Path, how: str
) -> None:
    async with opened(tmp_path) as spool:
        mail = await spool.accept()
        old = await spool.claim_one()
        if how == "settled":
            await spool.settle(old, spool.deferred(MINUTE))
        elif how == "released":
            await spool.store.queue.release(old, now=spool.clock.now(), due_at=spool.clock.now())
    async with opened(tmp_path) as spool:
        spool.clock.advance(timedelta(hours=1))
        await spool.claim_one()
        before = await spool.facts_of(mail.queue_id)
        now = spool.clock.now()
        for settled in (relayed(), spool.deferred()):
            with pytest.raises(LeaseLostError):
                await spool.settle(old, settled)
        with pytest.raises(LeaseLostError):
            await spool.store.queue.release(old, now=now, due_at=now)
        with pytest.raises(LeaseLostError):
            await spool.store.queue.hold(old, "reason", now=now)
        with pytest.raises(LeaseLostError):
            await spool.store.queue.damaged(old, "reason", now=now)
        assert (await spool.show(mail)).state is State.IN_FLIGHT
        assert await spool.facts_of(mail.queue_id) == before


async def test_a_claim_from_elsewhere_is_refused(spool: Opened) -> None:
    await spool.accept()
    claim = await spool.claim_one()
    stranger = Claim(**{field.name: getattr(claim, field.name) for field in fields(Claim)})
    with pytest.raises(LeaseLostError, match="not one of this spool's"):
        await spool.settle(stranger, relayed())
    with pytest.raises(LeaseLostError):
        await spool.settle(replace(claim, token=claim.token + 1), relayed())


async def test_outcomes_that_make_no_sense_are_refused(spool: Opened) -> None:
    await spool.accept(JANE, JOHN, JOE)
    claim = await spool.claim_one()
    now, queue = spool.clock.now(), spool.store.queue
    stranger = Address.parse("stranger@example.net")
    with pytest.raises(ValueError, match=r"stranger@example\.net is no recipient of this claim"):
        await queue.settle(claim, {stranger: relayed()}, now=now)
    with pytest.raises(ValueError, match="needs a due time"):
        await queue.settle(claim, {JANE: replace(spool.deferred(), due_at=None)}, now=now)
    with pytest.raises(ValueError, match="only final outcomes have none"):
        await queue.settle(claim, {JANE: replace(failed(), due_at=now)}, now=now)
    for settled in (relayed(), spool.deferred()):
        await queue.settle(claim, {JANE if settled == relayed() else JOHN: settled}, now=now)
    for again in (JANE, JOHN):
        with pytest.raises(ValueError, match="have one already"):
            await queue.settle(claim, {again: relayed()}, now=now)
    with pytest.raises(ValueError, match="have one already"):
        await queue.settle(claim, dict.fromkeys((JANE, JOHN, JOE), relayed()), now=now)
    assert await queue.settle(claim, {JOE: relayed()}, now=now) is State.SCHEDULED


# --- giving back ----------------------------------------------------------------------------------


async def test_a_released_claim_is_due_when_the_caller_says(spool: Opened) -> None:
    mail = await spool.accept(JANE, JOHN)
    claim = await spool.claim_one()
    due_at = spool.clock.now() + MINUTE
    await spool.store.queue.release(claim, now=spool.clock.now(), due_at=due_at)
    shown = await spool.show(mail)
    assert (shown.state, shown.due_at) == (State.READY, due_at)
    spool.clock.advance(MINUTE)
    claim = await spool.claim_one()
    assert claim.attempts == {JANE: 1, JOHN: 1}


async def test_releasing_keeps_the_outcomes_the_claim_had(spool: Opened) -> None:
    mail = await spool.accept(JANE, JOHN, JOE)
    claim = await spool.claim_one(chunk=2)
    await spool.settle(claim, relayed(), spool.deferred(2 * MINUTE))
    now = spool.clock.now()
    await spool.store.queue.release(claim, now=now, due_at=now + MINUTE)
    shown = await spool.show(mail)
    assert shown.due_at == now + MINUTE
    assert [(one.address, one.state) for one in shown.recipients] == [
        (JOHN, State.SCHEDULED),
        (JOE, State.READY),
    ]
    spool.clock.advance(MINUTE)
    assert (await spool.claim_one()).recipients == (JOE,)


@pytest.mark.P8
async def test_held_mail_waits_for_an_operator(spool: Opened) -> None:
    mail = await spool.accept(JANE, JOHN)
    await spool.settle(await spool.claim_one(), spool.ambiguous(MINUTE), failed())
    spool.clock.advance(MINUTE)
    claim = await spool.claim_one()
    await spool.store.queue.hold(claim, "sender-removed", now=spool.clock.now())
    shown = await spool.show(mail)
    assert (shown.state, shown.due_at, shown.reason) == (State.HELD, None, "sender-removed")
    assert [one.state for one in shown.recipients] == [State.HELD, State.FAILED]
    spool.clock.advance(timedelta(days=365))
    assert not await spool.claim()
    assert await spool.store.queue.senders() == [BILLING]


async def removed(spool: Opened, sender: SenderName = BILLING) -> Mail:
    """A mail held because its sender is not configured any more."""
    mail = await spool.accept(JANE, JOHN, sender=sender)
    (claim,) = await spool.claim(sender=sender)
    await spool.store.queue.hold(claim, "sender-removed", now=spool.clock.now())
    return mail


@pytest.mark.P8
async def test_what_was_held_for_want_of_its_sender_is_due_when_the_sender_is_back(
    spool: Opened,
) -> None:
    mail, other = await removed(spool), await removed(spool, PRINTERS)
    spool.clock.advance(MINUTE)
    now = spool.clock.now()
    assert await spool.store.queue.readmit([BILLING, SenderName("new")], now=now) == 1
    assert await spool.store.queue.readmit([BILLING], now=now) == 0
    shown = await spool.show(mail)
    assert (shown.state, shown.due_at, shown.reason) == (State.READY, now, "")
    assert [(one.state, one.reason) for one in shown.recipients] == [(State.READY, "")] * 2
    assert (await spool.claim_one()).recipients == (JANE, JOHN)
    assert (await spool.show(other)).state is State.HELD


async def test_readmitting_leaves_who_failed_and_what_is_held_for_another_reason(
    spool: Opened,
) -> None:
    await spool.accept(JANE, JOHN)
    await spool.settle(await spool.claim_one(), failed(), spool.deferred(MINUTE))
    held = await spool.accept()
    await spool.settle(await spool.claim_one(), spool.held(60 * MINUTE))
    spool.clock.advance(MINUTE)
    claim = await spool.claim_one()
    await spool.store.queue.hold(claim, "sender-removed", now=spool.clock.now())
    assert await spool.store.queue.readmit([BILLING], now=spool.clock.now()) == 1
    assert (await spool.claim_one()).recipients == (JOHN,)
    assert (await spool.show(held)).state is State.HELD


async def test_many_are_readmitted_a_page_at_a_time(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.store.returning.READMITTED_AT_ONCE", 3)
    for _ in range(8):
        await removed(spool)
    assert await spool.store.queue.readmit([BILLING], now=spool.clock.now()) == 8
    assert len(await spool.claim(10)) == 8


@pytest.mark.P5
@pytest.mark.parametrize("content", [b"small", LARGE])
async def test_damaged_mail_is_set_aside_with_its_content(spool: Opened, content: bytes) -> None:
    mail = await spool.accept(content=content)
    claim = await spool.claim_one()
    await spool.store.queue.damaged(claim, "it fails its checksum", now=spool.clock.now())
    shown = await spool.show(mail)
    assert (shown.state, shown.due_at) == (State.CORRUPT, None)
    assert shown.reason == "it fails its checksum"
    await spool.store.spool._contents.close()
    aside = spool.path / "corrupt" / mail.queue_id
    assert aside.exists() is (content is LARGE)


@pytest.mark.P5
@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("UPDATE content SET octets = x'00'", "its content has 1 octets instead of"),
        ("UPDATE content SET octets = zeroblob(length(octets))", "its content fails its checksum"),
        ("DELETE FROM content", "its content is missing"),
        ("UPDATE entry SET state = 'failed'", "it is due although it is failed"),
        ("UPDATE entry SET state = 'lost'", "it is due although it is lost"),
    ],
)
async def test_what_is_not_as_it_was_spooled_is_set_aside_and_the_rest_claimed(
    spool: Opened, damage: str, complaint: str
) -> None:
    bad = await spool.accept()
    await spool.writer.run(methodcaller("execute", damage))
    good = await spool.accept()
    claims = await spool.claim(5)
    assert [claim.mail for claim in claims] == [good]
    assert [fact[1][0] for fact in spool.facts.told if fact[0] == "damaged"] == [bad]
    shown = await spool.show(bad)
    assert shown.state is State.CORRUPT
    assert shown.reason.startswith(complaint)
    assert not await spool.claim(5)


@pytest.mark.P5
@pytest.mark.parametrize("remains", [b"", b"half", None])
async def test_a_content_file_of_another_length_is_set_aside(
    spool: Opened, remains: bytes | None
) -> None:
    mail = await spool.accept(content=LARGE)
    path = spool.path / "content" / mail.queue_id
    path.unlink() if remains is None else path.write_bytes(remains)
    assert not await spool.claim(5)
    assert (await spool.show(mail)).state is State.CORRUPT
    await spool.store.spool._contents.close()
    assert not path.exists()
    assert (spool.path / "corrupt" / mail.queue_id).exists() is (remains is not None)


@pytest.mark.P5
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE])
async def test_a_content_file_that_cannot_be_looked_at_now_is_no_damage(
    spool: Opened, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    mail = await spool.accept(content=LARGE)
    small = await spool.accept()

    def refuse(path: Path, size: int) -> str:
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patched:
        patched.setattr("relay.store.claiming.complaint_of_file", refuse)
        claims = await spool.claims({BILLING: 5})
    assert [claim.mail for claim in claims.taken] == [small]
    assert "damaged" not in spool.facts.names()
    (told,) = [fact[1][0] for fact in spool.facts.told if fact[0] == "spool_failed"]
    assert told.errno == number
    # Not at once again, or a sick disk would be asked without end.
    assert claims.next_due == {BILLING: spool.clock.now() + MINUTE}
    assert (await spool.show(mail)).state is State.READY
    assert spool.store.spool.has_room_for(1)
    spool.clock.advance(MINUTE)
    assert (await spool.claim_one()).mail == mail


async def test_a_content_file_comes_with_what_is_known_of_it(spool: Opened) -> None:
    await spool.accept(content=LARGE)
    content = (await spool.claim_one()).content
    assert isinstance(content, ContentFile)
    assert (content.size, content.crc32) == (len(LARGE), zlib.crc32(LARGE))
    assert content.path.read_bytes() == LARGE
