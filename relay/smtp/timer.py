"""One timer for all the waits of a connection. Knows loop time; not what is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf


class Timer:
    """Calls somebody when a wait has taken too long.

    A session waits at every command, so there is one timer that is moved only when it would ring
    too late; when it rings too early it is wound again.
    """

    __slots__ = ("_at", "_deadline", "_expiry", "_handle", "_loop", "latest")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None
        self._at = inf  # when it will ring
        self._expiry: Callable[[], object] | None = None
        self._deadline = inf
        self.latest = inf
        """The loop time at which every wait ends, however long it was given."""

    def within(self, seconds: float, expiry: Callable[[], object]) -> None:
        """Have `expiry` called unless the wait ends, or another begins, within so many seconds."""
        self._expiry = expiry
        self._deadline = deadline = min(self._loop.time() + seconds, self.latest)
        if deadline < self._at:
            self._wind(deadline)

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
        if self._loop.time() < self._deadline:
            self._wind(self._deadline)
        else:
            self._expiry = None
            expiry()
