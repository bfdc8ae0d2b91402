"""Each fact is one line with its names, and its counts; nothing else gets a label."""

from __future__ import annotations

import inspect
import json
import logging
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from relay.facts import Facts
from relay.mail.entry import Settled, State
from relay.mail.envelope import AccountName, QueueId, SenderName
from relay.mail.feedback import (
    FeedbackEvent,
    FeedbackKind,
    FeedbackRecipient,
    Suppression,
    SuppressionReason,
)
from relay.mail.outcome import Ambiguous, Blame, Deferred, Failed, Relayed
from relay.mail.reply import Refusal, Reply
from relay.observe.logs import LogFormat, make_logger
from relay.observe.maillog import MailLog
from relay.observe.metrics import Metrics
from relay.operators import Order, Result, Selection, Verb
from relay.passing import Passed
from relay.policy.day import Hold
from relay.policy.passing import Ending
from relay.policy.sender import Accept
from relay.ports import SendQuota
from tests.builders import ARRIVED, a_mail, an_address

MAIN = AccountName("main")
NOW = ARRIVED + timedelta(seconds=2)


class Memory:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.octets = b""

    def write(self, line: bytes) -> None:
        self.octets += line


class Log:
    """A mail log that writes JSON into memory."""

    def __init__(self, level: str = "debug") -> None:
        self.sink = Memory()
        self.metrics = Metrics()
        self.metrics.know_accounts([MAIN])
        self.metrics.know_listeners(["legacy"])
        self.metrics.know_tls(["legacy"])
        self.facts: Facts = MailLog(make_logger(level, LogFormat.JSON, self.sink), self.metrics)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.sink.octets.splitlines()]

    def value(self, sample: str) -> float:
        """Return the value of one sample, written as it is exposed."""
        text = self.metrics.exposition().decode()
        match = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
        assert match, f"{sample} is not exposed"
        return float(match[1])

    def children(self) -> set[str]:
        text = self.metrics.exposition().decode()
        return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}


@pytest.fixture
def log() -> Log:
    return Log()


def test_the_mail_log_tells_every_fact_of_the_port() -> None:
    facts = [name for name in vars(Facts) if not name.startswith("_")]
    assert len(facts) > 20
    for name in facts:
        port, adapter = getattr(Facts, name), getattr(MailLog, name)
        assert inspect.signature(adapter) == inspect.signature(port), name


def test_an_accepted_mail_is_one_line_and_counted(log: Log) -> None:
    mail = a_mail("jane@example.net", "joe@example.net", size=1234)
    log.facts.accepted("s1", "legacy", mail, 0.00123)
    (line,) = log.lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "mail.queued",
        "level": "info",
        "queue_id": mail.queue_id,
        "session_id": "s1",
        "listener": "legacy",
        "sender": "billing",
        "reverse_path": "billing@example.com",
        "recipients": ["jane@example.net", "joe@example.net"],
        "size": 1234,
        "commit_seconds": 0.0012,
    }
    assert log.value('relay_messages_accepted_total{listener="legacy"}') == 1
    assert log.value('relay_recipients_accepted_total{listener="legacy"}') == 2
    assert log.value("relay_message_size_bytes_count") == 1


REPLY = Reply(451, "4.4.1", "SES: connection refused")


@pytest.mark.P4
@pytest.mark.parametrize(
    ("outcome", "event", "sample"),
    [
        (Relayed("0102-ok"), "mail.relayed", 'relay_recipients_relayed_total{account="main"}'),
        (Deferred(REPLY, "connection", Blame.SERVICE), "mail.deferred", 'relay_recipients_deferred_total{account="main",reason="connection"}'),
        (Failed(Reply(554, "5.6.0", "no"), "rejected", Blame.MESSAGE), "mail.failed", 'relay_recipients_failed_total{account="main",reason="rejected"}'),
        (Failed(Reply(554, "5.4.7", "late"), "expired", Blame.SERVICE), "mail.expired", 'relay_recipients_failed_total{account="main",reason="expired"}'),
        (Ambiguous(REPLY, "timeout"), "mail.deferred", 'relay_recipients_deferred_total{account="main",reason="timeout"}'),
    ],
)  # fmt: skip
def test_each_outcome_has_its_own_word(
    log: Log, outcome: Relayed | Deferred | Failed | Ambiguous, event: str, sample: str
) -> None:
    log.facts.settled(MAIN, a_mail(), an_address(), Settled(outcome, None), NOW)
    (line,) = log.lines()
    assert line["event"] == event
    assert line["queue_id"]
    assert line["recipient"] == "jane@example.net"
    assert log.value(sample) == 1
    assert "delivered" not in json.dumps(line)


