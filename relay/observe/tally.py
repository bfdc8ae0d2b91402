"""The counters that conditions are judged by, read from the metrics under the names policy has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import Counter

from relay.mail.envelope import AccountName
from relay.observe.instruments import value_of
from relay.observe.metrics import Metrics

# Recipients that were given up as their sender's policy or an operator wants it.
_WANTED: Final = ("suppressed", "dropped")


def tally(metrics: Metrics, accounts: Iterable[AccountName]) -> Mapping[str, float]:
    """Return what relay.policy.conditions asks a trend for."""
    counts = {
        "commit_failures": _sum(metrics.store.commit_failures.values()),
        "relayed": _sum(metrics.relayed.values()),
        "accepted": _sum(metrics.recipients.values()),
        "failed": _sum(child for key, child in metrics.failed.items() if key[-1] not in _WANTED),
        "bounces permanent": value_of(metrics.bounces["permanent"]),
        "complaints": value_of(metrics.complaints),
        "faults": value_of(metrics.faults),
        "log_dropped": value_of(metrics.log_dropped),
    }
    for name in accounts:
        counts[f"requests {name}"] = value_of(metrics.requests[name, "send"])
    for key, child in metrics.request_failures.items():
        if key[1] == "send":
            counts[f"failures {key[0]} {key[2]}"] = value_of(child)
    return counts


def _sum(counters: Iterable[Counter]) -> float:
    return sum(map(value_of, counters))
