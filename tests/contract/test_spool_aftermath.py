"""What happens after mail has left, as relay.aftermath promises it, kept by the store."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from relay.mail.address import Address
from relay.mail.entry import State
from relay.mail.envelope import SenderName
from relay.mail.feedback import (
    FeedbackEvent,
    FeedbackKind,
    FeedbackRecipient,
    SoftBounces,
    Suppression,
    SuppressionReason,
)
from relay.policy.reputation import Reception
from relay.policy.standing import standing
from relay.policy.suppression import CAUTIOUS, Practice, suppressions
from relay.store import schema
from tests.builders import a_sender
from tests.unit.store.stores import (
    BILLING,
    JANE,
    JOE,
    JOHN,
    LARGE,
    Opened,
    failed,
    opened,
    relayed,
)

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SOFT = SoftBounces(3, 7 * DAY, 14 * DAY)


@pytest.fixture(name="spool")
async def _spool(tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(tmp_path, wants_callbacks=lambda sender: sender == BILLING) as spool:
        yield spool


def an_event(
    spool: Opened, kind: FeedbackKind = FeedbackKind.BOUNCE, detail: str = "", **words: str
) -> FeedbackEvent:
    fields = {
        "queue_id": "06H04YCY58GVCD1MB7KG",
        "node": "node-1",
        "sender": "billing",
        "feedback_id": "",
    } | words
    recipient = FeedbackRecipient(fields.pop("recipient", str(JANE)))
    message = fields.pop("ses_message_id", "0100-abc")
    return FeedbackEvent(kind, message, spool.clock.now(), (recipient,), detail, **fields)


class Reporter:
    """Takes in events, each as a message of its own."""

    def __init__(self, spool: Opened, practice: Practice = CAUTIOUS) -> None:
        self._spool = spool
        self._practice = practice
        self._number = 0

    async def __call__(self, event: FeedbackEvent) -> list[Suppression]:
        self._number += 1
        caused = await self._spool.store.record.take_in(
            f"m-{self._number}",
            b"{}",
            event,
            list(suppressions(event, self._practice)),
            self._practice.soft_bounces,
        )
        assert caused is not None
        return list(caused)


@pytest.fixture(name="report")
def _report(spool: Opened) -> Reporter:
    return Reporter(spool, Practice(soft_bounces=SOFT))


async def found(spool: Opened, address: Address = JANE) -> Suppression | None:
    return await spool.store.suppressions.find(address, a_sender())


# --- soft bounces ---------------------------------------------------------------------------------


def soft(spool: Opened, name: str, detail: str = "Transient/MailboxFull") -> FeedbackEvent:
    return an_event(spool, detail=detail, feedback_id=name)


async def test_soft_bounces_suppress_for_a_while_once_there_are_enough(
    spool: Opened, report: Reporter
) -> None:
    for name in ("f-1", "f-2"):
        assert await report(soft(spool, name)) == []
        spool.clock.advance(DAY)
    (caused,) = await report(soft(spool, "f-3"))
    entry = await found(spool)
    assert entry is not None
    assert entry.until == caused.since + SOFT.expiry
    assert entry.detail == "3 soft bounces within 7 days, the last MailboxFull"
    spool.clock.advance(SOFT.expiry)
    assert await found(spool) is None
    assert await spool.store.record.let_expire(spool.clock.now()) == 1
    assert not spool.store.suppressions.may_hold(JANE)


async def test_soft_bounces_that_are_far_apart_never_add_up(
    spool: Opened, report: Reporter
) -> None:
    for n in range(6):
        assert await report(soft(spool, f"f-{n}")) == []
        spool.clock.advance(4 * DAY)


@pytest.mark.parametrize("detail", ["Undetermined/Undetermined", "Brand/New", "/"])
async def test_what_is_undetermined_never_counts(
    spool: Opened, report: Reporter, detail: str
) -> None:
    for n in range(5):
        assert await report(soft(spool, f"f-{n}", detail)) == []


async def test_the_same_bounce_in_both_formats_counts_once(spool: Opened, report: Reporter) -> None:
    """Identity notifications and event publishing may both be on."""
    for name in ("f-1", "f-2"):
        event = soft(spool, name)
        await report(event)
        assert await report(replace(event, queue_id="", node="", sender="")) == []
    assert await found(spool) is None
    assert await spool.facts_of(str(JANE)) == ["bounced", "bounced"]
    assert await receptions(spool) == {}


async def test_what_bounced_before_an_operator_removed_it_is_forgiven(
    spool: Opened, report: Reporter
) -> None:
    for name in ("f-1", "f-2", "f-3"):
        await report(soft(spool, name))
    await spool.store.record.unsuppress(str(JANE), actor="op", reason="x", now=spool.clock.now())
    spool.clock.advance(HOUR)
    for name in ("f-4", "f-5"):
        assert await report(soft(spool, name)) == []
    assert await report(soft(spool, "f-6"))


async def test_a_hard_bounce_outlasts_the_soft_ones_in_any_order(
    spool: Opened, report: Reporter
) -> None:
    hard = an_event(spool, detail="Permanent/NoEmail", feedback_id="f-hard")
    softs = [soft(spool, f"f-{n}") for n in range(3)]
    for events in ([*softs, hard], [hard, *softs]):
        for n, event in enumerate(events):
            address = f"{events.index(hard)}@example.net"
            recipients = (FeedbackRecipient(address),)
            await report(replace(event, recipients=recipients, ses_message_id=f"{address}-{n}"))
        entry = await found(spool, Address.parse(address))
        assert entry is not None
        assert (entry.until, entry.event_id) == (None, "f-hard")


async def test_hard_bounces_may_expire_and_what_comes_later_prolongs_them(spool: Opened) -> None:
    report = Reporter(spool, Practice(bounce_expiry=90 * DAY))
    await report(an_event(spool, detail="Permanent/General", feedback_id="f-1"))
    spool.clock.advance(30 * DAY)
    await report(an_event(spool, detail="Permanent/General", feedback_id="f-2"))
    entry = await found(spool)
    assert entry is not None
    assert entry.until == spool.clock.now() + 90 * DAY
    assert (entry.last_seen, entry.since) == (spool.clock.now(), spool.clock.now() - 30 * DAY)


# --- scopes ---------------------------------------------------------------------------------------


async def test_an_entry_binds_whom_its_scope_names(spool: Opened) -> None:
    news, main = a_sender("news", account="eu"), a_sender("billing", account="main")
    suppress, now = spool.store.record.suppress, spool.clock.now()
    listed = Suppression(str(JANE), SuppressionReason.MANUAL, "asked", now, scope="sender:news")
    await suppress(listed, actor="op")
    await suppress(replace(listed, address=str(JOHN), scope="account:main"), actor="op")
    find = spool.store.suppressions.find
    assert [await find(JANE, news) is None, await find(JANE, main) is None] == [False, True]
    assert [await find(JOHN, news) is None, await find(JOHN, main) is None] == [True, False]
    unsuppress = spool.store.record.unsuppress
    for scope, is_there in (("sender:other", False), ("sender:news", True)):
        words = {"actor": "op", "reason": "x", "scope": scope}
        assert await unsuppress(str(JANE), now=now, **words) is is_there
    assert not spool.store.suppressions.may_hold(JANE)


async def test_one_address_is_listed_in_several_scopes_and_leaves_with_the_last(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as spool:
        now = spool.clock.now()
        for scope in ("", "sender:news", "account:main"):
            entry = Suppression(str(JANE), SuppressionReason.MANUAL, "x", now, scope=scope)
            await spool.store.record.suppress(entry, actor="op")
    async with opened(tmp_path) as spool:
        assert spool.store.suppressions.counts()[SuppressionReason.MANUAL] == 3
        assert len(await spool.store.record.entries_of(JANE)) == 3
        page = await spool.store.record.list_suppressed("", 2)
        rest = await spool.store.record.list_suppressed(page[-1].address, 2, page[-1].scope)
        assert [one.scope for one in (*page, *rest)] == ["", "account:main", "sender:news"]
        for scope in ("", "account:main"):
            await spool.store.record.unsuppress(
                str(JANE), actor="op", reason="x", now=now, scope=scope
            )
            assert spool.store.suppressions.may_hold(JANE)
        await spool.store.record.unsuppress(str(JANE), actor="op", reason="x", now=now)
        assert not spool.store.suppressions.may_hold(JANE)


# --- reputation -----------------------------------------------------------------------------------


async def receptions(spool: Opened) -> dict[SenderName, Reception]:
    await spool.store.record.trace("x@example.net", 1)  # the ledger is brought up to date
    now = spool.clock.now()
    return dict(await spool.store.reputation.reception(now - DAY, now))


async def test_reputation_counts_each_recipient_once_and_our_mail_alone(
    spool: Opened, report: Reporter
) -> None:
    await spool.accept(JANE, JOHN, JOE)
    await spool.settle(await spool.claim_one(), relayed(), relayed(), relayed())
    delivery = an_event(spool, FeedbackKind.DELIVERY, recipient=str(JOHN))
    await report(delivery)
    await report(delivery)
    await report(an_event(spool, detail="Permanent/General", feedback_id="f-1"))
    await report(an_event(spool, FeedbackKind.COMPLAINT, "abuse", feedback_id="f-2"))
    await report(an_event(spool, FeedbackKind.COMPLAINT, "not-spam", feedback_id="f-3"))
    on_list = "Permanent/OnAccountSuppressionList"
    await report(an_event(spool, detail=on_list, feedback_id="f-4"))
    foreign = an_event(spool, detail="Permanent/General", feedback_id="f-5", node="node-2")
    await report(replace(foreign, ses_message_id="0100-other"))
    assert await receptions(spool) == {BILLING: Reception(3, 1, 1, 1)}
    spool.clock.advance(DAY + HOUR)
    assert await receptions(spool) == {}


async def test_feedback_without_tags_is_of_whoever_the_ledger_says(
    spool: Opened, report: Reporter
) -> None:
    await spool.accept()
    await spool.settle(await spool.claim_one(), relayed("0100-abc"))
    await receptions(spool)
    bounce = an_event(spool, detail="Permanent/General", feedback_id="f-1")
    await report(replace(bounce, queue_id="", node="", sender=""))
    assert (await receptions(spool))[BILLING].bounced == 1
    assert await spool.store.callbacks.waiting() == {"pending": 1, "dead": 0}


# --- what applications are told -------------------------------------------------------------------


async def test_what_is_given_up_is_told_with_the_outcome_and_once(tmp_path: Path) -> None:
    mail_id = "<1@erp.example.com>"
    async with opened(tmp_path, wants_callbacks=lambda sender: sender == BILLING) as spool:
        mail = await spool.accept(JANE, JOHN, message_id=mail_id)
        await spool.settle(await spool.claim_one(), failed(), relayed())
        await spool.accept(JANE, sender=SenderName("silent"))
        (claim,) = await spool.claim(sender=SenderName("silent"))
        await spool.settle(claim, failed())
        await receptions(spool)
        (told,) = await spool.store.callbacks.due(BILLING, spool.clock.now(), 10, but=())
        assert (told.kind, told.attempts) == ("failed", 0)
        assert str(JANE).encode() in told.body
        assert mail.queue_id.encode() in told.body
        assert mail_id.encode() in told.body
        assert b"MessageRejected" in told.body
        # A crash between copy and delete repeats the copy.
        assert await spool.store.callbacks.due(BILLING, spool.clock.now(), 10, but=[told.id]) == []


@pytest.mark.parametrize(
    ("kind", "detail", "told"),
    [
        (FeedbackKind.DELIVERY, "", "delivered"),
        (FeedbackKind.BOUNCE, "Transient/General", "bounced"),
        (FeedbackKind.COMPLAINT, "abuse", "complained"),
        (FeedbackKind.DELIVERY_DELAY, "MailboxFull", "delayed"),
        (FeedbackKind.SEND, "", None),
        (FeedbackKind.OPEN, "", None),
    ],
)
async def test_what_ses_reports_is_told_to_whose_mail_it_was(
    spool: Opened, report: Reporter, kind: FeedbackKind, detail: str, told: str | None
) -> None:
    event = an_event(spool, kind, detail)
    await report(event)
    await report(event)
    await report(replace(event, ses_message_id="0100-xyz", sender="silent"))
    await report(replace(event, ses_message_id="0100-uvw", node="node-2"))
    due = await spool.store.callbacks.due(BILLING, spool.clock.now(), 10, but=())
    assert [one.kind for one in due] == ([] if told is None else [told])


# --- mail in doubt --------------------------------------------------------------------------------


@pytest.mark.P3
async def test_what_ses_reports_of_mail_in_doubt_lets_it_go(spool: Opened) -> None:
    mail = await spool.accept(JANE, JOHN, content=LARGE)
    await spool.settle(await spool.claim_one(), spool.ambiguous(), spool.ambiguous())
    settle = spool.store.queue.settle_reported
    now = spool.clock.now()
    assert await settle(mail.queue_id, {"other@example.net": "0100-abc"}, now=now) == 0
    assert await settle(mail.queue_id, {str(JANE): "0100-abc"}, now=now) == 1
    (left,) = (await spool.show(mail)).recipients
    assert (left.address, left.state) == (JOHN, State.AMBIGUOUS)
    content = spool.path / "content" / mail.queue_id
    assert content.exists()
    assert await settle(mail.queue_id, {str(JOHN): "0100-abc"}, now=now) == 1
    assert await spool.store.queue.show(mail.queue_id) is None
    await spool.store.close()
    assert not content.exists()


@pytest.mark.P3
async def test_a_report_leaves_to_its_attempt_what_is_in_flight(spool: Opened) -> None:
    mail = await spool.accept()
    claim = await spool.claim_one()
    taken = {str(JANE): "0100-abc"}
    now = spool.clock.now()
    assert await spool.store.queue.settle_reported(mail.queue_id, taken, now=now) == 0
    await spool.settle(claim, spool.ambiguous())
    assert (await spool.show(mail)).state is State.AMBIGUOUS
    assert await spool.store.queue.settle_reported(mail.queue_id, taken, now=now) == 1


async def test_it_is_remembered_to_whom_ses_says_it_has_taken_a_mail(
    spool: Opened, report: Reporter
) -> None:
    mail = await spool.accept(JANE, JOHN)
    await report(an_event(spool, FeedbackKind.SEND, queue_id=mail.queue_id))
    foreign = an_event(spool, FeedbackKind.SEND, queue_id=mail.queue_id, node="node-2")
    await report(replace(foreign, recipients=(FeedbackRecipient(str(JOHN)),)))
    await report(an_event(spool, FeedbackKind.OPEN, queue_id=mail.queue_id, recipient=str(JOHN)))
    assert await spool.store.record.reported(mail.queue_id) == {str(JANE): "0100-abc"}


@pytest.mark.P4
@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        (["accepted"], "accepted"),
        (["accepted", "deferred"], "deferred"),
        (["accepted", "relayed"], "sent"),
        (["accepted", "ambiguous", "sent"], "sent"),
        (["delivered", "sent", "relayed"], "delivered"),
        (["delayed", "relayed"], "delayed"),
        (["delivered", "delayed"], "delivered"),
        (["bounced", "delivered"], "bounced"),
        (["complained", "bounced", "delivered"], "complained"),
        (["opened", "delivered"], "delivered"),
        (["accepted", "failed"], "failed"),
        ([], "unknown"),
    ],
)
def test_what_is_shown_outweighs_what_was_reported_before_it(facts: list[str], shown: str) -> None:
    assert standing(facts) == shown
    if set(facts) & {"relayed", "sent"}:
        assert standing(list(reversed(facts))) == shown


# --- the way from the last release ----------------------------------------------------------------


async def test_a_list_of_the_last_release_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "record.db"
    with closing(schema.connect(path)) as connection:
        schema.migrate(connection, schema.RECORD[:3])
        connection.execute(
            "INSERT INTO suppression VALUES ('jane@example.net', 'bounce', 'hard bounce', 7000, 'f')"
        )
        connection.execute(
            "INSERT INTO event (ses_message_id, recipient, kind, at, detail, feedback_id, source, "
            "queue_id, node, delivery_id) VALUES ('0100-abc', 'jane@example.net', 'bounce', 7000, "
            "'Permanent/General', 'f', '', '', 'node-1', 'm-1')"
        )
    async with opened(tmp_path) as spool:
        entry = await found(spool)
        assert entry is not None
        assert (entry.scope, entry.until, entry.event_id) == ("", None, "f")
        assert entry.since == entry.last_seen
        assert await spool.facts_of(str(JANE)) == ["bounced"]
        assert spool.store.suppressions.counts()[SuppressionReason.BOUNCE] == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(schema.RECORD),)
