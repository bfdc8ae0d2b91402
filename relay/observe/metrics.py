"""Every metric of the daemon. Label sets are closed and born at zero; no peer picks a label.

Names and units follow the Prometheus naming practices. Does not know when a fact happens:
relay.observe.maillog counts.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from typing import Final

from prometheus_client import Histogram

from relay import __version__
from relay.mail.entry import State
from relay.mail.feedback import FeedbackKind, SuppressionReason
from relay.observe.instruments import Children, Instruments
from relay.observe.storemetrics import StoreMetrics
from relay.operators import Verb
from relay.policy.admission import DATA_REASONS, MAIL_REASONS, RCPT_REASONS
from relay.policy.passing import REASONS_NOT_ASKED, Ending
from relay.policy.sender import Accept
from relay.policy.verdict import REASONS_DEFERRED, REASONS_FAILED

AUTH_REASONS: Final = ("credentials", "tls_required", "busy", "aborted")
FEEDBACK_REFUSALS: Final = (
    "signature",
    "topic",
    "duplicate",
    "malformed",
    "too_large",
    "certificate",
    "store",
)
NOT_SERVED: Final = ("limit", "spool", "sender", "proxy", "proxy_header", "tls", "certificate")
TLS_VERSIONS: Final = ("1.0", "1.1", "1.2", "1.3")
BROKEN_TLS: Final = TLS_VERSIONS[:2]
READINESS_CHECKS: Final = ("spool", "disk", "listeners", "draining")
HELD_BY_QUOTA: Final = ("transactional", "bulk")
PASSING: Final = (Accept.RELAYED, Accept.RELAYED_OR_QUEUED)
BOUNCE_CLASSES: Final = ("permanent", "transient", "undetermined")

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_REQUEST_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)
_SIZES: Final = (1e3, 1e4, 1e5, 1e6, 5e6, 1e7, 2.5e7, 4e7)


class Metrics(Instruments):
    """The registry and its metrics."""

    def __init__(self) -> None:
        super().__init__()
        self._build_info()

        self.readiness = self._gauges(
            "relay_readiness_check", "1 when the check passes, 0 when it fails.", "check"
        )
        self.readiness.born(READINESS_CHECKS)
        self.reload_successful = self._gauge(
            "relay_config_last_reload_successful",
            "1 when the last attempt to load the configuration succeeded, 0 when the previous one "
            "is still in force.",
        )
        self.reload_at = self._gauge(
            "relay_config_last_reload_success_timestamp_seconds",
            "Unix time of the last successful load of the configuration.",
        )
        self.log_dropped = self._counter(
            "relay_log_events_dropped_total",
            "Log events dropped because the log could not be written.",
        )
        self._smtp()
        self._spool()
        self._ses()
        self._feedback()

    def know_listeners(self, names: Iterable[str]) -> None:
        """Create the children of these listeners."""
        known = tuple(names)
        for children in (
            self.connections,
            self.sessions,
            self.stressed,
            self.accepted,
            self.recipients,
        ):
            children.born(known)
        self.connections_refused.born((name, reason) for name in known for reason in NOT_SERVED)

    def know_tls(self, names: Iterable[str]) -> None:
        """Create the children of the listeners that encrypt."""
        self.tls_sessions.born((name, version) for name in names for version in TLS_VERSIONS)

    def know_accounts(self, names: Iterable[str]) -> None:
        """Create the children of these accounts."""
        for name in names:
            self.relayed.born([name])
            self.deferred.born((name, reason) for reason in REASONS_DEFERRED)
            self.failed.born((name, reason) for reason in REASONS_FAILED)
            self.requests.born([(name, "send"), (name, "account")])
            self.request_failures.born(
                (name, "send", error) for error in (*REASONS_DEFERRED, *REASONS_FAILED)
            )
            self.request_failures.born([(name, "account", "other")])
            self.request_seconds.born([name])
            self.ambiguous.born([name])
            self.breaker_open.born([name])
            self.clock_skew.born([name])
            self.rate_used.born([name])
            self.quota_holds.born((name, whom) for whom in HELD_BY_QUOTA)

    def _build_info(self) -> None:
        info = self._gauges(
            "relay_build_info",
            "Constant 1, labelled with the version of the daemon and of Python.",
            "version",
            "python_version",
        )
        info[__version__, platform.python_version()].set(1)

    def _smtp(self) -> None:
        self.connections = self._counters(
            "relay_smtp_connections_total", "SMTP connections accepted.", "listener"
        )
        self.connections_refused = self._counters(
            "relay_smtp_connections_refused_total",
            "SMTP connections that were not served.",
            "listener",
            "reason",
        )
        self.sessions = self._gauges("relay_smtp_sessions", "SMTP sessions open now.", "listener")
        self.stressed = self._gauges(
            "relay_smtp_stressed",
            "1 from 80 % of the connections the listener or the process may have, until there are "
            "less than 60 %.",
            "listener",
        )
        self.tls_sessions = self._counters(
            "relay_tls_sessions_total", "TLS handshakes done.", "listener", "version"
        )
        self.certificate_expiry = self._gauge(
            "relay_tls_certificate_expiry_timestamp_seconds",
            "Unix time after which the certificate served is no longer valid; 0 without one.",
        )
        self.auth_attempts = self._counters(
            "relay_smtp_auth_attempts_total",
            "SMTP AUTH exchanges begun, and client certificates that stand for a sender, or that "
            "did not verify behind STARTTLS.",
            "mechanism",
        )
        self.auth_attempts.born(("plain", "login", "certificate"))
        self.auth_failures = self._counters(
            "relay_smtp_auth_failures_total",
            "SMTP AUTH exchanges that did not authenticate anyone.",
            "mechanism",
            "reason",
        )
        self.auth_failures.born((m, r) for m in ("plain", "login") for r in AUTH_REASONS)
        self.auth_failures.born([("certificate", "credentials")])
        self.refusals = self._counters(
            "relay_smtp_refusals_total",
            "4xx and 5xx replies given to MAIL, RCPT and DATA.",
            "phase",
            "reason",
        )
        self.refusals.born(("mail", reason) for reason in MAIL_REASONS)
        self.refusals.born(("rcpt", reason) for reason in RCPT_REASONS)
        # Who waits for SES hears why it did not take the mail, or why it was not asked.
        answers = (*REASONS_DEFERRED, *REASONS_FAILED, *REASONS_NOT_ASKED)
        self.refusals.born(("data", reason) for reason in {*DATA_REASONS, *answers})
        self.passed = self._counters(
            "relay_messages_passed_total",
            "Messages whose client waited for SES, by mode of the sender and what came of it.",
            "mode",
            "outcome",
        )
        self.passed.born((mode, ending) for mode in PASSING for ending in Ending)
        self.accepted = self._counters(
            "relay_messages_accepted_total",
            "Messages answered with 250: durable in the spool, or taken by SES.",
            "listener",
        )
        self.recipients = self._counters(
            "relay_recipients_accepted_total", "Recipients of accepted messages.", "listener"
        )
        self.message_size = Histogram(
            "relay_message_size_bytes",
            "Size of accepted messages as spooled.",
            buckets=_SIZES,
            registry=self.registry,
        )
        self.faults = self._counter(
            "relay_internal_faults_total", "Faults of our own, each logged with its traceback."
        )

    def _spool(self) -> None:
        self.store = StoreMetrics(self.registry)
        self.queue = self._gauges("relay_queue_messages", "Messages in the spool.", "state")
        self.queue.born(state.value for state in State)
        self.ordered = self._counters(
            "relay_queue_ordered_messages_total",
            "Messages that operators held, released, retried or dropped.",
            "verb",
        )
        self.ordered.born(verb.value for verb in Verb)
        self._time()

    def _time(self) -> None:
        self.expired = self._counters(
            "relay_recipients_expired_total",
            "Recipients given up because their time was over; unknown: it may have been sent.",
            "outcome",
        )
        self.expired.born(("failed", "unknown"))
        self.purged = self._counter(
            "relay_messages_purged_total", "Failed messages removed after spool.keep_failed."
        )
        self.swept_at = self._gauge(
            "relay_sweep_last_completed_timestamp_seconds",
            "Unix time the whole queue was last looked through for mail past its time; 0: not yet.",
        )
        self.overdue = self._gauge(
            "relay_queue_overdue_seconds",
            "How long the message that is most past its time has been; 0 when none is.",
        )
        self.held_long = self._gauge(
            "relay_queue_held_long_messages",
            "Messages that have been held for half the time after which they are given up.",
        )
        self.clock_in_doubt = self._gauge(
            "relay_clock_in_doubt",
            "1 for an hour after the wall clock stepped by more than 5 minutes, in which no "
            "message is given up for its age.",
        )

    def _ses(self) -> None:
        self.relayed = self._counters(
            "relay_recipients_relayed_total",
            "Recipients for whom SES accepted the message; not delivered yet.",
            "account",
        )
        self.deferred = self._counters(
            "relay_recipients_deferred_total",
            "Recipient attempts that will be tried again.",
            "account",
            "reason",
        )
        self.failed = self._counters(
            "relay_recipients_failed_total", "Recipients given up.", "account", "reason"
        )
        self.requests = self._counters(
            "relay_ses_requests_total", "Requests to SES.", "account", "operation"
        )
        self.request_failures = self._counters(
            "relay_ses_request_failures_total",
            "Requests to SES that did not succeed.",
            "account",
            "operation",
            "error",
        )
        self.request_seconds = Children(
            Histogram(
                "relay_ses_request_duration_seconds",
                "Time a send request to SES took.",
                ["account"],
                buckets=_REQUEST_SECONDS,
                registry=self.registry,
            )
        )
        self.ambiguous = self._counters(
            "relay_ses_ambiguous_sends_total",
            "Send requests whose answer was lost; each may become a duplicate.",
            "account",
        )
        self.breaker_open = self._gauges(
            "relay_ses_breaker_open",
            "1 while sending to the account is suspended after repeated failures.",
            "account",
        )
        self.clock_skew = self._gauges(
            "relay_ses_clock_skew_seconds",
            "How far SES's clock is ahead of this machine's, as last found when SES refused a "
            "signature; 0 while it refuses none.",
            "account",
        )
        self.quota_rate = self._gauges(
            "relay_ses_quota_rate_recipients_per_second",
            "Maximum send rate granted to the account.",
            "account",
        )
        self.quota_daily = self._gauges(
            "relay_ses_quota_daily_recipients",
            "Recipients the account may send to in a rolling 24 hours; +Inf when unlimited.",
            "account",
        )
        self.quota_used = self._gauges(
            "relay_ses_quota_daily_used_recipients",
            "Recipients counted by SES in the last 24 hours.",
            "account",
        )

        self.senders_paused = self._gauge(
            "relay_senders_paused", "Senders whose mail an operator keeps from being sent."
        )
        self.rate_used = self._gauges(
            "relay_ses_rate_used_recipients_per_second",
            "How much of the granted rate is used: less for a while after SES said that it was "
            "exceeded.",
            "account",
        )
        self.quota_holds = self._gauges(
            "relay_ses_daily_quota_holds",
            "1 while mail of such senders waits for the account's daily quota to be freed.",
            "account",
            "priority",
        )

    def _feedback(self) -> None:
        self.feedback_events = self._counters(
            "relay_feedback_events_total", "Verified feedback events by SES event name.", "event"
        )
        self.feedback_events.born(kind.value for kind in FeedbackKind)
        self.bounces = self._counters(
            "relay_feedback_bounces_total",
            "Recipients reported as bounced, by SES bounce type.",
            "bounce_class",
        )
        self.bounces.born(BOUNCE_CLASSES)
        self.complaints = self._counter(
            "relay_feedback_complaints_total", "Recipients reported as complaining."
        )
        self.feedback_refused = self._counters(
            "relay_feedback_refused_total", "Feedback requests refused or discarded.", "reason"
        )
        self.feedback_refused.born(FEEDBACK_REFUSALS)
        self.feedback_at = self._gauge(
            "relay_feedback_last_event_timestamp_seconds",
            "Unix time the last verified feedback event was taken in; start time until the first.",
        )
        self.suppressed = self._gauges(
            "relay_suppressed_addresses", "Addresses on the suppression list.", "origin"
        )
        self.suppressed.born(reason.value for reason in SuppressionReason)
        self.suppression_hits = self._counters(
            "relay_suppression_hits_total", "Recipients matched by the suppression list.", "action"
        )
        self.suppression_hits.born(("refused", "dropped", "failed"))
