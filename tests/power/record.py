"""A relay under strace: what it does to the disk while clients send and SES has its weather."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from relay.simulator import Message
from tests.crash.campaign import RANDOM, Campaign, Settings
from tests.forked import Nursery
from tests.power.check import Promises
from tests.power.history import History
from tests.power.trace import SYSCALLS, Call, read
from tests.system.house import environment

SPOOL: Final = "var/spool"
"""Where the spool is below the directory of a recording."""

# Longer than anything that is written at once.
_LONGEST: Final = 16 * 1024 * 1024


@dataclass(frozen=True)
class Recording:
    """Everything a relay did to its directory, and all it promised meanwhile."""

    directory: Path
    calls: list[Call]
    promises: Promises
    complaints: list[str]
    """What was wrong with it before any power cut."""


class Tracer:
    """A nursery under strace, and the file with the trace of all its children."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "trace"
        words = ["-f", "--seccomp-bpf", "-qq", "-y", "-xx", "-ttt", "-s", str(_LONGEST)]
        words += ["-e", f"trace={SYSCALLS}", "-e", "signal=none", "-o", str(self._file)]
        # libuv shall not work on files by io_uring, which no trace shows.
        self.nursery = Nursery("strace", *words, environment=environment(UV_USE_IO_URING="0"))

    def record(self, directory: Path, seed: int, sabotage: str = "") -> Recording:
        """Have a relay killed once, started again, come to rest and stopped."""
        before = self._file.stat().st_size if self._file.exists() else 0
        messages: list[Message] = []
        settings = Settings(
            [RANDOM], seed, sabotage, life=0.3, warm=9, clients=3, begins_with_all=True
        )
        campaign = Campaign(directory, settings, self.nursery, messages.append)
        asyncio.run(campaign.run())
        with self._file.open(encoding="ascii") as trace:
            trace.seek(before)
            if before:
                # The nursery was at work; what it did then is nobody's concern.
                trace.readline()
            calls = list(read(trace))
        books = campaign.books
        promises = Promises(History.read(calls, messages), books.letters, books.promised)
        return Recording(directory, calls, promises, books.complaints)

    def close(self) -> None:
        """End it."""
        self.nursery.close()


def why_not() -> str:
    """Say why nothing can be traced here, if so."""
    strace = shutil.which("strace")
    if strace is None:
        return "strace is not installed"
    tried = subprocess.run([strace, "-qq", "-o", os.devnull, "true"], check=False)
    return "strace may not trace here" if tried.returncode else ""


@contextmanager
def tracer(directory: Path) -> Iterator[Tracer]:
    """Have a tracer for a while."""
    opened = Tracer(directory)
    try:
        yield opened
    finally:
        opened.close()
