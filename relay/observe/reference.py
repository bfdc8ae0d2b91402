"""docs/metrics.md, written from the metrics themselves: `python -m relay.observe.reference`.

What is said of a metric is said once, in the code that makes it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

from relay.mail.envelope import AccountName, SenderName
from relay.observe.metrics import Metrics
from relay.ports import SendQuota

ANY: Final = "NAME"
"""Stands for a name of the configuration."""
_HEAD: Final = """\
# Metrics

Served at `http.metrics`, `/metrics`, for Prometheus. Made by `make docs`; do not edit.

No label has a value that a client, a recipient or SES chooses: `listener`, `account` and `sender`
are names of the configuration, everything else is one of the values below. All children exist from
the start at zero, but for the quota, which is there once SES has told it, and the probe, which is
there where one is configured. Times are Unix time and
spans are seconds. The alerts on them are in
[config/prometheus/alerts.yaml](../config/prometheus/alerts.yaml), and what to do about each in
[runbook.md](runbook.md).

| metric | type | labels | meaning |
|---|---|---|---|
"""


def page() -> str:
    """Return the page."""
    return _HEAD + "".join(f"{row}\n" for row in sorted(_rows()))


def with_all_children() -> Metrics:
    """Return metrics with every child that there can be, of one listener, account and sender."""
    metrics = Metrics()
    metrics.know_listeners([ANY])
    metrics.know_tls([ANY])
    metrics.know_accounts([AccountName(ANY)])
    metrics.usage.know_senders([SenderName(ANY)])
    metrics.know_probe()
    quota = SendQuota(rate=1, daily=1, used=0)
    for children in (
        metrics.quota_rate,
        metrics.quota_daily,
        metrics.quota_used,
        metrics.quota_read_at,
    ):
        children[ANY].set(quota.rate)
    return metrics


def names() -> frozenset[str]:
    """Return the name of every series there can be, those that histograms are made of included."""
    return frozenset(
        sample.name
        for family in with_all_children().registry.collect()
        for sample in family.samples
    )


def _rows() -> Iterator[str]:
    for family in with_all_children().registry.collect():
        labels: dict[str, set[str]] = {}
        for sample in family.samples:
            for name, value in sample.labels.items():
                if name != "le":
                    labels.setdefault(name, set()).add(value)
        if family.name == "relay_build_info":
            labels = {key: {ANY} for key in labels}
        shown = "<br>".join(_label(name, values) for name, values in sorted(labels.items()))
        total = "_total" if family.type == "counter" else ""
        yield f"| `{family.name}{total}` | {family.type} | {shown} | {family.documentation} |"


def _label(name: str, values: set[str]) -> str:
    if values == {ANY}:
        return f"`{name}`"
    return f"`{name}`: {', '.join(sorted(values))}"


if __name__ == "__main__":
    sys.stdout.write(page())
