"""The machine's clocks, as the ports want them. Tests bring their own."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path


def boot() -> str:
    """Return a name of this boot of the machine (proc_sys_kernel(5)); empty if there is none.

    Monotonic time goes on within it, whatever processes come and go.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """Return the wall time, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start, never decreasing."""
        return time.monotonic()
