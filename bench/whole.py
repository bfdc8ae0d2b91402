"""The whole way of a message, at every point, ours and the others' in alternating runs.

Does not know how a table or a plot of it is made.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.load import Run, measure
from bench.points import BOTO3, OURS, POSTFIX, Point
from bench.postfix import can_run_postfix, postfix
from bench.stand_in import ses_stand_in
from bench.subjects import Subject, aiosmtpd_boto3, relay

# Fewer messages where each takes longer.
_SHARES: Final = {OURS: 1.0, POSTFIX: 0.4, BOTO3: 0.15}


@dataclass(frozen=True, slots=True)
class Results:
    """What was found."""

    runs: dict[str, dict[str, list[Run]]] = field(default_factory=dict)
    """By point and by subject, one after the other."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Subjects that could not be measured, and why."""

    def of(self, point: str, subject: str, figure: str) -> list[float]:
        """Return one figure of every run; none where there was no run."""
        return [getattr(run, figure) for run in self.runs.get(point, {}).get(subject, [])]


def measure_all(points: Sequence[Point], runs: int, part: float) -> Results:
    """Measure so many rounds, each of every point, there by every subject in turn.

    `part` of the messages are sent: less than all only shows that everything works.
    """
    subjects: dict[str, Subject] = {OURS: relay, POSTFIX: postfix, BOTO3: aiosmtpd_boto3}
    found = Results()
    if not can_run_postfix():
        del subjects[POSTFIX]
        found.left_out[POSTFIX] = "it needs root and Debian's postfix package"
    for number in range(runs):
        for point in points:
            began = time.monotonic()
            with ses_stand_in(point.ses) as ses:
                for name, subject in subjects.items():
                    if name not in {OURS, *point.peers}:
                        continue
                    scaled = point.share(part * _SHARES[name])
                    with subject(scaled, ses) as running:
                        run = measure(running, scaled)
                    found.runs.setdefault(point.name, {}).setdefault(name, []).append(run)
            seconds = time.monotonic() - began
            print(f"run {number + 1}: {point.name}, {seconds:.0f} s", file=sys.stderr)
    return found
