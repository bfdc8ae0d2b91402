"""The files that hold large content: the threads that work on them, and whether they are whole.

Knows files, their durability and their checksums. Does not know the database, or how content
arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from relay.mail.envelope import QUEUE_ID, QueueId
from relay.ports import SpoolError, SpoolFullError
from relay.store.disk import sync_directory

T = TypeVar("T")

_THREADS: Final = 4
_PIECE: Final = 128 * 1024  # octets read at once


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

    def path(self, queue_id: QueueId) -> Path:
        """Return where the large content of a mail is."""
        return self._content / queue_id

    async def do(self, job: Callable[[], T]) -> T:
        """Run a job that blocks; raise what its OSError means to the spool."""
        return await self.outcome_of(self.submit(job))

    def submit(self, job: Callable[[], T]) -> asyncio.Future[T]:
        """Begin a job that blocks, whose outcome is then to be asked for."""
        if self._closed:
            raise SpoolError("the spool is closed")
        return self._loop.run_in_executor(self._threads, job)

    async def outcome_of(self, job: asyncio.Future[T]) -> T:
        """Return what a job returned; raise what its OSError means to the spool.

        When cancelled, the job goes on.
        """
        try:
            return await asyncio.shield(job)
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

    def forget(self, queue_id: QueueId) -> None:
        """Remove the file of a mail that was dropped, set aside or not."""
        # A damaged name could lead anywhere.
        if QUEUE_ID.fullmatch(queue_id) is None:
            return
        # In this order: a move that is under way goes from the first to the second.
        paths = (self.path(queue_id), self._corrupt / queue_id)

        def remove() -> None:
            for path in paths:
                path.unlink(missing_ok=True)

        self.start(remove)

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
    if not complaint_of_octets(path, size, crc32):
        return ""
    complaint = complaint_of_octets(aside, size, crc32)
    if not complaint:
        set_aside(aside, path.parent)
    return complaint


def complaint_of_octets(path: Path, size: int, crc32: int) -> str:
    """Return what is wrong with the file, which is read through, or nothing; may raise OSError."""
    complaint = complaint_of_file(path, size)
    if complaint:
        return complaint
    checksum = 0
    with path.open("rb", buffering=0) as file:
        while octets := file.read(_PIECE):
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
