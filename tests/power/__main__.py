"""`python -m tests.power`: what a power cut leaves of the spool, at every sync of a relay at work.

    python -m tests.power                every moment, all images; `make power` runs both
    python -m tests.power --seed 7       the same mails once more
    python -m tests.power --sabotage     relays broken on purpose: each must be found out

Exit code 1 when anything was wrong, or a sabotage was not found. Needs strace.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.crash.sabotage import SABOTAGES
from tests.forked import Nursery
from tests.power.alive import send
from tests.power.check import observe
from tests.power.cut import Report, cut, moments, search
from tests.power.images import images
from tests.power.record import SPOOL, Recording, Tracer, tracer, why_not

_JOBS = os.cpu_count() or 1
# How many of the moments see the whole daemon started on one of their images.
_REVIVALS = 20
_SHOWN = 20


def _cut_everywhere(recording: Recording, seed: int) -> Report:
    """Cut the power in every moment, in as many processes as there are processors."""
    # By fork: the recording is large, and is only read.
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()

    def part(job: int) -> None:
        results.put(cut(recording, lambda number, _: number % _JOBS == job, seed=seed))

    processes = [context.Process(target=part, args=(job,)) for job in range(_JOBS)]
    for process in processes:
        process.start()
    report = Report()
    for _ in processes:
        report.add(results.get())
    for process in processes:
        process.join()
    return report


def _revive(recording: Recording, nursery: Nursery) -> tuple[int, list[str]]:
    """Start the whole relay on the worst image of some moments."""
    count = sum(1 for _ in moments(recording))
    every = max(1, count // _REVIVALS)
    started, complaints = 0, []
    for number, _, disk in moments(recording):
        if number % every == every // 2:
            image = next(images(disk, str(number), 0))
            seen = observe(image, SPOOL)
            complaints += asyncio.run(send(image, seen, recording.promises.letters, nursery))
            started += 1
    return started, complaints


def _prove(on: Tracer, directory: Path, seed: int) -> bool:
    began = time.monotonic()
    recording = on.record(_fresh(directory), seed)
    report = _cut_everywhere(recording, seed)
    started, complaints = _revive(recording, on.nursery)
    complaints += recording.complaints + report.complaints
    promises = recording.promises
    rows = [
        ("mails acknowledged", len(promises.promised)),
        (
            "calls of SES",
            len({(t.begun, t.at) for ts in promises.history.taken.values() for t in ts}),
        ),
        ("moments at which the power goes", report.moments.total()),
        *((f"  {kind}", count) for kind, count in sorted(report.moments.items())),
        ("images of the disk", report.images),
        ("  that differ, and were recovered", report.openings),
        ("  on which the whole relay was started", started),
        ("acknowledged mails at stake in them", report.mails),
        ("  lost, half, or sent again though recorded", len(complaints)),
    ]
    for words, number in rows:
        print(f"{words:45}{number:>12,}")
    print(f"seed {seed}, {time.monotonic() - began:.0f} s")
    for complaint in complaints[:_SHOWN]:
        print(f"WRONG: {complaint}")
    return not complaints


def _sabotages(on: Tracer, directory: Path, seed: int) -> bool:
    missed = 0
    for name, sabotage in SABOTAGES.items():
        if not sabotage.shows_by_power:
            continue
        # What clients and SES noticed by themselves does not count here.
        report = search(on.record(_fresh(directory), seed, name), seed)
        found = sabotage.found_in(report.complaints)
        missed += not found
        said = f"found by image {report.images}: {found[:200]}"
        if not found:
            said = f"NOT FOUND in {report.complaints[:3]}"
        print(f"{name}: {said}", flush=True)
    return not missed


def _fresh(directory: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=directory))


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.power", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--sabotage", action="store_true", help="relays broken on purpose")
    arguments = parser.parse_args()
    seed = int.from_bytes(os.urandom(3), "big") if arguments.seed is None else arguments.seed
    if complaint := why_not():
        print(complaint)
        return 2
    with tempfile.TemporaryDirectory(prefix="relay-power-") as name:
        directory = Path(name)
        with tracer(directory) as on:
            work = _sabotages if arguments.sabotage else _prove
            return 0 if work(on, directory, seed) else 1


if __name__ == "__main__":
    sys.exit(main())
