"""Every fact there is, told once or in each way it can be told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from relay.facts import Facts
from relay.mail.entry import Settled
from relay.mail.envelope import AccountName, SenderName
from relay.mail.feedback import (
    FeedbackEvent,
    FeedbackKind,
    FeedbackRecipient,
    Suppression,
    SuppressionReason,
)
from relay.mail.outcome import Ambiguous, Blame, Deferred, Failed, Outcome, Relayed
from relay.mail.reply import Refusal, Reply
from relay.operators import Order, Result, Selection, Verb
from relay.passing import Passed
from relay.policy.day import Hold
from relay.policy.passing import Ending
from relay.policy.sender import Accept
from relay.ports import SendQuota
from tests.builders import a_mail, an_address

MAIN: Final = AccountName("main")
BILLING: Final = SenderName("billing")
NOW: Final = datetime(2026, 3, 1, 12, 0, 2, tzinfo=UTC)
_REPLY: Final = Reply(451, "4.4.1", "SES: jane@example.net is not known")
_LATE: Final = Failed(Reply(554, "5.4.7", "late"), "expired", Blame.SERVICE)


def every_fact(facts: Facts) -> None:
    """Tell all of them."""
    _of_sessions(facts)
    _of_mail(facts)
    _of_the_spool(facts)
    _of_accounts(facts)
    _of_feedback(facts)
    facts.session_closed("s1", "legacy")


def _of_sessions(facts: Facts) -> None:
    facts.session_opened("s1", "legacy", "192.0.2.7")
    facts.authenticated("s1", "plain", BILLING)
    facts.encrypted("s1", "legacy", "1.0")
    facts.encrypted("s1", "legacy", "1.3")
    facts.authenticated("s1", "plain", BILLING)
    facts.auth_failed("s1", "login", "credentials")
    facts.certificate_unknown("s1", ["host.example.com"])
    facts.line_endings_mended("s1", "legacy", BILLING)
    facts.hung_up("s1", Reply(421, "4.7.0", "Bye"))
    facts.connection_refused("legacy", "192.0.2.8", "limit")


def _of_mail(facts: Facts) -> None:
    mail, jane = a_mail(), an_address()
    facts.accepted("s1", "legacy", mail, 0.1)
    facts.refused("s1", "rcpt", Refusal(_REPLY, "suppressed"), BILLING, jane)
    facts.dropped(mail.queue_id, BILLING, jane)
    for ending in Ending:
        facts.passed("s1", "legacy", Accept.RELAYED, Passed(ending, mail), str(_REPLY), 0.2)
    outcomes: list[Outcome] = [
        Relayed("0102-ok"),
        Deferred(_REPLY, "connection", Blame.SERVICE),
        Deferred(_REPLY, "credentials", Blame.OPERATOR),
        Failed(Reply(554, "5.6.0", "no"), "rejected", Blame.MESSAGE),
        Ambiguous(_REPLY, "timeout"),
        _LATE,
    ]
    for outcome in outcomes:
        facts.attempted(MAIN, mail, [jane], outcome, 0.1)
        facts.settled(MAIN, mail, jane, Settled(outcome, NOW), NOW)
    facts.expired(None, mail, jane, _LATE)
    facts.held(mail, "sender-removed")
    facts.purged(mail)
    facts.damaged(mail, "its checksum is wrong")
    for verb in Verb:
        order = Order(verb=verb, selection=Selection(recipient="jane@example.net"), actor="root")
        facts.ordered(order, {Result.CHANGED: 2}, is_whole=True)
    facts.held_long(3, timedelta(days=14))
    facts.swept(NOW, timedelta(0), 3)
    facts.fault("smtp.command", ValueError("jane@example.net"), "s1")


def _of_the_spool(facts: Facts) -> None:
    facts.spool_recovered(1, 0, 0, 0)
    facts.spool_committed(7, 0.001)
    facts.spool_failed(OSError("disk"))
    for database in ("spool.db", "record.db"):
        facts.database_turned(database, is_well=False, complaint="I/O error")
        facts.database_turned(database, is_well=True, complaint="")
    facts.suppressions_recalled(is_whole=True)
    facts.suppressions_recalled(is_whole=False)
    facts.clock_stepped(timedelta(hours=1), timedelta(hours=1))
    facts.clock_settled()


def _of_accounts(facts: Facts) -> None:
    facts.breaker(MAIN, opened=True, reason="connection")
    facts.breaker(MAIN, opened=False, reason="")
    facts.clock_skewed(MAIN, timedelta(hours=1))
    facts.slowed(MAIN, 11, 14)
    for hold in Hold:
        facts.daily_quota(MAIN, hold, 17)
    facts.quota_read(MAIN, SendQuota(14, float("inf"), 3), "")
    facts.quota_read(MAIN, None, "AccessDenied")


def _of_feedback(facts: Facts) -> None:
    jane = FeedbackRecipient("jane@example.net", "5.1.1", "smtp; 550 <jane@example.net> unknown")
    for kind in FeedbackKind:
        event = FeedbackEvent(kind, "m1", NOW, (jane,), kind_detail="Permanent/General")
        facts.feedback(event, duplicate=False)
    facts.feedback_not_understood("arn:aws:sns:eu-west-1:1:x", "m2")
    facts.feedback_refused("signature", "from jane@example.net")
    facts.suppressed(
        Suppression("jane@example.net", SuppressionReason.MANUAL, "asked", NOW), actor="root"
    )
    facts.unsuppressed("jane@example.net", actor="root", reason="back")
    facts.callback_told(BILLING, "mail.bounced", "msg_1")
    for due_at in (NOW, None):
        facts.callback_failed(BILLING, "mail.bounced", "msg_1", "refused", due_at)
