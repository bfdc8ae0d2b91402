"""An event loop whose time stands still until it is moved, and which runs only when it is stepped.

So a session takes microseconds however long its deadlines are, a hang is a fact instead of a
suspicion, and a script always plays the same. Knows no SMTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from typing import Any, Final

# Rounds of the loop after which what is going on is taken to go on for ever.
_ROUNDS: Final = 5000


class EndlessError(Exception):
    """The loop was still busy after more rounds than any session needs."""


class _NoSelector(selectors.SelectSelector):
    """Waits for nothing: there are no sockets, and time is not passed by waiting."""

    def select(self, timeout: float | None = None) -> list[Any]:
        return []


class SteppedLoop(asyncio.SelectorEventLoop):
    """The loop all fuzzed sessions run on."""

    # What BaseEventLoop calls its own; stepping it is not in asyncio's interface.
    _ready: Any
    _scheduled: Any

    def __init__(self) -> None:
        super().__init__(_NoSelector())
        self._now = 1000.0
        # Timers ring that are due within it: what is left of a float after a million sessions.
        self._clock_resolution = 1e-3
        self.complaints: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.complaints.append(context))

    def time(self) -> float:
        """Return the time that was last moved to."""
        return self._now

    def step(self) -> None:
        """Run what is ready now, once."""
        self._run_once()  # type: ignore[attr-defined]

    def settle(self) -> None:
        """Run until nothing is ready; raise EndlessError."""
        for _ in range(_ROUNDS):
            if not self._ready:
                return
            self._run_once()  # type: ignore[attr-defined]
        raise EndlessError(f"busy after {_ROUNDS} rounds: {list(self._ready)[:3]}")

    def next_timer(self) -> float | None:
        """Return when the next timer rings, or None."""
        timers = [timer.when() for timer in self._scheduled if not timer.cancelled()]
        return min(timers, default=None)

    def move_to(self, when: float) -> None:
        """Let time pass, and all timers on the way ring."""
        self.settle()
        while (rings := self.next_timer()) is not None and rings <= when:
            self._now = max(self._now, rings)
            self._run_once()  # type: ignore[attr-defined]
            self.settle()
        self._now = max(self._now, when)

    def abandon(self) -> None:
        """Close, whatever is still going on: it is told to end first, or it would complain."""
        for task in asyncio.all_tasks(self):
            task.cancel()
        with contextlib.suppress(BaseException):
            self.settle()
        self.close()

    async def start_tls(self, transport: Any, *_: Any, **__: Any) -> Any:
        """Pretend that the handshake succeeded: what comes from now on came through TLS."""
        await asyncio.sleep(0)
        if not transport.is_closing():
            transport.is_secure = True
        return transport
