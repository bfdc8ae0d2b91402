"""What a start or an end still waits for, told again and again: to systemd, and in the log.

Part of the composition root. Knows numbers; waits for nothing itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from relay.facts import Facts
from relay.supervisor import Supervisor

TELL_EVERY: Final = 5.0  # seconds
# How long systemd may believe it, in seconds.
_BELIEVED: Final = 30.0
# After so long, in seconds, nothing more is told, and systemd's own patience decides.
_LONGEST: Final = 1800.0


@asynccontextmanager
async def starting(supervisor: Supervisor) -> AsyncIterator[None]:
    """Let systemd wait for as long as a spool needs to be put in order."""
    async with _repeating(lambda: supervisor.starting(_BELIEVED)):
        yield


@asynccontextmanager
async def draining(
    supervisor: Supervisor, facts: Facts, under_way: Callable[[], tuple[int, int]]
) -> AsyncIterator[None]:
    """Say how many calls to SES, and how many sessions, are still under way."""

    def tell() -> None:
        calls, sessions = under_way()
        facts.service("draining", in_flight=calls, sessions=sessions)
        words = f"draining: {calls} calls to SES and {sessions} sessions under way"
        supervisor.draining(words, _BELIEVED)

    async with _repeating(tell):
        yield


@asynccontextmanager
async def _repeating(tell: Callable[[], None]) -> AsyncIterator[None]:
    async def again() -> None:
        for _ in range(int(_LONGEST / TELL_EVERY)):
            await asyncio.sleep(TELL_EVERY)
            tell()

    tell()
    telling = asyncio.create_task(again(), name="progress")
    try:
        yield
    finally:
        telling.cancel()
