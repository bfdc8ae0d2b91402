"""The metrics of spool.db and record.db, and of the disk under them.

Closed label sets, born at zero. Does not know when they change: relay.observe.maillog counts, and
relay.vitals looks at the disk.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

COMMIT_FAILURES: Final = ("no_space", "io", "other")
DATABASES: Final = ("spool", "record")

_COMMIT_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_BATCHES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class StoreMetrics:
    """What the store tells and measures."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.commit_seconds = Histogram(
            "relay_spool_commit_duration_seconds",
            "Time to make a group of operations durable.",
            buckets=_COMMIT_SECONDS,
            registry=registry,
        )
        self.commit_operations = Histogram(
            "relay_spool_commit_operations",
            "Operations made durable by one commit.",
            buckets=_BATCHES,
            registry=registry,
        )
        failures = Counter(
            "relay_spool_commit_failures_total",
            "Commits, and writes of content files, that failed.",
            ["reason"],
            registry=registry,
        )
        self.commit_failures = {reason: failures.labels(reason) for reason in COMMIT_FAILURES}
        self.strays = Counter(
            "relay_spool_stray_files_total",
            "Content files found at start that no entry names: mail never acknowledged.",
            registry=registry,
        )
        self.corrupt = Counter(
            "relay_spool_corrupt_entries_total",
            "Entries set aside because they are damaged.",
            registry=registry,
        )
        self.free = Gauge(
            "relay_spool_free_bytes",
            "What mail could still take: free on the disk, or free in the spool's own file.",
            registry=registry,
        )
        self.floor = Gauge(
            "relay_spool_reserve_bytes",
            "Mail is refused with 452 when less than this would stay free.",
            registry=registry,
        )
        self.put_by = Gauge(
            "relay_spool_outcome_reserve_bytes",
            "Put by for recording outcomes on a full disk; 0 while sending is stopped for that.",
            registry=registry,
        )
        self.outbox = Gauge(
            "relay_outbox_lines",
            "Lines of the ledger that wait in spool.db to be copied into record.db.",
            registry=registry,
        )
        self.kept = Gauge(
            "relay_queue_size_bytes",
            "Content of all messages in the spool.",
            registry=registry,
        )
        self.oldest = Gauge(
            "relay_queue_oldest_message_timestamp_seconds",
            "Unix time of arrival of the oldest message still to be relayed; the time of the "
            "scrape when there is none.",
            registry=registry,
        )
        self.oldest_due = Gauge(
            "relay_queue_oldest_due_timestamp_seconds",
            "Unix time since when the message longest due waits for its attempt; the time of the "
            "scrape when none is due. Messages of paused senders do not count.",
            registry=registry,
        )
        log_size = Gauge(
            "relay_database_wal_bytes",
            "Length of the write-ahead log on disk.",
            ["database"],
            registry=registry,
        )
        available = Gauge(
            "relay_database_available",
            "1 while the database can be written. Without spool.db mail is refused and nothing is "
            "sent; without record.db mail flows, and ledger and feedback wait.",
            ["database"],
            registry=registry,
        )
        self.log_size = {name: log_size.labels(name) for name in DATABASES}
        self.available = {name: available.labels(name) for name in DATABASES}
