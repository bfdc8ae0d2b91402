"""Every metric of the daemon. Label sets are closed and born at zero; no peer picks a label.

Names and units follow the Prometheus naming practices. Does not know when a fact happens:
relay.observe.maillog counts.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from typing import Final

from prometheus_client import Gauge, Histogram

from relay import __version__
from relay.mail.entry import State
from relay.observe.feedbackmetrics import FeedbackInstruments
from relay.observe.instruments import Children
from relay.observe.sesmetrics import SesMetrics
from relay.observe.storemetrics import StoreMetrics
from relay.observe.usage import UsageMetrics
from relay.operators import Verb
from relay.policy.admission import DATA_REASONS, MAIL_REASONS, RCPT_REASONS
from relay.policy.passing import REASONS_NOT_ASKED, Ending
from relay.policy.sender import Accept
from relay.policy.verdict import REASONS_DEFERRED, REASONS_FAILED

AUTH_REASONS: Final = ("credentials", "tls_required", "busy", "aborted")
NOT_SERVED: Final = ("limit", "spool", "sender", "proxy", "proxy_header", "tls", "certificate")
TLS_VERSIONS: Final = ("1.0", "1.1", "1.2", "1.3")
BROKEN_TLS: Final = TLS_VERSIONS[:2]
READINESS_CHECKS: Final = ("spool", "disk", "listeners", "draining")
PASSING: Final = (Accept.RELAYED, Accept.RELAYED_OR_QUEUED)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_QUEUE_SECONDS: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
_LAGS: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0)
_SIZES: Final = (1e3, 1e4, 1e5, 1e6, 5e6, 1e7, 2.5e7, 4e7)


class Metrics(SesMetrics, FeedbackInstruments):
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
        self.loop_lag = Histogram(
            "relay_event_loop_lag_seconds",
            "How late the event loop ran a timer, looked at once a second.",
            buckets=_LAGS,
            registry=self.registry,
        )
        self.usage = UsageMetrics(self.registry)
        self.probed_at: Gauge | None = None
        """None where there is no probe."""
        self._smtp()
        self._spool()
        self._ses()
        self._feedback()

    def know_listeners(self, names: Iterable[str]) -> None:
        """Create the children of these listeners."""
        known = tuple(names)
        self.usage.know_listeners(known)
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
        known = tuple(names)
        self.tls_sessions.born((name, version) for name in known for version in TLS_VERSIONS)
        self.certificate_expiry.born(known)

    def know_probe(self) -> None:
        """Create what is told of the probe."""
        self.probed_at = self._gauge(
            "relay_probe_last_success_timestamp_seconds",
            "Unix time the last end-to-end probe returned as an event; start time until the first.",
        )

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
        self.certificate_expiry = self._gauges(
            "relay_tls_certificate_expiry_timestamp_seconds",
            "Unix time after which the certificate served by the listener is no longer valid.",
            "listener",
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
        self.queue_seconds = Children(
            Histogram(
                "relay_queue_time_seconds",
                "Time from acceptance until the recipient was settled.",
                ["outcome"],
                buckets=_QUEUE_SECONDS,
                registry=self.registry,
            )
        )
        self.queue_seconds.born(("relayed", "failed", "expired"))
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
