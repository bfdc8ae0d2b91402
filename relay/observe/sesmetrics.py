"""The metrics of the accounts: what SES was asked, what it said, what it grants.

The part of relay.observe.metrics that has a label for the account. Does not know when a fact
happens.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from prometheus_client import Histogram

from relay.observe.instruments import Children, Instruments
from relay.policy.verdict import REASONS_DEFERRED, REASONS_FAILED

HELD_BY_QUOTA: Final = ("transactional", "bulk")

_REQUEST_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)


class SesMetrics(Instruments):
    """The metrics of each account."""

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
            for children in (self.sending_enabled, self.credentials):
                if name not in children:
                    children[name].set(1)
            self.clock_skew.born([name])
            self.rate_used.born([name])
            self.quota_holds.born((name, whom) for whom in HELD_BY_QUOTA)

    def keep_accounts(self, names: Collection[str]) -> None:
        """Show no longer how accounts are that are no longer configured; what they sent stays."""
        for children in (
            self.breaker_open,
            self.sending_enabled,
            self.credentials,
            self.clock_skew,
            self.quota_rate,
            self.quota_daily,
            self.quota_used,
            self.quota_read_at,
            self.rate_used,
            self.quota_holds,
        ):
            children.keep(names)

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
        self.sending_enabled = self._gauges(
            "relay_ses_sending_enabled",
            "0 from when SES says that the account may not send, until it takes a message again.",
            "account",
        )
        self.credentials = self._gauges(
            "relay_ses_credentials_available",
            "1 while there are credentials for the account that SES has not refused.",
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
            "Recipients of the last 24 hours: those SES told of, and those it took from us since.",
            "account",
        )
        self.quota_read_at = self._gauges(
            "relay_ses_quota_refresh_timestamp_seconds",
            "Unix time of the last successful read of the quota.",
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
