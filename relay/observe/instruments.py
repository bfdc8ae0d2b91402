"""What metrics are made of: a registry, and children bound once. Knows no metric of ours."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Generic, TypeVar, cast

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.process_collector import ProcessCollector

_M = TypeVar("_M", bound=Counter | Gauge | Histogram)


class Children(dict[tuple[str, ...] | str, _M], Generic[_M]):
    """The children of a metric, bound once: looking one up by its labels costs a dict access."""

    def __init__(self, metric: _M) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, labels: tuple[str, ...] | str) -> _M:
        values = (labels,) if isinstance(labels, str) else labels
        child = cast("_M", self._metric.labels(*values))
        self[labels] = child
        return child

    def born(self, label_sets: Iterable[tuple[str, ...] | str]) -> None:
        """Create children at zero, so that `rate()` sees the very first event."""
        for labels in label_sets:
            self[labels]

    def keep(self, names: Collection[str]) -> None:
        """Let go of the children whose first label is none of these: what it named is gone."""
        for labels in list(self):
            values = (labels,) if isinstance(labels, str) else labels
            if values[0] not in names:
                del self[labels]
                self._metric.remove(*values)


def value_of(child: Counter | Gauge) -> float:
    """Return what a counter has counted, or a gauge shows."""
    (family,) = child.collect()
    return float(family.samples[0].value)


class Instruments:
    """A registry, and how its metrics are made."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)

    def exposition(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, words: str) -> Counter:
        return Counter(name, words, registry=self.registry)

    def _gauge(self, name: str, words: str) -> Gauge:
        return Gauge(name, words, registry=self.registry)

    def _counters(self, name: str, words: str, *labels: str) -> Children[Counter]:
        return Children(Counter(name, words, labels, registry=self.registry))

    def _gauges(self, name: str, words: str, *labels: str) -> Children[Gauge]:
        return Children(Gauge(name, words, labels, registry=self.registry))
