"""Where it gets tight: a million queued, ten thousand idle, two hundred large ones at once; stalls.

Ours alone, once each. What is bounded is bounded by design, not by what others do.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from bench.client import idle
from bench.figures import spread
from bench.filled import Filling, fill
from bench.load import Run, complete, measure
from bench.points import BASE, LARGEST, Point
from bench.processes import peak, resident
from bench.stand_in import StandIn, ses_stand_in
from bench.subjects import Running, allow_descriptors, directory_on_disk, relay

_QUEUED: Final = Filling(1_000_000, 1024, scheduled=1)
SENDERS: Final = """\
  - {name: app, networks: [10.1.0.0/16], from: ["@example.com"]}
  - {name: newsletter, networks: [10.2.0.0/16], from: ["@example.com"]}
"""
"""What the queued mail belongs to. The third sender of bench.filled is configured nowhere."""
_IDLE: Final = 10_000
# Each connection may need two descriptors; these are for all else.
_RESERVED: Final = 1000
# One sender may have a quarter of a listener's connections.
_PLACES: Final = 5 * _IDLE
_UPLOADS: Final = Point("200 x 10 MiB at once", 200, size=LARGEST, clients=200)
_STALLED: Final = ("base", "100 clients", "100 KiB", "1 MiB", "10 MiB")
# Of what is compared to itself without a crowd.
_RUNS: Final = 3
_LONGEST_STALL: Final = 20.0
_MOST_IDLE: Final = 100.0
_MOST_GROWN: Final = 100.0
_FLAT: Final = 1.2


class Corner(NamedTuple):
    """One figure, and the most it may be (None where nothing was promised)."""

    what: str
    unit: str
    found: float
    bound: float | None = None


def measure_corners(points: Sequence[Point], part: float) -> list[Corner]:
    """Measure all of them."""
    places = (allow_descriptors() - _RESERVED) // 2
    with ses_stand_in() as ses:
        return [
            *_queued(ses, part),
            *_idle(ses, part, min(_IDLE, places)),
            *_at_once(ses, part),
            *_stalls(ses, [point for point in points if point.name in _STALLED], part),
        ]


def _say(what: str, began: float) -> None:
    print(f"{what}: {time.monotonic() - began:.0f} s", file=sys.stderr)


def _middle(running: Running, point: Point) -> Run:
    """Return each figure's median of a few runs of one server."""
    runs = [measure(running, point) for _ in range(_RUNS)]
    return Run(*(spread(figures).median for figures in zip(*runs, strict=True)))


def _beside(what: str, one: Run, empty: Run) -> list[Corner]:
    return [
        Corner(f"{what}: CPU to that without", "ratio", one.cpu_ms / empty.cpu_ms, _FLAT),
        Corner(
            f"{what}: end-to-end rate without to that", "ratio", empty.relayed / one.relayed, _FLAT
        ),
        Corner(f"{what}: accept p99", "ms", one.accept_p99),
        Corner(f"{what}: accept p99 without", "ms", empty.accept_p99),
    ]


def _queued(ses: StandIn, part: float) -> list[Corner]:
    """Measure the base point while much mail waits for its next attempt."""
    began = time.monotonic()
    point = BASE.share(part)
    filling = _QUEUED._replace(messages=max(1, round(_QUEUED.messages * part)))
    with directory_on_disk() as directory:
        spool = directory / "spool"
        fill(spool, filling, now=datetime.now(UTC))
        _say(f"{filling.messages} queued", began)
        with relay(point, ses, spool=spool, senders=SENDERS) as running:
            full = _middle(running, point)
    with relay(point, ses, senders=SENDERS) as running:
        empty = _middle(running, point)
    what = f"{filling.messages:,} messages queued"
    _say(what, began)
    return [*_beside(what, full, empty), Corner(f"{what}: memory at most", "MiB", full.peak)]


def _idle(ses: StandIn, part: float, most: int) -> list[Corner]:
    """Measure memory, and the base point, while many connections say nothing."""
    began = time.monotonic()
    point, count = BASE.share(part), max(1, round(most * part))
    with relay(point, ses, connections=_PLACES) as running:
        empty = _middle(running, point)
        before = resident(running.pid)
        opened = idle(running.port, count)
        try:
            grown = resident(running.pid) - before
            full = _middle(running, point)
        finally:
            for connection in opened:
                connection.close()
    what = f"{count:,} idle connections"
    _say(what, began)
    return [
        Corner("memory after the base point", "MiB", before, _MOST_IDLE),
        Corner(f"{what}: memory of each", "KiB", grown * 1024 / count),
        *_beside(what, full, empty),
    ]


def _at_once(ses: StandIn, part: float) -> list[Corner]:
    """Measure memory and stalls while so many clients send the largest mail."""
    began = time.monotonic()
    clients = max(2, round(_UPLOADS.clients * part))
    point = replace(_UPLOADS, messages=clients, clients=clients)
    with directory_on_disk() as directory:
        stalls = directory / "stalls"
        with relay(point, ses, launcher=("bench.watched", str(stalls))) as running:
            complete(running, BASE.share(part))
            before = resident(running.pid)
            stall = _stall(running, point, stalls)
            grown = peak(running.pid) - before
    what = f"{clients} x 10 MiB at once"
    _say(what, began)
    return [
        Corner(f"{what}: memory above idle", "MiB", grown, _MOST_GROWN),
        Corner(f"{what}: longest stall of the loop, CPU", "ms", stall, _LONGEST_STALL),
    ]


def _stalls(ses: StandIn, points: Sequence[Point], part: float) -> list[Corner]:
    """Find the longest stall at each point."""
    began, found = time.monotonic(), []
    for point in points:
        scaled = point.share(part)
        with directory_on_disk() as directory:
            stalls = directory / "stalls"
            with relay(scaled, ses, launcher=("bench.watched", str(stalls))) as running:
                complete(running, scaled)
                stall = _stall(running, scaled, stalls)
        what = f"{point.name}: longest stall of the loop, CPU"
        found.append(Corner(what, "ms", stall, _LONGEST_STALL))
    _say("stalls", began)
    return found


def _stall(running: Running, point: Point, stalls: Path) -> float:
    """Send the point's messages and return the longest stall meanwhile, in CPU milliseconds."""
    os.kill(running.pid, signal.SIGUSR1)
    complete(running, point)
    os.kill(running.pid, signal.SIGUSR2)
    deadline = time.monotonic() + 30
    while not (text := stalls.read_text()).endswith("\n"):
        if time.monotonic() > deadline:
            raise SystemExit("bench: the watched relay does not say how long it stalled")
        time.sleep(0.05)
    return float(text)