@pytest.mark.P3
def test_an_ambiguous_call_is_told_in_the_words_operators_grep_for(log: Log) -> None:
    log.facts.attempted(MAIN, a_mail(), [an_address()], Ambiguous(REPLY, "timeout"), 60.0)
    (line,) = log.lines()
    assert line["words"] == "message may be sent more than once"
    assert line["level"] == "warning"
    assert log.value('relay_ses_ambiguous_sends_total{account="main"}') == 1


def test_calls_to_ses_are_timed_and_their_failures_counted(log: Log) -> None:
    log.facts.attempted(MAIN, a_mail(), [an_address()], Relayed("x"), 0.04)
    throttled = Deferred(REPLY, "throttled", Blame.SERVICE)
    log.facts.attempted(MAIN, a_mail(), [an_address()], throttled, 0.04)
    failures = 'relay_ses_request_failures_total{account="main",error="throttled",operation="send"}'
    assert log.value('relay_ses_requests_total{account="main",operation="send"}') == 2
    assert log.value(failures) == 1
    assert log.value('relay_ses_request_duration_seconds_count{account="main"}') == 2


def test_a_refusal_names_its_phase_and_reason(log: Log) -> None:
    refusal = Refusal(Reply(550, "5.1.1", "Suppressed since 2026-01-01"), "suppressed")
    log.facts.refused("s1", "rcpt", refusal, SenderName("billing"), an_address())
    (line,) = log.lines()
    assert (line["phase"], line["reason"]) == ("rcpt", "suppressed")
    assert log.value('relay_smtp_refusals_total{phase="rcpt",reason="suppressed"}') == 1
    assert log.value('relay_suppression_hits_total{action="refused"}') == 1


def test_feedback_is_told_per_recipient_and_a_duplicate_only_counted(log: Log) -> None:
    recipients = (
        FeedbackRecipient("a@x.example", "5.1.1", "550 no"),
        FeedbackRecipient("b@x.example"),
    )
    event = FeedbackEvent(
        FeedbackKind.BOUNCE, "m1", NOW, recipients, kind_detail="Permanent/General", queue_id="Q"
    )
    log.facts.feedback(event, duplicate=False)
    log.facts.feedback(event, duplicate=True)
    assert [line["recipient"] for line in log.lines()] == ["a@x.example", "b@x.example"]
    assert {line["event"] for line in log.lines()} == {"feedback.bounce"}
    assert log.value('relay_feedback_events_total{event="bounce"}') == 1
    assert log.value('relay_feedback_bounces_total{bounce_class="permanent"}') == 2
    assert log.value('relay_feedback_refused_total{reason="duplicate"}') == 1


def test_a_bounce_class_ses_invents_does_not_become_a_label(log: Log) -> None:
    event = FeedbackEvent(
        FeedbackKind.BOUNCE,
        "m1",
        NOW,
        (FeedbackRecipient("a@x.example"),),
        kind_detail="Cosmic/Ray",
    )
    log.facts.feedback(event, duplicate=False)
    assert log.value('relay_feedback_bounces_total{bounce_class="undetermined"}') == 1


