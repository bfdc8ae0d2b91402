"""The octets of mail on their way in and out: small content in memory, large content in files.

Knows files, their durability and their checksums. Does not know the database; a file is mail only
once a row names it, so files come first and go last.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum, auto
from pathlib import Path
from typing import Final, TypeVar

from relay.mail.envelope import QUEUE_ID, QueueId
from relay.ports import SpoolError, SpoolFullError, WithdrawnError
from relay.store.disk import sync_directory

T = TypeVar("T")

IN_MEMORY: Final = 128 * 1024
"""Content beyond this many octets goes to a file, and is buffered in pieces of this size."""

# What all drafts together may hold in memory before each is given less.
_WINDOW: Final = 64 * 1024 * 1024
_IN_LITTLE_MEMORY: Final = 16 * 1024
_THREADS: Final = 4


class Stage(Enum):
    """How far a draft has come. It is committed or discarded once."""

    OPEN = auto()
    COMMITTING = auto()
    ENDED = auto()


class Contents:
    """The two directories that hold large content, and the threads that write there."""

    def __init__(self, spool: Path, failed: Callable[[BaseException], None]) -> None:
        self._content = spool / "content"
        self._corrupt = spool / "corrupt"
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="content")
        self._closed = False
        # Moves under way, so that nothing is brought back before it has been set aside.
        self._moving: dict[QueueId, Future[None]] = {}
        self.buffered = 0
        """Octets of all drafts that are in memory."""

    def path(self, queue_id: QueueId) -> Path:
        """Return where the large content of a mail is."""
        return self._content / queue_id

    def most_in_memory(self) -> int:
        """Return how much one draft may hold in memory at present."""
        return IN_MEMORY if self.buffered < _WINDOW else _IN_LITTLE_MEMORY

    async def do(self, job: Callable[[], T]) -> T:
        """Run a job that blocks; raise what its OSError means to the spool."""
        if self._closed:
            raise SpoolError("the spool is closed")
        try:
            return await self._loop.run_in_executor(self._threads, job)
        except OSError as error:
            self._failed(error)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            kind = SpoolFullError if full else SpoolError
            raise kind(f"content files are out of reach: {error.strerror}") from error

    def start(self, job: Callable[[], None]) -> Future[None] | None:
        """Run a job that blocks, for which nobody need wait; its OSError is reported.

        Once closed, what it would have removed is a stray, which the next start removes.
        """
        return None if self._closed else self._threads.submit(self._quietly, job)

    def remove(self, queue_id: QueueId) -> None:
        """Remove the file of a mail that no row names any more; a crash before leaves a stray."""
        path = self.path(queue_id)
        self.start(lambda: path.unlink(missing_ok=True))

    def set_aside(self, queue_id: QueueId) -> None:
        """Move the file of a damaged mail, if there is one, to where operators look."""
        # A damaged name could lead anywhere.
        if QUEUE_ID.fullmatch(queue_id) is None:
            return
        moving = self.start(lambda: set_aside(self.path(queue_id), self._corrupt))
        if moving is not None:
            self._moving[queue_id] = moving
            moving.add_done_callback(lambda _: self._moving.pop(queue_id, None))

    async def restore(self, queue_id: QueueId, size: int, crc32: int) -> str:
        """Bring the file of a damaged mail back if it is whole; return what is wrong, or nothing.

        Its name is durable in its place then. Raises SpoolError when it cannot be looked at now.
        """
        if QUEUE_ID.fullmatch(queue_id) is None:
            return "its queue id is none"
        moving = self._moving.get(queue_id)
        if moving is not None:
            await asyncio.wait([asyncio.wrap_future(moving)])
        path, aside = self.path(queue_id), self._corrupt / queue_id
        return await self.do(lambda: _restore(path, aside, size, crc32))

    async def close(self) -> None:
        """Finish what was started; start nothing more."""
        self._closed = True
        await self._loop.run_in_executor(None, self._threads.shutdown)

    def _quietly(self, job: Callable[[], None]) -> None:
        try:
            job()
        except OSError as error:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody left to tell
                self._loop.call_soon_threadsafe(self._failed, error)


class StoredDraft:
    """Content on its way into the spool (ports.Draft)."""

    def __init__(self, queue_id: QueueId, contents: Contents) -> None:
        self.queue_id = queue_id
        self.size = 0
        self.crc32 = 0
        self.stage = Stage.OPEN
        self.withdraw: Callable[[], bool] = lambda: True
        """While it is being committed: take that back; False if it is too late."""
        self.withdrawn = False
        self._contents = contents
        self._pieces: list[bytes] = []
        self._held = 0
        self._file: _DraftFile | None = None

    @property
    def in_file(self) -> bool:
        """Whether it has outgrown memory."""
        return self._file is not None

    async def append(self, octets: bytes) -> None:
        """Add octets, in memory while they are few."""
        if self.stage is not Stage.OPEN:
            raise SpoolError("the draft was committed or discarded already")
        count = len(octets)
        self.size += count
        self.crc32 = zlib.crc32(octets, self.crc32)
        self._pieces.append(octets)
        self._held += count
        self._contents.buffered += count
        if self._held > self._contents.most_in_memory():
            if self._file is None:
                self._file = _DraftFile(self._contents.path(self.queue_id))
            file, held = self._file, self._take()
            await self._contents.do(lambda: file.write(held))

    async def discard(self) -> None:
        """Forget the draft; one that is being committed is withdrawn if there is still time."""
        if self.stage is Stage.OPEN or (self.stage is Stage.COMMITTING and self.withdraw()):
            self.withdrawn = self.stage is Stage.COMMITTING
            removed = self.drop()
            if removed is not None:
                await asyncio.wait([asyncio.wrap_future(removed)])

    async def seal(self) -> bytes | None:
        """Make large content durable; return small content, whose row will carry it.

        Raises WithdrawnError if the draft was discarded meanwhile.
        """
        held, file = self._take(), self._file
        if file is None:
            self._contents.buffered += self.size  # until the row has been written
            self._held = self.size
            return held
        await self._contents.do(lambda: file.seal(held))
        if self.withdrawn:
            raise WithdrawnError("the draft was discarded")
        return None

    def close(self) -> None:
        """End the draft; its content is a row's now."""
        self.stage = Stage.ENDED
        self._take()

    def drop(self) -> Future[None] | None:
        """End the draft and remove its file; return the removal, if there is one."""
        self.close()
        return None if self._file is None else self._contents.start(self._file.remove)

    def _take(self) -> bytes:
        """Return what is in memory, and hold it no more."""
        held = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._contents.buffered -= self._held
        self._held = 0
        return held


