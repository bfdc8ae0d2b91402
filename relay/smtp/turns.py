"""How long all sessions together may work on content before the loop looks at anything else.

Knows the event loop. Does not know sessions, nor what they do in their time.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final

# Seconds of one round. A round has two halves, what sockets bring and what was put off, and each
# may have this; then every upload may still have one buffer of 256 KB in hand.
_ROUND: Final = 0.004


class Turns:
    """The time that is left in this round of the loop, whoever uses it.

    libuv reads up to 32 buffers of 256 KB from a socket before it turns to the next (uv__read), so
    that a few fast uploads would keep everybody else waiting for tens of milliseconds.
    """

    __slots__ = ("_ends", "_is_round")

    def __init__(self) -> None:
        self._is_round = False
        self._ends = 0.0

    def is_over(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether others are to be let in; the first to ask in a round begins its time."""
        if self._is_round:
            return monotonic() > self._ends
        self._is_round = True
        self._ends = monotonic() + _ROUND
        # What is put off now runs when all sockets were looked at once.
        loop.call_soon(self._end)
        return False

    def _end(self) -> None:
        self._is_round = False
