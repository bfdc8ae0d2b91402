"""How much a counter grew of late. Knows numbers and moments; neither what is counted nor a clock.

The newest half hour is kept finely and the day coarsely, which is little memory whatever happens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final, NamedTuple

_FINE: Final = 0.25  # minutes between two samples
_FINE_SPAN: Final = 35.0
_COARSE: Final = 5.0
_COARSE_SPAN: Final = 25 * 60.0


class _Sample(NamedTuple):
    at: float
    counts: Mapping[str, float]


class Trend:
    """Samples of counters that began at zero; moments are monotonic seconds."""

    def __init__(self, now: float, *, minute: float = 60.0) -> None:
        """`minute` is how many seconds one has; tests have no time for sixty."""
        self._minute = minute
        self._fine = deque([_Sample(now, {})])
        self._coarse = deque([_Sample(now, {})])

    def sample(self, counts: Mapping[str, float], now: float) -> None:
        """Take note of what was counted up to now. Called more often, it keeps no more."""
        one = _Sample(now, counts)
        for samples, apart, span in (
            (self._fine, _FINE, _FINE_SPAN),
            (self._coarse, _COARSE, _COARSE_SPAN),
        ):
            # The newest is replaced until it is far enough from the one before it.
            if len(samples) > 1 and samples[-1].at - samples[-2].at < apart * self._minute:
                samples[-1] = one
            else:
                samples.append(one)
            while len(samples) > 1 and samples[1].at < now - span * self._minute:
                samples.popleft()

    def growth(self, count: str, minutes: float) -> float:
        """Return by how much a counter grew in the last so many minutes, up to the last sample."""
        samples = self._fine if minutes <= _FINE_SPAN - _COARSE else self._coarse
        newest = samples[-1]
        begun = newest.at - minutes * self._minute
        before = samples[0]
        for one in samples:
            if one.at > begun:
                break
            before = one
        return newest.counts.get(count, 0.0) - before.counts.get(count, 0.0)
