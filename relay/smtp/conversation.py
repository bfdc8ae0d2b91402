"""What a session waits for in the middle of something: the wire wakes it, futures do by the loop.

Knows futures. Does not know what is heard, or said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any, Final

_MORE: Final = object()


@coroutine
def more() -> Generator[object, None, None]:
    """Wait until the wire has brought something; only within a Conversation."""
    yield _MORE


class Conversation:
    """Runs a coroutine as an asyncio.Task would, but for the wait that is most frequent.

    What awaits `more` is resumed by `heard`, at once and where that is called. A task would be
    resumed one round of the loop later, after a future, a callback and another look at all sockets:
    more than it takes to answer most clients.

    `ended` is called when the coroutine has ended, with the error it raised or None; not if it ends
    in `begin`. It is no task: within it there is no asyncio.current_task, and so no
    asyncio.timeout; what needs either is given a task of its own.
    """

    __slots__ = ("_awaited", "_coroutine", "_ended", "_loop", "is_listening")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        spoken: Coroutine[Any, None, None],
        ended: Callable[[Exception | None], object],
    ) -> None:
        self._loop = loop
        self._coroutine = spoken
        self._ended = ended
        self._awaited: asyncio.Future[Any] | None = None
        self.is_listening = False
        """Whether it waits for more to come over the wire."""

    def begin(self) -> bool:
        """Run to where it first waits. True if it ended before; what it raises then is raised."""
        try:
            awaited = self._coroutine.send(None)
        except StopIteration:
            return True
        self._wait_for(awaited)
        return False

    def heard(self) -> None:
        """Resume it if it is listening."""
        if self.is_listening:
            self._resume(None)

    def interrupt(self, error: Exception) -> None:
        """Raise an error where it is listening; where it is not, do nothing."""
        if self.is_listening:
            self._resume(error)

    def cancel(self) -> None:
        """Cancel the future it awaits, if it awaits one."""
        if self._awaited is not None:
            self._awaited.cancel()

    def _resume(self, error: Exception | None) -> None:
        self.is_listening = False
        spoken = self._coroutine
        try:
            awaited = spoken.send(None) if error is None else spoken.throw(error)
        except StopIteration:
            self._ended(None)
        except Exception as raised:  # noqa: BLE001 - as a task, it hands on whatever it raises
            self._ended(raised)
        else:
            self._wait_for(awaited)

    def _wait_for(self, awaited: Any) -> None:
        if awaited is _MORE:
            self.is_listening = True
        elif awaited is None:
            # A bare yield, which is what asyncio.sleep(0) is: others first.
            self._loop.call_soon(self._resume, None)
        else:
            # As Task does: by this mark a future tells `await` from a stray yield.
            awaited._asyncio_future_blocking = False  # noqa: SLF001
            self._awaited = awaited
            awaited.add_done_callback(self._done)

    def _done(self, _: asyncio.Future[Any]) -> None:
        self._awaited = None
        self._resume(None)
