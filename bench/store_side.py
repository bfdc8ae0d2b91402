"""The store alone, beside the two plain ways to be durable: CPU, rate, the wait of an accept.

64 producers of 4 KiB, each waiting until its message is durable before it makes the next. A life is
*accept*, which ends there, or *whole*: until the outcome is recorded and the message retired. Each
run is a process of its own, and runs alternate. Does not know how any of them works.

What is compared is not the same: a file per message has no mark before the attempt and no record of
the outcome, and cannot say what is due; SQLite with a commit a step has all of it, but for the
recipients' own rows and the ledger. Both have threads for producers, which cost less than a loop.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from bench import subjects

_PRODUCERS: Final = 64
_SIZE: Final = 4096
_LIVES: Final = ("accept", "whole")
_OURS: Final = "this relay's store"
_FILES: Final = "a file and its fsyncs each"
_SQLITE: Final = "SQLite, a commit each step"
# Fewer where each takes longer: a run is some seconds.
_STORES: Final = {
    _OURS: (("bench.store_ours",), 12_800),
    _FILES: (("bench.store_plain", "files"), 5_120),
    _SQLITE: (("bench.store_plain", "sqlite"), 2_560),
}
_CPU_TARGET: Final = 0.12
_RATE_TARGET: Final = 3.0
_SYNCS: Final = 500


class Run(NamedTuple):
    """What one run cost: CPU microseconds a message, messages a second, the p99 of an accept."""

    cpu_us: float
    rate: float
    p99_ms: float


def _run(store: str, life: str, directory: Path) -> Run:
    (module, *how), messages = _STORES[store]
    words = (*how, life, str(directory), str(messages), str(_PRODUCERS), str(_SIZE))
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=subjects.ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    return Run(**json.loads(done.stdout))


def _fdatasync_p99(directory: Path) -> float:
    """Return the milliseconds that 99 of 100 fdatasyncs of a 4 KiB append did not exceed."""
    took = []
    fd = os.open(directory / "appended", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for _ in range(_SYNCS):
        os.write(fd, b"x" * _SIZE)
        began = time.perf_counter()
        os.fdatasync(fd)
        took.append(time.perf_counter() - began)
    os.close(fd)
    return sorted(took)[_SYNCS * 99 // 100] * 1e3


def _spread(values: list[float], digits: int) -> str:
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def measure(runs: int) -> None:
    """Measure all in turn, and print the table."""
    found: dict[tuple[str, str], list[Run]] = {}
    syncs = []
    for _ in range(runs):
        for life in _LIVES:
            for store in _STORES:
                # Not in /tmp, which may live in memory.
                with tempfile.TemporaryDirectory(dir=subjects.ROOT) as name:
                    found.setdefault((life, store), []).append(_run(store, life, Path(name)))
        with tempfile.TemporaryDirectory(dir=subjects.ROOT) as name:
            syncs.append(_fdatasync_p99(Path(name)))
    print(
        f"The store alone, {_PRODUCERS} producers of {_SIZE} octets; "
        f"{runs} alternating runs: median (min-max)\n"
    )
    print("| life | store | CPU us per message | messages/s | accept p99, ms |")
    print("|---|---|---|---|---|")
    for (life, store), several in found.items():
        cells = (
            _spread([run.cpu_us for run in several], 0),
            _spread([run.rate for run in several], 0),
            _spread([run.p99_ms for run in several], 1),
        )
        print(f"| {life} | {store} |", " | ".join(cells), "|")
    print("\n| | ours | target |\n|---|---|---|")
    for life in _LIVES:
        ours, files, sqlite = (found[life, store] for store in (_OURS, _FILES, _SQLITE))
        cpu = [a.cpu_us / b.cpu_us for a, b in zip(ours, files, strict=True)]
        rate = [a.rate / b.rate for a, b in zip(ours, sqlite, strict=True)]
        least = f"<= {_CPU_TARGET}" if life == "whole" else ""
        print(f"| {life}: CPU to that of files | {_spread(cpu, 2)} | {least} |")
        print(f"| {life}: rate to that of SQLite | {_spread(rate, 1)} | >= {_RATE_TARGET:g} |")
    p99 = [run.p99_ms for run in found["accept", _OURS]]
    bounds = [3 * sync + 5 for sync in syncs]
    print(f"| accept p99, ms | {_spread(p99, 1)} | <= {_spread(bounds, 1)} |")
    print(f"| (fdatasync p99 of this disk, ms | {_spread(syncs, 1)} | ) |\n")
