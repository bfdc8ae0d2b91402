"""One daemon per spool: an exclusive lock on its directory.

Knows the lock file only. The kernel drops the lock with the process, however that ends, so there
is never a stale one to clear.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from relay.ports import SpoolError
from relay.store.disk import open_to_write

LOCK_NAME: Final = "lock"


class SpoolLock:
    """The lock of one spool directory, held from its making until `release`."""

    def __init__(self, directory: Path) -> None:
        self._fd = open_to_write(directory / LOCK_NAME, os.O_RDWR)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip()
            os.close(self._fd)
            raise SpoolError(
                f"spool {directory} is in use by process {holder or 'unknown'}; "
                "stop that daemon first, or give this one another spool.path"
            ) from None
        # For people: what counts is the lock, not the number.
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Let another daemon have the spool."""
        os.close(self._fd)