class _DraftFile:
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
        with self._lock:
            self._removed = True
            self._close()
            self._path.unlink(missing_ok=True)

    def _write(self, octets: bytes) -> None:
        if self._removed:
            return
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, 0o600)
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def _close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


def set_aside(path: Path, directory: Path) -> None:
    """Move a file, if it is there, and make the move survive power loss."""
    with contextlib.suppress(FileNotFoundError):
        path.rename(directory / path.name)
        sync_directory(directory)
        sync_directory(path.parent)


def complaint_of(octets: bytes, size: int, crc32: int) -> str:
    """Return what is wrong with content read back, or nothing."""
    if len(octets) != size:
        return f"its content has {len(octets)} octets instead of {size}"
    if zlib.crc32(octets) != crc32:
        return "its content fails its checksum"
    return ""


def _restore(path: Path, aside: Path, size: int, crc32: int) -> str:
    """Have the file in its place if it is whole, wherever of the two it is found."""
    if not _complaint_of_octets(path, size, crc32):
        return ""
    complaint = _complaint_of_octets(aside, size, crc32)
    if not complaint:
        set_aside(aside, path.parent)
    return complaint


def _complaint_of_octets(path: Path, size: int, crc32: int) -> str:
    """Return what is wrong with the file, which is read through, or nothing."""
    complaint = complaint_of_file(path, size)
    if complaint:
        return complaint
    checksum = 0
    with path.open("rb", buffering=0) as file:
        while octets := file.read(IN_MEMORY):
            checksum = zlib.crc32(octets, checksum)
    return "" if checksum == crc32 else "its content file fails its checksum"


def complaint_of_file(path: Path, size: int) -> str:
    """Return what a look at the file tells is wrong with it, or nothing; it is not read.

    Raises OSError where it cannot be looked at: that says nothing of what is in it.
    """
    try:
        found = path.stat().st_size
    except FileNotFoundError:
        return "its content file is missing"
    return "" if found == size else f"its content file has {found} octets instead of {size}"