def test_the_account_is_told_of(log: Log) -> None:
    log.facts.breaker(MAIN, opened=True, reason="connection")
    assert log.value('relay_ses_breaker_open{account="main"}') == 1
    log.facts.breaker(MAIN, opened=False, reason="")
    assert log.value('relay_ses_breaker_open{account="main"}') == 0
    log.facts.clock_skewed(MAIN, timedelta(minutes=-20))
    assert log.value('relay_ses_clock_skew_seconds{account="main"}') == -1200
    assert log.lines()[-1]["event"] == "account.clock_skewed"
    assert log.lines()[-1]["level"] == "warning"
    log.facts.clock_skewed(MAIN, timedelta(0))
    assert log.value('relay_ses_clock_skew_seconds{account="main"}') == 0
    assert log.lines()[-1]["level"] == "info"
    log.facts.quota_read(MAIN, SendQuota(14, float("inf"), 3), "")
    assert log.value('relay_ses_quota_daily_recipients{account="main"}') == float("inf")
    log.facts.quota_read(MAIN, None, "AccessDenied")
    assert log.lines()[-1]["complaint"] == "AccessDenied"
    log.facts.slowed(MAIN, 11.2, 14)
    assert log.lines()[-1]["event"] == "account.slowed"
    assert log.lines()[-1]["level"] == "warning"


@pytest.mark.parametrize(
    ("hold", "level", "transactional", "bulk"),
    [
        (Hold.NOBODY, "info", 0, 0),
        (Hold.BULK, "warning", 0, 1),
        (Hold.ALL, "warning", 1, 1),
    ],
)
def test_whom_the_daily_quota_holds_is_told(
    log: Log, hold: Hold, level: str, transactional: int, bulk: int
) -> None:
    log.facts.daily_quota(MAIN, hold, 17)
    (line,) = log.lines()
    assert (line["event"], line["level"], line["holds"]) == ("account.daily_quota", level, hold)
    name = 'relay_ses_daily_quota_holds{account="main",priority="%s"}'
    assert log.value(name % "transactional") == transactional
    assert log.value(name % "bulk") == bulk


def test_a_fault_is_told_with_its_traceback(log: Log) -> None:
    try:
        raise ZeroDivisionError("oops")
    except ZeroDivisionError as error:
        log.facts.fault("session", error, "s1")
    (line,) = log.lines()
    assert "ZeroDivisionError: oops" in line["exception"]
    assert "test_a_fault_is_told" in line["exception"]
    assert log.value("relay_internal_faults_total") == 1


def test_no_fact_makes_a_label_that_was_not_born_at_start(log: Log) -> None:
    before = log.children()
    test_facts = log.facts
    test_facts.session_opened("s", "legacy", "192.0.2.1")
    test_facts.session_closed("s", "legacy")
    test_facts.authenticated("s", "plain", SenderName("billing"))
    test_facts.authenticated("s", "certificate", SenderName("billing"))
    test_facts.auth_failed("s", "login", "credentials")
    test_facts.auth_failed("s", "certificate", "credentials")
    for reason in ("limit", "sender", "proxy", "proxy_header", "tls", "certificate"):
        test_facts.connection_refused("legacy", "192.0.2.1", reason)
    for version in ("1.0", "1.1", "1.2", "1.3"):
        test_facts.encrypted("s", "legacy", version)
    test_facts.accepted("s", "legacy", a_mail(), 0.1)
    test_facts.attempted(MAIN, a_mail(), [an_address()], Relayed("x"), 0.1)
    for reason in ("throttled", "quota", "credentials", "other"):
        deferred = Deferred(REPLY, reason, Blame.SERVICE)
        test_facts.attempted(MAIN, a_mail(), [an_address()], deferred, 0.1)
        test_facts.settled(MAIN, a_mail(), an_address(), Settled(deferred, NOW), NOW)
    test_facts.feedback_refused("signature", "x")
    test_facts.suppressed(
        Suppression("a@x.example", SuppressionReason.MANUAL, "x", datetime.now(UTC)), actor="root"
    )
    test_facts.spool_committed(7, 0.001)
    test_facts.spool_failed(OSError("disk"))
    test_facts.spool_recovered(1, 0, 0, 0)
    test_facts.clock_skewed(MAIN, timedelta(hours=1))
    test_facts.quota_read(MAIN, SendQuota(1, 1, 1), "")
    test_facts.daily_quota(MAIN, Hold.ALL, 0)
    test_facts.service("started", version="x")
    after = {child for child in log.children() if "quota" not in child}
    assert after <= before | {c for c in log.children() if "quota" in c}


