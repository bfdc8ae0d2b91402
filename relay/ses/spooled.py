"""The request of a large mail, whose content stays in its spool file: measured first, then sent.

A signature covers the digest of the body, so the file is read twice; what was encoded the first
time is kept while there is room for it. Knows files and threads; not who sends the slices.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Final
from zlib import crc32

from relay.ports import ContentError, ContentFile
from relay.ses.frame import SLICE, Frame

KEPT: Final = 16 * 1024 * 1024
"""Octets of content kept encoded, over all calls of an account; beyond it files are read twice."""


@dataclass(frozen=True, slots=True)
class SpooledBody:
    """A request body in slices. `digest` and `length` are those of the whole."""

    digest: str
    length: int
    slices: int
    _frame: Frame
    _content: ContentFile
    _threads: Executor
    _kept: list[bytes] | None

    async def slice(self, number: int) -> bytes:
        """Return that slice of the body; the first and the last have the frame with them."""
        if self._kept is not None:
            octets = self._kept[number]
        else:
            loop = asyncio.get_running_loop()
            octets = await loop.run_in_executor(self._threads, self._read, number)
        if number == 0:
            octets = self._frame.before + octets
        return octets + self._frame.after if number == self.slices - 1 else octets

    def _read(self, number: int) -> bytes:
        # Opened anew each time: nothing is left open when a call is abandoned half-way.
        start = number * SLICE
        with self._content.path.open("rb", buffering=0) as file:
            file.seek(start)
            octets = file.read(SLICE)
        if len(octets) != min(SLICE, self._content.size - start):
            raise ContentError("the content shrank while it was sent")
        return self._frame.encode(octets)


class SpooledBodies:
    """Makes the request bodies of one account's large mail."""

    def __init__(self, threads: Executor, kept: int = KEPT) -> None:
        self._threads = threads
        self._room = kept

    @asynccontextmanager
    async def measured(self, frame: Frame, content: ContentFile) -> AsyncIterator[SpooledBody]:
        """Read the file through; raise OSError when it cannot be.

        Raises ContentError unless length and checksum are those of what was spooled.
        """
        size = content.size
        room = size if size <= self._room else 0
        self._room -= room
        kept: list[bytes] | None = [] if room else None
        loop = asyncio.get_running_loop()
        try:
            digest, length = await loop.run_in_executor(
                self._threads, _measure, frame, content, kept
            )
            slices = max(1, -(-size // SLICE))
            yield SpooledBody(digest, length, slices, frame, content, self._threads, kept)
        finally:
            self._room += room


def _measure(frame: Frame, content: ContentFile, kept: list[bytes] | None) -> tuple[str, int]:
    digest, found, checksum = sha256(frame.before), 0, 0
    length = len(frame.before) + len(frame.after)
    with content.path.open("rb", buffering=0) as file:
        while octets := file.read(SLICE):
            found += len(octets)
            if found > content.size:
                break
            checksum = crc32(octets, checksum)
            encoded = frame.encode(octets)
            digest.update(encoded)
            length += len(encoded)
            if kept is not None:
                kept.append(encoded)
    check_size(found, content.size)
    if checksum != content.crc32:
        raise ContentError("the content fails its checksum")
    digest.update(frame.after)
    return digest.hexdigest(), length


def check_size(found: int, spooled: int) -> None:
    """Raise ContentError unless the content is as long as what was spooled."""
    if found != spooled:
        raise ContentError(f"the content has {found} octets, {spooled} were spooled")
