"""Waiting for something to become true, without polling and without sleeping.

Knows nothing of what is waited for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Watch:
    """Waiters, each with a condition. Whoever changes something says so."""

    def __init__(self) -> None:
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def changed(self) -> None:
        """Look at every condition again. Call it from the event loop's thread."""
        for holds, waiter in self._waiters:
            if waiter.done():
                continue
            try:
                if holds():
                    waiter.set_result(None)
            except Exception as error:  # noqa: BLE001 - it is the waiter's own, and goes to it
                waiter.set_exception(error)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return once the condition holds; at once when it already does."""
        if holds():
            return
        entry = (holds, asyncio.get_running_loop().create_future())
        self._waiters.append(entry)
        try:
            await entry[1]
        finally:
            self._waiters.remove(entry)
