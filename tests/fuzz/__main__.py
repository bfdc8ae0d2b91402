"""`python -m tests.fuzz`: many fuzzed sessions, or one again.

    python -m tests.fuzz --sessions 1000000          a campaign; `make fuzz` runs it
    python -m tests.fuzz --seconds 60 --seed 7
    python -m tests.fuzz tests/fuzz/crashes/*.session     play these, and say what is wrong

Exit code 1 when anything was wrong; what was wrong is in tests/fuzz/crashes, to be played again.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.fuzz.campaign import CRASHES, GROWN, Report, campaign, save, stage
from tests.fuzz.script import read


def _replay(files: list[Path]) -> int:
    wrong = 0
    with stage() as on:
        for file in files:
            complaints = on.faults_of(read(file.read_text()))
            wrong += bool(complaints)
            print(f"{file}: {'; '.join(complaints) or 'ok'}")
    return min(wrong, 1)


def main() -> int:
    """Run a campaign in as many processes as there are processors, or play files."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="scripts to play again")
    parser.add_argument("--sessions", type=int, default=0, help="sessions in all")
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="or: for how long, in CPU seconds"
    )
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if arguments.files:
        return _replay(arguments.files)
    if not arguments.sessions and not arguments.seconds:
        arguments.seconds = 60.0
    seed = int.from_bytes(os.urandom(4), "big") if arguments.seed is None else arguments.seed
    jobs, each = arguments.jobs, -(-arguments.sessions // arguments.jobs)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as processes:
        started = [
            processes.submit(campaign, seed + job, each, arguments.seconds, GROWN)
            for job in range(jobs)
        ]
        reports = [one.result() for one in started]
    return max(_tell(seed + job, report) for job, report in enumerate(reports))


def _tell(seed: int, report: Report) -> int:
    print(
        f"seed {seed}: {report.sessions} sessions in {report.seconds:.0f} s of CPU "
        f"({report.sessions / report.seconds:.0f}/s), {report.mails} mails kept, "
        f"{report.replies} kinds of reply, {report.grown} scripts found, "
        f"memory {report.growth / 1048576:+.1f} MiB after warm-up"
    )
    if report.fault is not None:
        print(f"  WRONG, play again with: python -m tests.fuzz {save(report.fault, CRASHES)}")
    for complaint in report.complaints:
        print(f"  {complaint}")
    return 1 if report.complaints else 0


if __name__ == "__main__":
    sys.exit(main())
