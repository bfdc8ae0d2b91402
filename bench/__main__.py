"""CPU and rate per message, ours and the others', in alternating runs on one machine.

First the SMTP side, the store, the way to SES and what comes back alone, then the whole way of a
message.
`make bench`, or `python -m bench --messages 5000 --runs 5`, or `python -m bench --only store`.
Absolute times drift with the machine; the ratios are what counts.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from dataclasses import dataclass

from bench import feedback_side, ses_side, smtp_side, store_side, subjects
from bench.processes import cpu_seconds
from bench.stand_in import ses_stand_in
from bench.subjects import Subject


@dataclass(frozen=True, slots=True)
class Load:
    """What the load generator sends."""

    messages: int
    clients: int
    size: int


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run, per message."""

    cpu_ms: float
    per_second: float


def measure(subject: Subject, load: Load, ses_url: str) -> Run:
    """Start the subject, send the load, wait until it is done with it."""
    with subject(ses_url) as running:
        _send(running.port, Load(200, load.clients, load.size))
        warm = _await_finished(running, 200)
        before, began = cpu_seconds(running.pid), time.monotonic()
        _send(running.port, load)
        _await_finished(running, warm + load.messages)
        seconds = time.monotonic() - began
        cpu = cpu_seconds(running.pid) - before
    return Run(cpu / load.messages * 1000, load.messages / seconds)


def _send(port: int, load: Load) -> None:
    """Send with smtp-source: kept connections, recipients at a domain of examples."""
    subprocess.run(
        [
            subjects.load_generator(),
            "-d",
            *("-s", str(load.clients), "-m", str(load.messages), "-l", str(load.size)),
            *("-f", "bench@example.com", "-t", "someone@example.net"),
            f"127.0.0.1:{port}",
        ],
        check=True,
    )


def _await_finished(running: subjects.Running, count: int) -> int:
    deadline = time.monotonic() + 300
    while (done := running.finished()) is not None and done < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"bench: only {done} of {count} messages were finished in 300 s")
        time.sleep(0.05)
    return count if done is None else done


def _row(name: str, runs: list[Run], ours: float) -> str:
    cpu = [run.cpu_ms for run in runs]
    rate = [run.per_second for run in runs]
    median = statistics.median(cpu)
    return (
        f"| {name} | {median:.3f} ({min(cpu):.3f}-{max(cpu):.3f}) | {median / ours:.2f} "
        f"| {statistics.median(rate):.0f} ({min(rate):.0f}-{max(rate):.0f}) |"
    )


def main() -> None:
    """Run all subjects in turn and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--size", type=int, default=4096, help="octets of each message's body")
    parser.add_argument("--runs", type=int, default=3, help="alternating runs of each subject")
    parser.add_argument(
        "--only", choices=("smtp", "store", "ses", "feedback", "whole"), help="one of the parts"
    )
    arguments = parser.parse_args()
    if arguments.only in {None, "smtp"}:
        smtp_side.measure(arguments.runs)
    if arguments.only in {None, "store"}:
        store_side.measure(arguments.runs)
    if arguments.only in {None, "ses"}:
        ses_side.measure(arguments.runs)
    if arguments.only in {None, "feedback"}:
        feedback_side.measure(arguments.runs)
    if arguments.only not in {None, "whole"}:
        return
    load = Load(arguments.messages, arguments.clients, arguments.size)

    field: dict[str, Subject] = {
        "this relay (durable)": subjects.relay,
        "aiosmtpd + boto3 (nothing durable)": subjects.aiosmtpd_boto3,
        "aiosmtpd + file and fsync (accepts only)": subjects.aiosmtpd_fsync,
    }
    if subjects.can_run_postfix():
        field["Postfix (durable, to smtp-sink)"] = subjects.postfix
    else:
        print("Postfix is left out: it needs root and Debian's postfix package.\n")

    results: dict[str, list[Run]] = {name: [] for name in field}
    with ses_stand_in() as ses_url:
        for _ in range(arguments.runs):
            for name, subject in field.items():
                results[name].append(measure(subject, load, ses_url))
    ours = statistics.median(run.cpu_ms for run in results["this relay (durable)"])
    print(
        f"{load.messages} messages of {load.size} octets, {load.clients} kept connections, "
        f"{arguments.runs} alternating runs: median (min-max)\n"
    )
    print("| | CPU ms per message | ratio to ours | messages/s, end to end |")
    print("|---|---|---|---|")
    for name, runs in results.items():
        print(_row(name, runs, ours))


if __name__ == "__main__":
    main()
