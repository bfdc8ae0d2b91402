"""What a message costs, ours and the others', in alternating runs on one machine.

First the SMTP side, the store, the way to SES and what comes back alone, then the whole way of a
message at many points, and the corners. `make bench`, or `python -m bench --only whole`; `--quick`
only shows that everything works. `--record` writes what was found of the whole way under
bench/results.
Absolute times drift with the machine; the ratios are what counts.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Final

from bench import feedback_side, ses_side, smtp_side, store_side
from bench.corners import measure_corners
from bench.machine import described
from bench.points import POINTS
from bench.recording import Conditions, record, written
from bench.whole import measure_all

_QUICK: Final = 0.05


def main() -> None:
    """Run what is asked for, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="alternating runs of each subject")
    parser.add_argument(
        "--only",
        choices=("smtp", "store", "ses", "feedback", "whole", "corners"),
        help="one of the parts",
    )
    parser.add_argument("--point", action="append", metavar="NAME", help="only these of the whole")
    parser.add_argument("--quick", action="store_true", help="a twentieth of the load, one run")
    parser.add_argument("--record", action="store_true", help="the whole and the corners; written")
    arguments = parser.parse_args()
    if unknown := set(arguments.point or ()) - {point.name for point in POINTS}:
        parser.error(f"no such point: {', '.join(unknown)}")
    if arguments.record and (arguments.only or arguments.point or arguments.quick):
        parser.error("what is recorded is the whole and the corners")
    runs, part = (1, _QUICK) if arguments.quick else (arguments.runs, 1.0)

    def wants(name: str, *, is_recorded: bool = False) -> bool:
        return arguments.only == name or (
            arguments.only is None and (is_recorded or not arguments.record)
        )

    if wants("smtp"):
        smtp_side.measure(runs)
    if wants("store"):
        store_side.measure(runs)
    if wants("ses"):
        ses_side.measure(runs)
    if wants("feedback"):
        feedback_side.measure(runs)
    command = shlex.join(["python", "-m", "bench", *sys.argv[1:]])
    conditions = Conditions(command, described(), runs)
    points = [point for point in POINTS if not arguments.point or point.name in arguments.point]
    results = measure_all(points if wants("whole", is_recorded=True) else (), runs, part)
    found = measure_corners(points, part) if wants("corners", is_recorded=True) else []
    if results.runs or found:
        print(written(conditions, points, results, found))
    if arguments.record:
        record(conditions, points, results, found)


if __name__ == "__main__":
    main()
