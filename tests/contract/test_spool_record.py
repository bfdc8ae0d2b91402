"""What ports.Record and ports.Suppressions promise, kept by the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from sqlite3 import Connection

import pytest

from relay.aftermath import Record
from relay.mail.address import Address
from relay.mail.envelope import Mail
from relay.mail.feedback import (
    FeedbackEvent,
    FeedbackKind,
    FeedbackRecipient,
    Suppression,
    SuppressionReason,
)
from relay.policy.suppression import suppressions
from relay.ports import SpoolError, Suppressions
from relay.store import ledger
from relay.store.digests import Digests
from tests.unit.store.stores import JANE, JOE, JOHN, Opened, failed, opened, relayed

HOUR = timedelta(hours=1)


@pytest.fixture(name="spool")
async def _spool(tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(tmp_path) as spool:
        yield spool


def bounce(at: datetime, address: str = str(JANE), feedback_id: str = "f-1") -> FeedbackEvent:
    return FeedbackEvent(
        FeedbackKind.BOUNCE,
        "0100-abc",
        at,
        (FeedbackRecipient(address, "5.1.1", "no such user"),),
        kind_detail="Permanent/General",
        feedback_id=feedback_id,
        queue_id="",
        node="node-1",
    )


def delivery(at: datetime, ses_message_id: str = "0100-abc", node: str = "node-1") -> FeedbackEvent:
    recipients = (FeedbackRecipient(str(JANE)),)
    return FeedbackEvent(FeedbackKind.DELIVERY, ses_message_id, at, recipients, node=node)


async def take_in(
    spool: Opened, delivery_id: str, event: FeedbackEvent | None
) -> list[Suppression] | None:
    causes = [] if event is None else list(suppressions(event))
    caused = await spool.store.record.take_in(delivery_id, b"{}", event, causes)
    return None if caused is None else list(caused)


async def suppressed(spool: Opened, address: Address = JANE) -> Suppression | None:
    """Return what the list says of an address, in memory as in the database."""
    found = await spool.store.suppressions.find(address)
    assert spool.store.suppressions.may_hold(address) is (found is not None)
    return found


async def test_the_store_is_what_the_ports_describe(spool: Opened) -> None:
    record: Record = spool.store.record
    listed: Suppressions = spool.store.suppressions
    assert not await record.list_suppressed("", 10)
    assert not listed.may_hold(JANE)
    assert await listed.find(JANE) is None


# --- feedback -------------------------------------------------------------------------------------


async def test_a_bounce_suppresses_its_address_also_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        event = bounce(spool.clock.now())
        taken = await take_in(spool, "m-1", event)
        assert taken is not None
        (caused,) = taken
        assert await suppressed(spool) == caused
        assert caused.event_id == "f-1"
        assert await suppressed(spool, JOHN) is None
    async with opened(tmp_path) as spool:
        assert await suppressed(spool) == caused


async def test_the_list_ignores_case_as_ses_does(spool: Opened) -> None:
    await take_in(spool, "m-1", bounce(spool.clock.now(), "JANE@Example.net"))
    assert await suppressed(spool) is not None


@pytest.mark.P3
async def test_a_message_delivered_twice_is_taken_in_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        event = bounce(spool.clock.now())
        assert await take_in(spool, "m-1", event)
        assert await take_in(spool, "m-1", event) is None
        await spool.store.record.unsuppress(
            str(JANE), actor="op", reason="mended", now=spool.clock.now()
        )
    async with opened(tmp_path) as spool:
        assert await take_in(spool, "m-1", event) is None
        assert await suppressed(spool) is None
        assert await spool.facts_of(str(JANE)) == ["bounced"]


@pytest.mark.P5
async def test_what_is_signed_and_not_understood_is_kept_raw(spool: Opened) -> None:
    raw = b"\xff\x00 not for us"
    assert await spool.store.record.take_in("m-1", raw, None, []) == []
    assert await spool.store.record.take_in("m-1", raw, None, []) is None
    kept = await spool.record_writer.run(
        lambda connection: connection.execute("SELECT kind, raw FROM feedback").fetchall()
    )
    assert kept == [("", raw)]


async def test_an_event_older_than_a_removal_does_not_suppress_again(spool: Opened) -> None:
    before = spool.clock.now()
    await take_in(spool, "m-1", bounce(before))
    spool.clock.advance(HOUR)
    removed_at = spool.clock.now()
    assert await spool.store.record.unsuppress(
        str(JANE), actor="op", reason="mended", now=removed_at
    )
    assert await suppressed(spool) is None
    for delivery_id, at in (("m-2", before), ("m-3", removed_at)):
        assert await take_in(spool, delivery_id, bounce(at)) == []
        assert await suppressed(spool) is None
    spool.clock.advance(HOUR)
    assert await take_in(spool, "m-4", bounce(spool.clock.now()))
    assert await suppressed(spool) is not None


@pytest.mark.parametrize("complaint_first", [True, False])
async def test_a_complaint_prevails_over_a_bounce_in_whatever_order_they_come(
    spool: Opened, *, complaint_first: bool
) -> None:
    at = spool.clock.now()
    recipients = (FeedbackRecipient(str(JANE)),)
    complaint = FeedbackEvent(FeedbackKind.COMPLAINT, "0100-abc", at, recipients)
    events = [complaint, bounce(at)] if complaint_first else [bounce(at), complaint]
    for n, event in enumerate(events):
        await take_in(spool, f"m-{n}", event)
    found = await suppressed(spool)
    assert found is not None
    assert found.reason is SuppressionReason.COMPLAINT


@pytest.mark.parametrize("earlier_first", [True, False])
async def test_of_equal_reasons_the_earlier_stays(spool: Opened, *, earlier_first: bool) -> None:
    times = [spool.clock.now(), spool.clock.now() + HOUR]
    for n, at in enumerate(times if earlier_first else reversed(times)):
        await take_in(spool, f"m-{n}", bounce(at))
    found = await suppressed(spool)
    assert found is not None
    assert found.since == times[0]


# --- an operator's hand ---------------------------------------------------------------------------


def manual(spool: Opened, address: str = str(JANE)) -> Suppression:
    return Suppression(address, SuppressionReason.MANUAL, "asked by phone", spool.clock.now())


async def test_what_an_operator_adds_outlasts_events_and_is_audited(spool: Opened) -> None:
    await take_in(spool, "m-1", bounce(spool.clock.now()))
    await spool.store.record.suppress(manual(spool), actor="root")
    assert await suppressed(spool) == manual(spool)
    assert await take_in(spool, "m-2", bounce(spool.clock.now() + HOUR)) == []
    now = spool.clock.now()
    await spool.store.record.unsuppress("Jane@example.net", actor="root", reason="ok", now=now)
    audit = await spool.record_writer.run(
        lambda connection: connection.execute(
            "SELECT actor, action, subject, detail FROM audit ORDER BY id"
        ).fetchall()
    )
    assert audit == [
        ("root", "suppress", str(JANE), "asked by phone"),
        ("root", "unsuppress", str(JANE), "ok"),
    ]


async def test_the_list_is_counted_by_reason(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await take_in(spool, "m-1", bounce(spool.clock.now()))
        await take_in(spool, "m-2", bounce(spool.clock.now(), str(JOHN)))
        await spool.store.record.suppress(manual(spool), actor="root")
        counts = {
            SuppressionReason.BOUNCE: 1,
            SuppressionReason.COMPLAINT: 0,
            SuppressionReason.MANUAL: 1,
        }
        assert spool.store.suppressions.counts() == counts
    async with opened(tmp_path) as spool:
        assert spool.store.suppressions.counts() == counts
        now = spool.clock.now()
        await spool.store.record.unsuppress(str(JOHN), actor="root", reason="x", now=now)
        assert sum(spool.store.suppressions.counts().values()) == 1


async def test_two_addresses_with_one_digest_are_two_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can bring this about, but it must harm nobody: the database decides."""
    monkeypatch.setattr(Digests, "_digest", lambda *_: 7)
    async with opened(tmp_path) as spool:
        record, listed = spool.store.record, spool.store.suppressions
        for _ in range(2):  # the second time it only replaces
            await record.suppress(manual(spool), actor="op")
        await take_in(spool, "m-1", bounce(spool.clock.now(), str(JOHN)))
        assert listed.may_hold(JOE)
        assert await listed.find(JOE) is None
    async with opened(tmp_path) as spool:
        record, listed = spool.store.record, spool.store.suppressions
        for address, is_left in ((JANE, True), (JANE, True), (JOHN, False)):
            now = spool.clock.now()
            await record.unsuppress(str(address), actor="op", reason="ok", now=now)
            assert await listed.find(address) is None
            assert listed.may_hold(JOHN) is is_left
        assert set(listed.counts().values()) == {0}


