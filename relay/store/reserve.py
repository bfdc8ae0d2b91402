"""Disk space put by for what must be written although the disk is full: outcomes of calls to SES.

Knows one file that holds nothing but its place. Does not know when it is given up or made again.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from relay.store.disk import open_to_write

NAME: Final = "reserve"
SIZE: Final = 64 * 1024 * 1024
"""Octets. An outcome takes some 30 KiB of log, so those of all lanes fit many times."""


class Reserve:
    """The reserve file of one spool directory. For one thread at a time."""

    def __init__(self, directory: Path, size: int = SIZE) -> None:
        self._path = directory / NAME
        self._size = size
        self.octets = 0
        """What is put by now; read from any thread."""

    def make(self) -> None:
        """Put the space by, unless it is; raise OSError, with nothing taken, where there is none.

        There must be a quarter more than it takes: what is left then is what service resumes on.
        """
        if self._is_there():
            self.octets = self._size
            return
        disk = os.statvfs(self._path.parent)
        # Asked first: to try would take from others all there is, for a moment, again and again.
        if disk.f_bavail * disk.f_frsize < self._size * 5 // 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        fd = open_to_write(self._path, os.O_WRONLY)
        try:
            # The blocks themselves, not only a length (posix_fallocate(3)).
            os.posix_fallocate(fd, 0, self._size)
        except OSError:
            # What it got before the disk was full would be missing elsewhere.
            self.release()
            raise
        finally:
            os.close(fd)
        self.octets = self._size

    def _is_there(self) -> bool:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        return found.st_size == self._size and found.st_blocks * 512 >= self._size

    def release(self) -> bool:
        """Give the space back to the disk; False where there was none."""
        self.octets = 0
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
