"""Sends the load of a point, and measures what that costs a server.

Knows neither which server it is nor how it works.
"""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Final, NamedTuple

from bench import processes
from bench.client import crowd, probe
from bench.figures import percentile
from bench.points import Point
from bench.subjects import Running, load_generator

_PATIENCE: Final = 60.0  # seconds
_POLL: Final = 0.01  # seconds
_WARM: Final = 0.1
"""What part of the messages goes before any is counted."""


class Run(NamedTuple):
    """What one run of a point found."""

    cpu_ms: float
    """CPU of the whole process tree, per message."""
    accepted: float
    """Messages a second, until the last was accepted."""
    relayed: float
    """Messages a second, until the last was relayed."""
    accept_p50: float
    """Milliseconds from the end of the content to the 250."""
    accept_p99: float
    queue_p99: float
    """Milliseconds from arrival to SES's answer; nan where the server does not say."""
    peak: float
    """MiB, of each process of the tree at its own peak, added up."""
    written: float
    """KiB a message that were given to the disk."""


class Sent(NamedTuple):
    """What a load came to."""

    messages: int
    seconds: float
    took: list[float]
    """Seconds of the accepts that were measured: all of them, or one client's."""


def send(port: int, point: Point, authority: Path) -> Sent:
    """Send the point's messages; one of the clients is ours where smtp-source can be the others."""
    began = time.monotonic()
    if not point.can_be_sent_by_smtp_source:
        took = crowd(port, point, authority)
        return Sent(len(took), time.monotonic() - began, took)
    stop = Event()
    with ThreadPoolExecutor(1) as threads:
        probing = threads.submit(probe, port, point, authority, stop)
        try:
            _smtp_source(port, replace(point, clients=point.clients - 1))
        finally:
            stop.set()
        took = probing.result()
    return Sent(point.messages + len(took), time.monotonic() - began, took)


def _smtp_source(port: int, point: Point) -> None:
    subprocess.run(
        [
            load_generator(),
            *(["-d"] if point.is_kept else []),
            *("-s", str(point.clients), "-m", str(point.messages), "-l", str(point.size)),
            *(["-r", str(point.recipients)] if point.recipients > 1 else []),
            *("-f", "bench@example.com", "-t", "someone@example.net"),
            f"127.0.0.1:{port}",
        ],
        check=True,
    )


def complete(running: Running, point: Point) -> tuple[Sent, float]:
    """Send the point's messages; return what came of it, and the seconds until all were relayed."""
    before = 0 if running.log is None else running.log.read_on()
    began = time.monotonic()
    sent = send(running.port, point, running.authority)
    _await_finished(running, before + sent.messages * point.recipients)
    return sent, time.monotonic() - began


def _await_finished(running: Running, recipients: int) -> None:
    """Return when the server has relayed to so many recipients since it was started."""
    if running.log is None:
        return
    deadline = time.monotonic() + _PATIENCE
    while (done := running.log.read_on()) < recipients:
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: only {done} of {recipients} were relayed in {_PATIENCE:g} s")
        time.sleep(_POLL)


def measure(running: Running, point: Point) -> Run:
    """Send the load to a server that has nothing to do, and wait until it is done with it."""
    complete(running, point.share(_WARM))
    before = 0 if running.log is None else len(running.log.waits)
    cpu, octets = processes.cpu_seconds(running.pid), processes.written(running.pid)
    sent, seconds = complete(running, point)
    waits = [] if running.log is None else running.log.waits[before:]
    return Run(
        cpu_ms=(processes.cpu_seconds(running.pid) - cpu) / sent.messages * 1e3,
        accepted=sent.messages / sent.seconds,
        relayed=sent.messages / seconds,
        accept_p50=percentile(sent.took, 50) * 1e3,
        accept_p99=percentile(sent.took, 99) * 1e3,
        queue_p99=percentile(waits, 99) * 1e3,
        peak=processes.peak(running.pid),
        written=(processes.written(running.pid) - octets) / sent.messages / 1024,
    )