async def test_an_entry_that_cannot_be_read_is_no_word_that_mail_may_go(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.store.record.suppress(manual(spool), actor="op")
        await spool.record_writer.run(
            lambda connection: connection.execute("UPDATE suppression SET reason = 'bouncy'")
        )
    async with opened(tmp_path) as spool:
        assert spool.store.suppressions.may_hold(JANE)
        assert set(spool.store.suppressions.counts()) == set(SuppressionReason)
        with pytest.raises(SpoolError, match=r"why jane@example\.net is suppressed cannot be read"):
            await spool.store.suppressions.find(JANE)
    with pytest.raises(SpoolError, match=r"record\.db is closed"):
        await spool.store.suppressions.find(JANE)


async def test_a_long_list_is_loaded_page_by_page_also_what_is_not_utf_8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [Address(f"user{n}", "example.net") for n in range(7)]
    async with opened(tmp_path) as spool:
        for address in people:
            await spool.store.record.suppress(manual(spool, str(address)), actor="op")
        await spool.record_writer.run(
            lambda connection: connection.execute(
                "UPDATE suppression SET address = CAST(x'75ff80ff' AS TEXT) WHERE address = ?",
                (str(people[3]),),
            )
        )
    monkeypatch.setattr("relay.store.suppressing._LOADED_AT_ONCE", 2)
    async with opened(tmp_path) as spool:
        held = [spool.store.suppressions.may_hold(address) for address in people]
        assert held == [n != 3 for n in range(7)]
        assert spool.store.suppressions.counts()[SuppressionReason.MANUAL] == 7


async def test_removing_what_is_not_there_is_false(spool: Opened) -> None:
    now = spool.clock.now()
    assert not await spool.store.record.unsuppress(str(JANE), actor="op", reason="x", now=now)


async def test_the_list_is_read_page_by_page(spool: Opened) -> None:
    entries = [manual(spool, f"user{n}@example.net") for n in range(5)]
    for entry in reversed(entries):
        await spool.store.record.suppress(entry, actor="op")
    list_suppressed = spool.store.record.list_suppressed
    assert list(await list_suppressed("", 2)) == entries[:2]
    assert list(await list_suppressed(entries[1].address, 10)) == entries[2:]
    assert list(await list_suppressed(entries[4].address, 10)) == []


# --- the ledger -----------------------------------------------------------------------------------


@pytest.mark.P4
async def test_a_trace_tells_the_whole_story_by_every_name_of_the_mail(spool: Opened) -> None:
    mail = await spool.accept()
    await spool.settle(await spool.claim_one(), spool.deferred(HOUR))
    spool.clock.advance(HOUR)
    await spool.settle(await spool.claim_one(), relayed("0100-abc"))
    spool.clock.advance(HOUR)
    await take_in(spool, "m-1", delivery(spool.clock.now()))
    for key in (mail.queue_id, "0100-abc", str(JANE), "JANE@example.net"):
        lines = await spool.store.record.trace(key, 10)
        assert [line.fact for line in lines] == ["accepted", "deferred", "relayed", "delivered"]
        assert lines[0].at == mail.arrived_at
        assert {line.queue_id for line in lines} == {mail.queue_id}
        assert {line.sender for line in lines} == {mail.sender}
        assert {line.recipient for line in lines} == {str(JANE)}
        assert [line.at for line in lines] == sorted(line.at for line in lines)
        assert lines[1].detail == "451 4.4.5 SES Throttling: slow down"
        assert lines[2].ses_message_id == lines[3].ses_message_id == "0100-abc"


@pytest.mark.P4
async def test_it_does_not_matter_whether_an_event_comes_before_the_outcome(
    spool: Opened,
) -> None:
    mail = await spool.accept()
    claim = await spool.claim_one()
    await take_in(spool, "m-1", delivery(spool.clock.now()))
    await spool.settle(claim, relayed("0100-abc"))
    lines = await spool.store.record.trace(mail.queue_id, 10)
    assert [(line.fact, line.queue_id) for line in lines] == [
        ("accepted", mail.queue_id),
        ("relayed", mail.queue_id),
        ("delivered", mail.queue_id),
    ]


async def test_every_outcome_has_its_word(spool: Opened) -> None:
    recipients = (JANE, JOHN)
    for settled in (relayed(), spool.deferred(), spool.held(), spool.ambiguous(), failed()):
        mail = await spool.accept(*recipients)
        claim = next(c for c in await spool.claim(5) if c.mail == mail)
        await spool.settle(claim, settled, settled)
    facts = await spool.facts_of(str(JOHN))
    assert sorted(facts) == ["ambiguous", "deferred", "deferred", "failed", "relayed"]


async def test_a_mail_is_accepted_once_for_each_recipient(spool: Opened) -> None:
    mail = await spool.accept(JANE, JOHN)
    for _ in range(2):
        await spool.settle(await spool.claim_one(), spool.deferred(HOUR), spool.deferred(HOUR))
        spool.clock.advance(HOUR)
    lines = await spool.store.record.trace(mail.queue_id, 10)
    accepted = [line for line in lines if line.fact == "accepted"]
    assert lines[:2] == accepted
    assert [line.recipient for line in accepted] == [str(JANE), str(JOHN)]
    lines = await spool.store.record.trace(str(JOHN), 10)
    assert [line.fact for line in lines] == ["accepted", "deferred", "deferred"]


async def test_an_event_of_mail_that_is_not_ours_is_no_line_of_the_ledger(spool: Opened) -> None:
    at = spool.clock.now()
    await take_in(spool, "m-1", delivery(at, "0100-other", node="node-2"))
    await take_in(spool, "m-2", delivery(at, "0100-ours"))
    assert await spool.facts_of("0100-other") == []
    assert await spool.facts_of("0100-ours") == ["delivered"]
    assert await spool.facts_of(str(JANE)) == ["delivered"]


async def test_an_event_that_names_nobody_is_kept(spool: Opened) -> None:
    event = FeedbackEvent(FeedbackKind.REJECT, "0100-abc", spool.clock.now(), (), node="node-1")
    assert await take_in(spool, "m-1", event) == []
    (line,) = await spool.store.record.trace("0100-abc", 10)
    assert (line.fact, line.recipient) == ("rejected", "")


async def test_an_event_finds_its_mail_by_our_tag_when_no_answer_told_its_message_id(
    spool: Opened,
) -> None:
    """An attempt without an answer: only the event knows the message id."""
    mail = await spool.accept()
    await spool.settle(await spool.claim_one(), spool.ambiguous())
    event = FeedbackEvent(
        FeedbackKind.SEND,
        "0100-xyz",
        spool.clock.now(),
        (FeedbackRecipient(str(JANE)),),
        queue_id=mail.queue_id,
        node="node-1",
    )
    await take_in(spool, "m-1", event)
    assert await spool.facts_of(mail.queue_id) == ["ambiguous", "sent"]


async def test_a_trace_is_cut_to_its_newest_lines(spool: Opened) -> None:
    for n in range(5):
        await take_in(spool, f"m-{n}", delivery(spool.clock.now() + n * HOUR))
    lines = await spool.store.record.trace("0100-abc", 2)
    assert [line.at for line in lines] == [spool.clock.now() + n * HOUR for n in (3, 4)]
    assert await spool.store.record.trace("nothing", 2) == []


# --- by Message-ID --------------------------------------------------------------------------------

MESSAGE_ID = "20260301.1@erp.example.com"
DAY = timedelta(days=1)


async def send(spool: Opened, message_id: str) -> Mail:
    mail = await spool.accept(JANE, JOHN, message_id=message_id)
    await spool.settle(await spool.claim_one(), relayed(), relayed())
    return mail


async def test_a_message_id_finds_every_mail_that_has_it_whenever_it_came(spool: Opened) -> None:
    mails = []
    for wait in (0 * DAY, DAY, HOUR, 40 * DAY):
        spool.clock.advance(wait)
        mails.append(await send(spool, MESSAGE_ID))
        for name in ("", "other@erp.example.com", MESSAGE_ID.upper()):
            await send(spool, name)
    lines = await spool.store.record.trace_message(MESSAGE_ID, 100)
    assert list(dict.fromkeys(line.queue_id for line in lines)) == [m.queue_id for m in mails]
    assert [line.fact for line in lines][:4] == ["accepted", "accepted", "relayed", "relayed"]
    assert [line.at for line in lines] == sorted(line.at for line in lines)
    # Of too many, the newest.
    (line,) = await spool.store.record.trace_message(MESSAGE_ID, 1)
    assert line.queue_id == mails[-1].queue_id
    assert await spool.store.record.trace_message("nothing@erp.example.com", 100) == []


async def test_an_empty_ledger_knows_no_message_id(spool: Opened) -> None:
    assert await spool.store.record.trace_message(MESSAGE_ID, 100) == []


async def test_a_message_id_is_kept_over_attempts_and_a_crash(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        mail = await spool.accept(message_id=MESSAGE_ID)
        await spool.settle(await spool.claim_one(), spool.deferred(HOUR))
        spool.clock.advance(HOUR)
        await spool.claim_one()
    async with opened(tmp_path, spool.clock) as spool:
        assert (await spool.show(mail)).mail == mail
        lines = await spool.store.record.trace_message(MESSAGE_ID, 100)
        assert [line.fact for line in lines] == ["accepted", "deferred", "ambiguous"]


@pytest.mark.P6
async def test_each_day_with_mail_is_one_question_for_a_message_id_and_no_other_day_is(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However far apart: a host may begin in 1970, until it is told the time."""
    mails = []
    for wait in (0 * DAY, DAY, DAY, 27 * DAY, -56 * 365 * DAY):
        spool.clock.step(wait)
        mails.append(await send(spool, MESSAGE_ID))
    days: list[int | None] = []
    mails_with = ledger.mails_with

    def watched(
        connection: Connection, message_id: str, before: int, *, limit: int
    ) -> tuple[list[str], int | None]:
        found, since = mails_with(connection, message_id, before, limit=limit)
        days.append(None if since is None else since // (24 * 60))
        return found, since

    monkeypatch.setattr(ledger, "mails_with", watched)
    lines = await spool.store.record.trace_message(MESSAGE_ID, 100)
    assert {line.queue_id for line in lines} == {mail.queue_id for mail in mails}
    newest = days[0]
    assert newest is not None
    assert days == [newest, newest - 27, newest - 28, newest - 29, newest - 56 * 365, None]


# --- the audit ------------------------------------------------------------------------------------


async def test_what_operators_do_to_mail_is_written_down(spool: Opened) -> None:
    now = spool.clock.now()
    await spool.store.record.audit("root", "drop", "sender billing", "by root: junk", now=now)
    rows = await spool.record_writer.run(
        lambda connection: connection.execute(
            "SELECT at, actor, action, subject, detail FROM audit"
        ).fetchall()
    )
    at = int(now.timestamp() * 1000)
    assert rows == [(at, "root", "drop", "sender billing", "by root: junk")]
