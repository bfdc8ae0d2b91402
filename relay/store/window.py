"""How much content all drafts together hold in memory, and who waits while that is too much (R9).

Knows counts and an order of waiting. Does not know drafts, files or commits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Final

IN_MEMORY: Final = 128 * 1024
"""Content beyond this many octets goes to a file, and is buffered in pieces of this size."""

_SIZE: Final = 64 * 1024 * 1024
_LITTLE: Final = 16 * 1024


class Window:
    """The octets of content in memory. For the loop alone.

    Up to `size` octets each draft may hold `much`, above that `little`; what is more goes to its
    file. Above twice the size, a draft that has little and no file waits before it takes more.
    It waits for commits: they end without any client's doing. When none is under way, it is
    clients that do not go on who hold the memory; then who has waited longest goes to a file too.
    """

    def __init__(self, size: int = _SIZE, *, much: int = IN_MEMORY, little: int = _LITTLE) -> None:
        self.little: Final = little
        self._size = size
        self._most = 2 * size
        self._much = much
        self.kept = 0
        """Octets of open drafts, and of commits that are not durable yet."""
        self.writing = 0
        """Octets on their way into files. Nobody waits for these: they are where they should go."""
        self._freeing = 0
        self._waiting: deque[tuple[int, asyncio.Future[bool]]] = deque()

    @property
    def held(self) -> int:
        """All octets in memory."""
        return self.kept + self.writing

    def most_in_memory(self) -> int:
        """Return how much one draft may hold at present."""
        if self.held <= self._size:
            return self._much
        return self.little if self.kept <= self._most else 0

    def may_linger(self) -> bool:
        """Whether a draft may stay in memory until SES has answered, which can take a minute.

        Up to half of the size: what others need is not to be kept from them by a slow SES.
        """
        return self.kept <= self._size // 2

    def is_full_for(self, count: int) -> bool:
        """Whether who wants to hold so many octets more has to wait."""
        return self.kept + count > self._most or bool(self._waiting)

    async def wait(self, count: int) -> bool:
        """Wait, first come first served, until so many octets fit; then they are taken.

        False where they do not and nothing is under way that would make room: then they are to
        leave memory at once, with `end` called afterwards. When cancelled, nothing is taken.
        """
        granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, granted))
        self._go_on()
        try:
            return await granted
        except asyncio.CancelledError:
            if granted.cancelled():
                with contextlib.suppress(ValueError):
                    self._waiting.remove((count, granted))
                self._go_on()
            else:
                # It was let through in the moment of the cancellation.
                self.give_back(count)
                if not granted.result():
                    self.end()
            raise

    def take(self, count: int) -> None:
        """Count octets that a draft holds."""
        self.kept += count

    def give_back(self, count: int) -> None:
        """Count octets no more: they have left memory."""
        self.kept -= count
        self._go_on()

    def write(self, count: int) -> None:
        """Take note that octets are on their way into a file."""
        self.writing += count
        self.give_back(count)

    def written(self, count: int) -> None:
        """Take note that these are there."""
        self.writing -= count

    def begin(self) -> None:
        """Take note that something has begun that frees memory without any client's doing."""
        self._freeing += 1

    def end(self) -> None:
        """Take note that this has ended."""
        self._freeing -= 1
        self._go_on()

    def _go_on(self) -> None:
        """Let through who has waited longest, as long as there is room or no hope of it."""
        while self._waiting:
            count, granted = self._waiting[0]
            fits = self.kept + count <= self._most
            if not (fits or granted.cancelled()) and self._freeing:
                return
            self._waiting.popleft()
            if granted.cancelled():
                continue
            self.take(count)
            if not fits:
                self.begin()
            granted.set_result(fits)
