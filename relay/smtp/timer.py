"""One timer for all the waits of a connection. Knows loop time; not what is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Final

# How often, in seconds, a wait that is too long under stress asks whether there is any.
_ASK_EVERY: Final = 5.0


def never() -> bool:
    """Say that there is no stress."""
    return False


class Timer:
    """Calls somebody when a wait has taken too long.

    A session waits at every command, so there is one timer that is moved only when it would ring
    too late; when it rings too early it is wound again.
    """

    __slots__ = (
        "_at",
        "_deadline",
        "_expiry",
        "_handle",
        "_loop",
        "_under_stress",
        "is_stressed",
        "latest",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self._at = inf  # when it will ring
        self._expiry: Callable[[], object] | None = None
        self._deadline = inf
        self._under_stress = inf
        self.latest = inf
        """The loop time at which every wait ends, however long it was given."""
        self.is_stressed: Callable[[], bool] = never
        """Whether others wait for what this connection holds."""

    def within(
        self, seconds: float, expiry: Callable[[], object], under_stress: float = inf
    ) -> None:
        """Have `expiry` called unless the wait ends, or another begins, within so many seconds.

        `under_stress` are the seconds after which it is called if there is stress by then.
        """
        now = self._loop.time()
        self._expiry = expiry
        self._deadline = deadline = now + seconds
        self._under_stress = first = now + under_stress
        at = self._at
        if first < at or deadline < at or self.latest < at:
            self._wind(min(first, deadline, self.latest))

    def busy(self) -> None:
        """End the wait: what takes time now is our doing, and no fault of the client."""
        self._expiry = None

    def stop(self) -> None:
        """End the wait and the timer."""
        self._expiry = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle, self._at = None, inf

    def _wind(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._at = at
        self._handle = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._handle, self._at = None, inf
        expiry = self._expiry
        if expiry is None:
            return
        now = self._loop.time()
        deadline = min(self._deadline, self.latest)
        first = min(self._under_stress, deadline)
        if now < first:
            self._wind(first)
        elif now < deadline and not self.is_stressed():
            # Stress may begin while this client waits; others must not have to wait as long.
            self._wind(min(now + _ASK_EVERY, deadline))
        else:
            self._expiry = None
            expiry()