def test_below_its_level_nothing_is_written() -> None:
    log = Log("info")
    log.facts.session_opened("s", "legacy", "192.0.2.1")
    assert log.lines() == []


def test_what_libraries_warn_of_comes_in_the_same_log(log: Log) -> None:
    logging.getLogger("botocore.hooks").warning("could not %s", "load")
    (line,) = log.lines()
    assert (line["event"], line["library"], line["words"]) == (
        "library.warning",
        "botocore.hooks",
        "could not load",
    )


def test_people_get_columns_and_the_demo_its_own_lines() -> None:
    sink = Memory()
    make_logger("info", LogFormat.AUTO, sink, is_terminal=True).info("mail.queued", queue_id="Q")
    assert b"mail.queued" in sink.octets
    assert b"Q" in sink.octets
    sink = Memory()
    logger = make_logger(
        "info",
        LogFormat.JSON,
        sink,
        render=lambda e: f"<{e['event']}>" if e["event"] == "a" else "",
    )
    logger.info("a")
    logger.info("b")
    assert sink.octets == b"<a>\n"


def test_text_that_is_no_unicode_costs_no_line(log: Log) -> None:
    log.facts.feedback_refused("malformed", "half a pair: \ud800")
    assert log.lines()[0]["complaint"].startswith("half a pair")


def test_what_is_refused_can_be_found_by_its_peer(log: Log) -> None:
    log.facts.session_opened("s1", "legacy", "192.0.2.7")
    refusal = Refusal(Reply(550, "5.7.1", "No sender is configured"), "unknown_network")
    log.facts.refused("s1", "mail", refusal, None)
    log.facts.auth_failed("s1", "plain", "credentials")
    log.facts.hung_up("s1", Reply(421, "4.7.0", "Bye"))
    log.facts.connection_refused("legacy", "192.0.2.8", "limit")
    assert [line.get("peer") for line in log.lines()] == ["192.0.2.7"] * 4 + ["192.0.2.8"]
    assert {line["listener"] for line in log.lines()} == {"legacy"}
    assert log.value('relay_smtp_connections_refused_total{listener="legacy",reason="limit"}') == 1


def test_who_still_needs_broken_tls_can_be_found(log: Log) -> None:
    assert log.value('relay_tls_sessions_total{listener="legacy",version="1.1"}') == 0
    log.facts.session_opened("s1", "legacy", "192.0.2.7")
    log.facts.encrypted("s1", "legacy", "1.0")
    log.facts.encrypted("s1", "legacy", "1.3")
    found = [(line["level"], line["peer"], line["version"]) for line in log.lines()[-2:]]
    assert ("info", "192.0.2.7", "1.0") in found
    assert not [line for line in found if line[0] == "info" and line[2] != "1.0"]
    assert log.value('relay_tls_sessions_total{listener="legacy",version="1.0"}') == 1


def test_a_certificate_that_names_nobody_is_told_with_some_of_its_names(log: Log) -> None:
    log.facts.session_opened("s1", "legacy", "192.0.2.7")
    log.facts.certificate_unknown("s1", [f"host{number}.example.com" for number in range(300)])
    line = log.lines()[-1]
    assert line["event"] == "auth.certificate_unknown"
    assert line["peer"] == "192.0.2.7"
    assert line["names"] == [f"host{number}.example.com" for number in range(5)]


