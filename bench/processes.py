"""What a process tree has cost, from /proc: CPU, memory, writing. Knows no subject."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path
from typing import Final

_TICK: Final = os.sysconf("SC_CLK_TCK")
# CPUCLOCK_SCHED of the kernel: what the scheduler has counted.
_SCHEDULED: Final = 2


def _read(pid: int, name: str) -> str:
    """Return a file of proc(5); nothing when the process is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the command name; none when gone."""
    return _read(pid, "stat").rpartition(")")[2].split()


def _figure(pid: int, name: str, line: str) -> int:
    found = re.search(rf"^{line}:\s+(\d+)", _read(pid, name), re.MULTILINE)
    return int(found[1]) if found else 0


def tree(root: int) -> set[int]:
    """Return the process and all its living descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    found = {root}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found


def cpu_seconds(root: int) -> float:
    """Return user + system CPU seconds of the tree, children already reaped included.

    Of the living by their CPU clock, in nanoseconds: proc(5) cuts off what is less than a hundredth
    of a second, in every process, and of a hundred of them that is most of it.
    """
    total, ticks = 0.0, 0
    for pid in tree(root):
        # clock_getcpuclockid(3), which Python has not: all threads, also those that ended.
        with contextlib.suppress(OSError):
            total += time.clock_gettime((~pid << 3) | _SCHEDULED)
        if fields := _stat(pid):
            # utime and stime of children waited for.
            ticks += sum(int(field) for field in fields[13:15])
    return total + ticks / _TICK


def written(root: int) -> int:
    """Return the octets the tree has given to disks, children already reaped included."""
    return sum(_figure(pid, "io", "write_bytes") for pid in tree(root))


def resident(root: int) -> float:
    """Return the MiB of memory the tree has now; what processes share counts for each."""
    return sum(_figure(pid, "status", "VmRSS") for pid in tree(root)) / 1024


def peak(root: int) -> float:
    """Return the most MiB each process of the tree ever had, added up."""
    return sum(_figure(pid, "status", "VmHWM") for pid in tree(root)) / 1024
