"""What a process of ours holds: memory at its peak and now, and descriptors. From /proc (proc(5))."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

MIB = 1024 * 1024


def resident(pid: int) -> int:
    """Return the resident memory, in octets."""
    return _status(pid, "VmRSS")


def forget_peak(pid: int) -> None:
    """Let the peak be what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak(pid: int) -> int:
    """Return the most that was resident since the peak was forgotten: no sample misses it."""
    return _status(pid, "VmHWM")


def descriptors(pid: int) -> int:
    """Return how many files and sockets are open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _status(pid: int, name: str) -> int:
    match = re.search(
        rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
    )
    assert match is not None
    return int(match[1]) * 1024


async def settled(pid: int, most: int) -> int:
    """Return the descriptors once they are at most so many; what they are then, if never."""
    for _ in range(500):
        if (now := descriptors(pid)) <= most:
            return now
        # Another process closes them, and tells nobody.
        await asyncio.sleep(0.01)
    return descriptors(pid)
