"""CPU time of a process tree, from /proc. Knows no subject."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_TICK: Final = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the command name (proc(5)); none when gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


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
    """Return user + system CPU seconds of the tree, children already reaped included."""
    total = 0
    for pid in tree(root):
        if fields := _stat(pid):
            # utime, stime, and the same of children waited for.
            total += sum(int(field) for field in fields[11:15])
    return total / _TICK
