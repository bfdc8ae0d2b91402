"""How long an event loop does one thing, by the CPU time of its thread.

Wall time would count what other processes on the machine take. Off until SIGUSR1 turns it on, for
it keeps the loop turning; SIGUSR2 prints the longest so far and turns it off.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import IO


def watch(
    loop: asyncio.AbstractEventLoop, thread_time: Callable[[], float], out: IO[str] | None = None
) -> None:
    """Let signals say when to watch; milliseconds are written to standard output by default."""
    watching = _Watch(loop, thread_time, out or sys.stdout)
    loop.add_signal_handler(signal.SIGUSR1, watching.begin)
    loop.add_signal_handler(signal.SIGUSR2, watching.end)


class _Watch:
    """Runs once in every round of the loop and sees how much CPU time the round took."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, thread_time: Callable[[], float], out: IO[str]
    ) -> None:
        self._loop = loop
        self._thread_time = thread_time
        self._out = out
        self._is_on = False
        self._longest = 0.0
        self._last = 0.0

    def begin(self) -> None:
        self._is_on, self._longest, self._last = True, 0.0, self._thread_time()
        self._loop.call_soon(self._look)

    def end(self) -> None:
        self._is_on = False
        print(f"{self._longest * 1000:.3f}", file=self._out, flush=True)

    def _look(self) -> None:
        now = self._thread_time()
        self._longest = max(self._longest, now - self._last)
        self._last = now
        if self._is_on:
            self._loop.call_soon(self._look)
