"""Metrics: few children however many senders there are, cheap to scrape, and nobody's to name."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest

from relay.clock import SystemClock
from relay.config.configuration import Configuration
from relay.config.loader import load_text
from relay.mail.entry import Settled
from relay.mail.envelope import AccountName, SenderName
from relay.mail.outcome import Blame, Deferred, Failed, Relayed
from relay.mail.reply import Reply
from relay.observe.metrics import Metrics
from relay.observing import Observing
from tests.builders import a_mail, an_address
from tests.unit.observe.test_observe_maillog import MAIN, NOW, Log

CONFIGURATION = """\
listeners: [{{name: local, address: "127.0.0.1:0", tls: off, auth: off}}]
senders:
{senders}
ses: {{region: eu-west-1}}
spool: {{path: {directory}/spool}}
monitoring: {{per_sender: {per_sender}}}
log: {{format: json, addresses: {addresses}}}
"""


def observing(
    directory: Path, *, senders: int, per_sender: str = "auto", addresses: str = "plain"
) -> Observing:
    """Return what a daemon with so many senders is watched by."""
    configuration = configured(
        directory, senders=senders, per_sender=per_sender, addresses=addresses
    )
    found = Observing(configuration, SystemClock(), None)
    found.metrics.know_listeners(["submission", "smtps", "legacy"])
    found.metrics.know_tls(["submission", "smtps"])
    found.metrics.know_accounts([AccountName("main")])
    return found


def configured(
    directory: Path, *, senders: int, per_sender: str = "auto", addresses: str = "plain"
) -> Configuration:
    several = "\n".join(
        f"  - {{name: app{n}, networks: [10.0.{n}.0/24], from: ['@example.com']}}"
        for n in range(senders)
    )
    text = CONFIGURATION.format(
        senders=several, directory=directory, per_sender=per_sender, addresses=addresses
    )
    return load_text(text.encode(), file="relay.yaml", directory=directory, environ={})


def children(metrics: Metrics) -> int:
    """Return the number of children, a histogram counted as one."""
    count = 0
    for family in metrics.registry.collect():
        labels = {
            tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
            for sample in family.samples
        }
        count += len(labels)
    return count


@pytest.mark.parametrize(
    ("senders", "per_sender", "counted"),
    [(3, "auto", 3), (200, "auto", 0), (200, "always", 200), (3, "never", 0)],
)
def test_senders_have_counters_while_they_are_few_or_where_they_are_asked_for(
    tmp_path: Path, senders: int, per_sender: str, counted: int
) -> None:
    found = observing(tmp_path, senders=senders, per_sender=per_sender)
    found.close()
    assert len(found.metrics.usage.senders) == counted
    # dependencies.md: 400 children, half of them histograms, cost 79 ms.
    assert children(found.metrics) < 400 + 12 * counted


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("per_sender", "most"), [("auto", 0.040), ("always", 0.100)])
def test_a_scrape_with_two_hundred_senders_is_cheap(
    tmp_path: Path, per_sender: str, most: float
) -> None:
    found = observing(tmp_path, senders=200, per_sender=per_sender)
    found.close()
    costs = []
    for _ in range(5):
        began = time.thread_time()
        found.metrics.exposition()
        costs.append(time.thread_time() - began)
    assert min(costs) < most, f"a scrape costs {min(costs) * 1000:.1f} ms of CPU"


def test_only_configured_senders_are_counted_and_those_that_are_gone_no_more() -> None:
    log = Log()
    usage = log.metrics.usage
    usage.know_senders([SenderName("billing")])
    for sender in ("billing", "nobody"):
        mail = a_mail(sender=sender)
        log.facts.accepted("s", "legacy", mail, 0.1)
        log.facts.settled(MAIN, mail, an_address(), Settled(Relayed("x"), None), NOW)
        failed = Failed(Reply(554, "5.6.0", "no"), "rejected", Blame.MESSAGE)
        log.facts.settled(MAIN, mail, an_address(), Settled(failed, None), NOW)
    assert log.value('relay_sender_messages_accepted_total{sender="billing"}') == 1
    assert log.value('relay_sender_recipients_relayed_total{sender="billing"}') == 1
    assert log.value('relay_sender_recipients_failed_total{sender="billing"}') == 1
    assert "nobody" not in log.metrics.exposition().decode()
    usage.know_senders([SenderName("crm")])
    assert log.value('relay_sender_messages_accepted_total{sender="crm"}') == 0
    assert "billing" not in log.metrics.exposition().decode()


def test_what_is_to_be_left_off_one_day_is_counted_and_its_users_are_named() -> None:
    log = Log("info")
    facts, sender = log.facts, SenderName("billing")

    def uses(use: str) -> float:
        return log.value(f'relay_smtp_legacy_uses_total{{listener="legacy",use="{use}"}}')

    assert uses("auth_without_tls") == uses("broken_tls") == uses("line_endings") == 0
    facts.session_opened("s1", "legacy", "192.0.2.7")
    facts.authenticated("s1", "plain", sender)
    facts.session_opened("s2", "legacy", "192.0.2.8")
    facts.encrypted("s2", "legacy", "1.1")
    facts.authenticated("s2", "plain", sender)
    for _ in range(3):
        facts.line_endings_mended("s1", "legacy", sender)
    facts.session_closed("s1", "legacy")
    facts.session_closed("s2", "legacy")
    assert (uses("auth_without_tls"), uses("broken_tls"), uses("line_endings")) == (1, 1, 3)
    assert [(line["event"], line["peer"]) for line in log.lines()] == [
        ("auth.succeeded", "192.0.2.7"),
        ("session.encrypted", "192.0.2.8"),
        ("session.line_endings_mended", "192.0.2.7"),
    ]


def test_an_account_that_ses_has_paused_shows_until_it_sends_again() -> None:
    log = Log()
    enabled = 'relay_ses_sending_enabled{account="main"}'
    assert log.value(enabled) == 1
    paused = Deferred(Reply(451, "4.3.2", "paused"), "paused", Blame.OPERATOR)
    log.facts.attempted(MAIN, a_mail(), [an_address()], paused, 0.1)
    assert log.value(enabled) == 0
    log.metrics.know_accounts([MAIN])
    assert log.value(enabled) == 0, "a reload is no reason to believe that it may send"
    log.facts.attempted(MAIN, a_mail(), [an_address()], Relayed("x"), 0.1)
    assert log.value(enabled) == 1


def test_the_key_of_hashed_addresses_is_made_once_and_for_nobody_else(tmp_path: Path) -> None:
    names = []
    for _ in range(2):
        found = observing(tmp_path, senders=1, addresses="hashed")
        found.facts.accepted("s", "legacy", a_mail(), 0.1)
        found.facts.held(a_mail(), "jane@example.net")
        found.close()
        names.append(found.recent.newest(1)[0]["reason"])
    assert names[0] == names[1]
    assert names[0].startswith("addr-")
    key = tmp_path / "spool" / "log-key"
    assert key.stat().st_mode & 0o777 == 0o600
    key.write_bytes(b"cut sh")
    observing(tmp_path, senders=1, addresses="hashed").close()
    assert len(key.read_bytes()) == 32


def test_of_an_account_or_a_listener_that_is_gone_no_state_is_shown() -> None:
    log = Log()
    log.metrics.know_accounts([AccountName("gone")])
    log.metrics.know_tls(["gone"])
    log.facts.breaker(AccountName("gone"), opened=True, reason="timeout")
    log.metrics.keep_accounts({"main"})
    log.metrics.certificate_expiry.keep({"legacy"})
    shown = log.children()
    assert 'relay_ses_breaker_open{account="gone"}' not in shown
    assert 'relay_tls_certificate_expiry_timestamp_seconds{listener="gone"}' not in shown
    assert log.value('relay_ses_breaker_open{account="main"}') == 0
    assert log.value('relay_ses_daily_quota_holds{account="main",priority="bulk"}') == 0
    # What it sent was sent.
    assert log.value('relay_recipients_relayed_total{account="gone"}') == 0
    log.metrics.know_accounts([AccountName("gone")])
    assert log.value('relay_ses_breaker_open{account="gone"}') == 0


async def test_a_reload_changes_what_is_counted_and_what_is_hidden(tmp_path: Path) -> None:
    found = observing(tmp_path, senders=2)
    found.set_log_level("error", timedelta(hours=1))
    step = await found.prepare(configured(tmp_path, senders=60, addresses="hashed"))
    assert len(found.metrics.usage.senders) == 2
    step.enact()
    assert len(found.metrics.usage.senders) == 0
    # What somebody has lent himself stays lent.
    assert found.log_level == "error"
    found.reset_log_level()
    assert found.log_level == "info"
    found.facts.held(a_mail(), "jane@example.net")
    assert found.recent.newest(1)[0]["reason"].startswith("addr-")
    found.close()
