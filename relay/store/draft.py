"""One mail's content as it arrives (ports.Draft): in memory while it is little, else in a file.

Knows when content leaves memory and what is counted meanwhile. Does not know rows or commits; a
file is mail only once a row names it, so files come first and go last.
"""

from __future__ import annotations

import asyncio
import os
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import Final

from relay.mail.envelope import QueueId
from relay.mail.ses_headers import NOTHING_ASKED
from relay.ports import Content, ContentFile, SpoolError, SpoolFullError, WithdrawnError
from relay.store.content import Contents
from relay.store.disk import open_to_write, sync_directory
from relay.store.window import Window

# Octets that come in smaller pieces are gathered.
_PIECE: Final = 1024


class Stage(Enum):
    """How far a draft has come. It is committed or discarded once."""

    OPEN = auto()
    BROKEN = auto()
    """Octets were lost: what is left of it can only be discarded."""
    COMMITTING = auto()
    ENDED = auto()


class StoredDraft:
    """Content on its way into the spool."""

    def __init__(
        self,
        queue_id: QueueId,
        contents: Contents,
        window: Window,
        may_grow: Callable[[int], bool],
    ) -> None:
        """`may_grow` is asked whether the disk has room, each time a file is to grow."""
        self.queue_id = queue_id
        self.size = 0
        self.message_id = ""
        self.ses_headers = NOTHING_ASKED
        self.crc32 = 0
        self.stage = Stage.OPEN
        self.withdraw: Callable[[], bool] = lambda: True
        """While it is being committed: take that back; False if it is too late."""
        self._withdrawn = False
        self._contents = contents
        self._window = window
        self._may_grow = may_grow
        self._pieces: list[bytes | bytearray] = []
        # What of the window is this draft's.
        self._held = 0
        self._file: DraftFile | None = None

    @property
    def in_file(self) -> bool:
        """Whether it has outgrown memory."""
        return self._file is not None

    async def append(self, octets: bytes) -> None:
        """Add octets, in memory while they are few; wait while memory is short."""
        if self.stage is not Stage.OPEN:
            raise SpoolError("the draft was committed or discarded already, or is broken")
        count = len(octets)
        window = self._window
        fits = True
        # What is large enough for a file goes there at once: that frees memory.
        if window.is_full_for(count) and not self._file and self._held + count <= window.little:
            fits = await self._wait(count)
        else:
            window.take(count)
        self.size += count
        self.crc32 = zlib.crc32(octets, self.crc32)
        self._keep(octets)
        self._held += count
        if not fits or self._held > window.most_in_memory():
            try:
                await self._spill()
            finally:
                if not fits:
                    window.end()

    async def content(self) -> Content:
        """Return what was appended, to be read until it is discarded; more can be appended after.

        What is in memory goes to its file where memory is short: it may be held for long.
        """
        if self.stage is not Stage.OPEN:
            raise SpoolError("the draft was committed or discarded already, or is broken")
        if self._file is None and self._window.may_linger():
            joined = self._joined()
            self._pieces.append(joined)
            return joined
        await self._spill()
        return ContentFile(self._contents.path(self.queue_id), self.size, self.crc32)

    async def discard(self) -> None:
        """Forget the draft; one that is being committed is withdrawn if there is still time."""
        if self.stage is Stage.ENDED or (self.stage is Stage.COMMITTING and not self.withdraw()):
            return
        self._withdrawn = self.stage is Stage.COMMITTING
        removed = self.drop()
        if removed is not None:
            await asyncio.wait([asyncio.wrap_future(removed)])

    async def seal(self) -> bytes | None:
        """Begin the commit. Make large content durable; return small content for the row to carry.

        Raises WithdrawnError if the draft was discarded meanwhile.
        """
        self.stage = Stage.COMMITTING
        if self._file is None:
            # It is held until the row has been written, which needs no client's doing.
            self._window.begin()
            return self._joined()
        await self._write(self._file.seal)
        if self._withdrawn:
            raise WithdrawnError("the draft was discarded")
        return None

    def close(self) -> None:
        """End the draft; its content is a row's now."""
        was, self.stage = self.stage, Stage.ENDED
        self._let_go()
        if was is Stage.COMMITTING and self._file is None:
            self._window.end()

    def drop(self) -> Future[None] | None:
        """End the draft and remove its file; return the removal, if there is one."""
        self.close()
        return None if self._file is None else self._contents.start(self._file.remove)

    async def _wait(self, count: int) -> bool:
        """Wait until so many octets may be held; False if they may not and must be written."""
        try:
            fits = await self._window.wait(count)
        except asyncio.CancelledError:
            self._break()
            raise
        if self.stage is not Stage.OPEN:
            self._window.give_back(count)
            if not fits:
                self._window.end()
            raise WithdrawnError("the draft was discarded")
        return fits

    async def _spill(self) -> None:
        if self._file is None:
            self._file = DraftFile(self._contents.path(self.queue_id))
        try:
            await self._write(self._file.write)
        except BaseException:
            self._break()
            raise

    async def _write(self, write: Callable[[bytes], None]) -> None:
        """Have what is in memory written; it counts until it is, whoever still waits for that."""
        if not self._may_grow(self._held):
            raise SpoolFullError("content would leave too little free space")
        writing = self._contents.submit(partial(write, self._joined()))
        window = self._window
        count, self._held = self._held, 0
        window.write(count)
        writing.add_done_callback(lambda _: window.written(count))
        await self._contents.outcome_of(writing)

    def _break(self) -> None:
        """Have it committed by no means: it lacks octets that were given to it."""
        if self.stage is Stage.OPEN:
            self.stage = Stage.BROKEN
            self._let_go()

    def _keep(self, octets: bytes) -> None:
        """Keep octets so that they take little more memory than they are counted for.

        A client can send them by twos, and an object for each would take twenty times as much.
        """
        pieces = self._pieces
        if not pieces or len(octets) >= _PIECE:
            pieces.append(octets)
        elif isinstance(pieces[-1], bytearray):
            pieces[-1] += octets
        else:
            pieces.append(bytearray(octets))

    def _joined(self) -> bytes:
        # The first piece is never a bytearray.
        joined = bytes(self._pieces[0]) if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        return joined

    def _let_go(self) -> None:
        """Hold nothing in memory any more."""
        self._pieces.clear()
        count, self._held = self._held, 0
        self._window.give_back(count)


class DraftFile:
    """A file being written. Its methods block; each may be called from another thread.

    The lock keeps a removal behind the write it overtook: a session may be gone while its last
    write is still under way.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._removed = False
        self._lock = threading.Lock()

    def write(self, octets: bytes) -> None:
        """Add octets."""
        with self._lock:
            self._write(octets)

    def seal(self, octets: bytes) -> None:
        """Write the rest; make the file and its name survive power loss."""
        with self._lock:
            self._write(octets)
            if self._removed:
                return
            os.fsync(self._fd)
            self._close()
            sync_directory(self._path.parent)

    def remove(self) -> None:
        """Remove the file; whatever is written later goes nowhere."""
        with self._lock:
            self._removed = True
            self._close()
            self._path.unlink(missing_ok=True)

    def _write(self, octets: bytes) -> None:
        if self._removed:
            return
        if self._fd < 0:
            self._fd = open_to_write(self._path, os.O_WRONLY | os.O_EXCL)
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
