"""The SMTP side alone, beside stock aiosmtpd: CPU per message and connection, and loop stalls.

Both discard the mail and run on uvloop. Runs alternate, so that a busy machine is busy for both.
Does not know what is behind an SMTP side; bench.__main__ measures the whole.
"""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final

from bench import subjects
from bench.processes import cpu_seconds
from bench.stand_in import free_port, wait_for_port

_OURS: Final = "ours"
_STOCK: Final = "stock aiosmtpd"
DOORS: Final = {
    _OURS: ("bench.door_ours",),
    _STOCK: ("bench.door_stock",),
    # As it comes: uvloop is none of its dependencies.
    "the same on asyncio's loop": ("bench.door_stock", "asyncio"),
}
# The largest mail SES takes over its first API, less what we add.
_LARGEST: Final = 10 * 1024 * 1024 - 65536
_UPLOADS: Final = 8


@dataclass(frozen=True, slots=True)
class Task:
    """What the load generator does, and what of it one unit is."""

    name: str
    unit: str
    messages: int
    clients: int
    size: int
    target: float | None
    """The most of stock's CPU that ours may take; None where none was promised."""
    is_kept: bool = True
    """Whether connections are kept."""


TASKS: Final = (
    Task("4 KiB, 10 kept connections", "message", 8000, 10, 4096, 0.20),
    Task("1 MiB, 10 kept connections", "message", 150, 10, 1 << 20, 0.17),
    Task("4 KiB, a connection for each", "message", 3000, 10, 4096, None, is_kept=False),
)


@dataclass(frozen=True, slots=True)
class _Door:
    port: int
    process: subprocess.Popen[str]
    out: IO[str]


@contextmanager
def _opened(words: tuple[str, ...]) -> Iterator[_Door]:
    module, *more = words
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", module, str(port), *more],
        cwd=subjects.ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    try:
        wait_for_port(port)
        yield _Door(port, process, process.stdout)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def _send(port: int, task: Task, messages: int) -> None:
    subprocess.run(
        [
            subjects.load_generator(),
            *(["-d"] if task.is_kept else []),
            *("-s", str(task.clients), "-m", str(messages), "-l", str(task.size)),
            *("-f", "bench@example.com", "-t", "someone@example.net"),
            f"127.0.0.1:{port}",
        ],
        check=True,
    )


def cost(door: _Door, task: Task) -> float:
    """Return the CPU microseconds of one message."""
    _send(door.port, task, max(task.clients, task.messages // 20))
    before = cpu_seconds(door.process.pid)
    _send(door.port, task, task.messages)
    return (cpu_seconds(door.process.pid) - before) / task.messages * 1e6


def stall(door: _Door) -> float:
    """Return the longest stall, in CPU milliseconds, of eight of the largest uploads at once."""
    task = Task("", "", 0, _UPLOADS, _LARGEST, None)
    _send(door.port, task, _UPLOADS)
    door.process.send_signal(signal.SIGUSR1)
    _send(door.port, task, 2 * _UPLOADS)
    door.process.send_signal(signal.SIGUSR2)
    return float(door.out.readline())


def _spread(values: list[float], digits: int) -> str:
    return (
        f"{statistics.median(values):.{digits}f} "
        f"({min(values):.{digits}f}-{max(values):.{digits}f})"
    )


def measure(runs: int) -> None:
    """Measure both in turn, and print the tables."""
    costs: dict[tuple[str, str], list[float]] = {}
    stalls: dict[str, list[float]] = {}
    for _ in range(runs):
        for task in TASKS:
            for name, words in DOORS.items():
                with _opened(words) as door:
                    costs.setdefault((task.name, name), []).append(cost(door, task))
        for name, words in DOORS.items():
            with _opened(words) as door:
                stalls.setdefault(name, []).append(stall(door))
    print(f"The SMTP side alone, mail discarded; {runs} alternating runs: median (min-max)\n")
    print("| CPU us per message |", " | ".join(DOORS), "| ours to stock | target |")
    print("|---" * (len(DOORS) + 3) + "|")
    for task in TASKS:
        by_door = {name: costs[task.name, name] for name in DOORS}
        pairs = zip(by_door[_OURS], by_door[_STOCK], strict=True)
        ratios = [ours / stock for ours, stock in pairs]
        target = "" if task.target is None else f"<= {task.target:.2f}"
        cells = " | ".join(_spread(values, 0) for values in by_door.values())
        print(f"| {task.name} | {cells} | {_spread(ratios, 3)} | {target} |")
    print(f"\n| {_UPLOADS} uploads of {_LARGEST / 1048576:.1f} MiB at once | ", end="")
    print(" | ".join(DOORS), "| target |")
    print("|---" * (len(DOORS) + 2) + "|")
    stalled = " | ".join(_spread(stalls[name], 1) for name in DOORS)
    print(f"| longest stall of the loop, CPU ms | {stalled} | <= 20 |\n")
