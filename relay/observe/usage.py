"""Who uses what: counters of each configured sender, and of ways that one day are to be left off.

Closed label sets, born at zero: a sender gets children when it is configured, never because a
client names it. Does not know when a fact happens: relay.observe.maillog counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from relay.mail.envelope import SenderName

WINDOWS: Final = ("1h", "24h")
RECEPTION: Final = ("sent", "delivered", "bounced", "complained")
LEGACY_USES: Final = ("auth_without_tls", "broken_tls", "line_endings")
"""A password in the clear, TLS 1.0 or 1.1, content whose line endings had to be made CRLF."""


class SenderCounters:
    """What is counted of one sender."""

    __slots__ = ("accepted", "failed", "received", "relayed", "suspect")

    def __init__(
        self,
        accepted: Counter,
        relayed: Counter,
        failed: Counter,
        suspect: Gauge,
        received: Mapping[tuple[str, str], Gauge],
    ) -> None:
        self.accepted = accepted
        self.relayed = relayed
        self.failed = failed
        self.suspect = suspect
        self.received = received
        """By window and fate."""


class UsageMetrics:
    """Counters by sender and by legacy use."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._legacy = Counter(
            "relay_smtp_legacy_uses_total",
            "Sessions that logged in without TLS, TLS handshakes of 1.0 or 1.1, and messages with "
            "line endings that were made CRLF: none for a month, and it can be left off.",
            ["listener", "use"],
            registry=registry,
        )
        self.legacy: dict[tuple[str, str], Counter] = {}
        self._accepted = Counter(
            "relay_sender_messages_accepted_total",
            "Messages accepted of a configured sender; see monitoring.per_sender.",
            ["sender"],
            registry=registry,
        )
        self._relayed = Counter(
            "relay_sender_recipients_relayed_total",
            "Recipients for whom SES accepted a configured sender's message; see "
            "monitoring.per_sender.",
            ["sender"],
            registry=registry,
        )
        self._failed = Counter(
            "relay_sender_recipients_failed_total",
            "Recipients of a configured sender's messages given up; see monitoring.per_sender.",
            ["sender"],
            registry=registry,
        )
        self._received = Gauge(
            "relay_sender_recipients",
            "What became of a configured sender's mail within the window, in recipients; see "
            "monitoring.per_sender.",
            ["sender", "window", "fate"],
            registry=registry,
        )
        self._suspect = Gauge(
            "relay_sender_suspect",
            "1 while so much of a sender's mail bounces, or is complained of, that SES may review "
            "the account; see monitoring.per_sender.",
            ["sender"],
            registry=registry,
        )
        self.senders: dict[SenderName, SenderCounters] = {}
        """Those that have counters."""

    def know_listeners(self, names: Iterable[str]) -> None:
        """Create the children of these listeners."""
        for name in names:
            for use in LEGACY_USES:
                self.legacy[name, use] = self._legacy.labels(name, use)

    def know_senders(self, names: Collection[SenderName]) -> None:
        """Count of these from now on, and of no other: the children of others are gone."""
        for name in [name for name in self.senders if name not in names]:
            del self.senders[name]
            for metric in (self._accepted, self._relayed, self._failed):
                metric.remove(name)
            self._suspect.remove(name)
            for window in WINDOWS:
                for fate in RECEPTION:
                    self._received.remove(name, window, fate)
        for name in names:
            if name not in self.senders:
                self.senders[name] = SenderCounters(
                    self._accepted.labels(name),
                    self._relayed.labels(name),
                    self._failed.labels(name),
                    self._suspect.labels(name),
                    {
                        (window, fate): self._received.labels(name, window, fate)
                        for window in WINDOWS
                        for fate in RECEPTION
                    },
                )