@pytest.mark.P6
def test_a_flood_of_connections_does_not_fill_the_log(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("relay.observe.maillog.time.monotonic", lambda: now)
    for number in range(1000):
        now = number / 400
        log.facts.connection_refused("legacy", f"192.0.2.{number % 250}", "limit")
    log.facts.connection_refused("legacy", "192.0.2.1", "tls")
    assert [(line["reason"], line["untold"]) for line in log.lines()] == [
        ("limit", 0),
        ("limit", 399),
        ("limit", 399),
        ("tls", 0),
    ]
    sample = 'relay_smtp_connections_refused_total{listener="legacy",reason="limit"}'
    assert log.value(sample) == 1000


# --- orders ---------------------------------------------------------------------------------------


def an_order(verb: Verb, new_sender: str = "") -> Order:
    return Order(
        verb=verb,
        selection=Selection(sender=SenderName("billing"), states=frozenset({State.HELD})),
        actor="root",
        reason="wrong template",
        new_sender=SenderName(new_sender) if new_sender else None,
    )


@pytest.mark.parametrize(
    ("verb", "event", "level"),
    [
        (Verb.HOLD, "queue.held", "info"),
        (Verb.RELEASE, "queue.released", "info"),
        (Verb.RETRY, "queue.retried", "info"),
        (Verb.DROP, "queue.dropped", "warning"),
    ],
)
def test_an_order_is_one_line_with_who_and_why_and_how_much(
    verb: Verb, event: str, level: str
) -> None:
    log = Log()
    sample = f'relay_queue_ordered_messages_total{{verb="{verb}"}}'
    assert log.value(sample) == 0
    results = {Result.CHANGED: 3, Result.IN_FLIGHT: 1}
    log.facts.ordered(an_order(verb), results, is_whole=True)
    (line,) = log.lines()
    del line["timestamp"]
    assert line == {
        "event": event,
        "level": level,
        "actor": "root",
        "selection": "sender billing; state held",
        "reason": "wrong template",
        "new_sender": "",
        "is_whole": True,
        "results": {"changed": 3, "in-flight": 1},
    }
    assert log.value(sample) == 3


def test_a_drop_that_dropped_nothing_is_no_warning() -> None:
    log = Log()
    log.facts.ordered(an_order(Verb.DROP), {Result.IN_FLIGHT: 1}, is_whole=False)
    assert log.lines()[0]["level"] == "info"


def test_a_selection_says_what_is_meant_and_not_every_id() -> None:
    assert Selection().words() == "all mail"
    ids = frozenset(QueueId(f"{n:020}") for n in range(7))
    first = ", ".join(f"{n:020}" for n in range(5))
    assert Selection(queue_ids=ids).words() == f"id {first} and 2 more"
    everything = Selection(
        recipient="jane@example.net",
        domain="example.net",
        arrived_before=ARRIVED,
        arrived_after=ARRIVED,
        message_id="1@erp.example.com",
        reason="throttled",
    )
    assert everything.words() == (
        "to jane@example.net; to domain example.net; arrived before 2026-03-01T12:00:00+00:00; "
        "arrived after 2026-03-01T12:00:00+00:00; Message-ID 1@erp.example.com; "
        "waits for throttled"
    )


def test_what_a_client_that_waited_heard_is_one_line_and_one_count() -> None:
    log = Log()
    mail = a_mail("jane@example.net")
    for ending, reply in ((Ending.RELAYED, "250 2.0.0 Ok 0102"), (Ending.WITHDRAWN, "")):
        passed = Passed(ending, mail, "0102")
        log.facts.passed("s1", "legacy", Accept.RELAYED, passed, reply, 0.25)
    line, _ = log.lines()
    assert {key: line[key] for key in ("event", "queue_id", "session_id", "mode", "outcome")} == {
        "event": "mail.answered",
        "queue_id": mail.queue_id,
        "session_id": "s1",
        "mode": "relayed",
        "outcome": "relayed",
    }
    assert (line["reply"], line["seconds"]) == ("250 2.0.0 Ok 0102", 0.25)
    text = log.metrics.exposition().decode()
    for outcome, count in (("relayed", 1), ("withdrawn", 1), ("partly", 0)):
        sample = f'relay_messages_passed_total{{mode="relayed",outcome="{outcome}"}} {count}.0'
        assert sample in text
    assert 'relay_messages_accepted_total{listener="legacy"} 1.0' in text
