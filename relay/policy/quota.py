"""How many recipients a sender may have in any hour or day. Callers pass monotonic seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import ceil, inf
from typing import Final

from relay.policy.sender import Rate

# A window is remembered in so many parts: 60 counters an hour, whatever the traffic.
_PARTS: Final = 60


class RollingQuota:
    """At most `limit.count` in any `limit.seconds`, as far back as one part of the window.

    What was taken counts until the whole part of the window it fell into is over, so the bound
    holds in every window, at the price of a sixtieth of the window in which a little less goes.
    """

    __slots__ = ("_parts", "_taken", "_width", "limit")

    def __init__(self, limit: Rate) -> None:
        self.limit = limit
        self._width = limit.seconds / _PARTS
        # Number of the part, and what was taken in it; oldest first.
        self._parts: deque[tuple[int, int]] = deque()
        self._taken = 0

    def room(self, now: float) -> int:
        """Return how many more may go now; never below 0."""
        self._forget(now)
        return max(0, self.limit.count - self._taken)

    def wait(self, now: float, count: int = 1) -> float:
        """Return the seconds until `count` may go; infinite if that is more than the limit."""
        self._forget(now)
        lack = self._taken + count - self.limit.count
        if lack <= 0:
            return 0.0
        for part, taken in self._parts:
            lack -= taken
            if lack <= 0:
                return max(0.0, self._end(part) - now)
        return inf

    def take(self, count: int, now: float) -> int:
        """Count what goes, be it more than there is room for; return the part it counts in."""
        self._forget(now)
        # A clock that steps back adds to the newest part: parts stay in order.
        part = int(now // self._width)
        if self._parts and self._parts[-1][0] >= part:
            part, taken = self._parts.pop()
            self._parts.append((part, taken + count))
        else:
            self._parts.append((part, count))
        self._taken += count
        return part

    def give_back(self, count: int, part: int) -> None:
        """Take back what was counted in that part and did not go after all.

        When that part counts no more, there is nothing to take back: what others had since stays.
        """
        for index, (number, taken) in enumerate(self._parts):
            if number == part:
                self._parts[index] = number, taken - count
                self._taken -= count

    def go_on_from(self, other: RollingQuota) -> None:
        """Count what another quota over the same time has counted."""
        self._parts, self._taken = other._parts.copy(), other._taken

    def ages(self, now: float) -> list[tuple[float, int]]:
        """Return what counts still: how long ago the part it fell into was over, and how much."""
        self._forget(now)
        return [(now - (part + 1) * self._width, taken) for part, taken in self._parts]

    def recall(self, ages: Iterable[tuple[float, int]], now: float) -> None:
        """Count what was taken so long ago; never for less time than it would have been."""
        parts: dict[int, int] = {}
        for age, taken in sorted(ages, reverse=True):
            part = ceil((now - age) / self._width) - 1
            parts[part] = parts.get(part, 0) + taken
        self._parts = deque(parts.items())
        self._taken = sum(parts.values())
        self._forget(now)

    def _forget(self, now: float) -> None:
        while self._parts and self._end(self._parts[0][0]) <= now:
            self._taken -= self._parts.popleft()[1]

    def _end(self, part: int) -> float:
        """Return when what was taken in that part counts no more."""
        return (part + 1) * self._width + self.limit.seconds
