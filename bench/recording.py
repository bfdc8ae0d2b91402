"""What is written of a run, and where: bench/results/whole.md, .svg and .json. Does not measure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import report
from bench.corners import Corner
from bench.figures import ratios
from bench.plot import Row, Series, svg
from bench.points import BOTO3, OURS, POSTFIX, Point
from bench.subjects import ROOT
from bench.whole import Results

RESULTS: Final = ROOT / "bench" / "results"

_HEAD: Final = """# The whole way of a message

Made by `{command}`; do not edit.

{machine}
{runs} alternating runs; figures are medians, with least and most in brackets. CPU is user and
system time of the whole process tree, per message. *base* is 4 KiB, 10 clients with kept
connections, plain, known by network, one recipient, SES at 0 ms, queued; each other point differs
in what its name says. This relay and Postfix have fsynced before their 250; aiosmtpd + boto3 keeps
nothing and answers when SES has. Postfix relays to smtp-sink by SMTP without TLS, the others to
nginx by HTTP. The load generator, nginx and smtp-sink share the machine and are not counted.
"""
_BESIDE: Final = """
## Beside the others

A ratio is taken run by run: ours to theirs of the same minute. *rate* is end to end.

![CPU per message, ours to theirs](whole.svg)

"""
_OURS: Final = """
## This relay

*accepted/s* and *relayed/s*: until the last message was answered 250, and until SES had taken it.
*accept*: from the end of the content to the 250, of one client among the others (of all of them
where smtp-source cannot be the others). *queue*: from arrival to SES's answer, by the log; clients
send as fast as they can, so this is mostly how long the queue became. *peak*: of each process at
its own peak, added up. *written*: to the disk, log and journal of SQLite included.

"""


@dataclass(frozen=True, slots=True)
class Conditions:
    """How it was measured."""

    command: str
    machine: Sequence[tuple[str, str]]
    runs: int


def written(
    conditions: Conditions, points: Sequence[Point], results: Results, corners: Sequence[Corner]
) -> str:
    """Return all of it in Markdown."""
    machine = "".join(f"- {name}: {value}\n" for name, value in conditions.machine)
    text = _HEAD.format(command=conditions.command, machine=machine, runs=conditions.runs)
    if results.runs:
        left_out = report.left_out(results)
        text += _BESIDE + report.beside(points, results) + (f"\n{left_out}" if left_out else "")
        text += _OURS + report.ours(points, results)
        text += "\n## The others\n\n" + report.theirs(points, results)
    if corners:
        text += (
            "\n## Corners\n\nOurs alone: once, but the middle of three of what is compared to "
            "itself without a crowd.\n\n" + report.corners(corners)
        )
    missed = report.missed(points, results, corners)
    text += "\n## Promised and not kept\n\n"
    return text + ("".join(f"- {one}\n" for one in missed) or "Nothing.\n")


def plotted(points: Sequence[Point], results: Results) -> str:
    """Return the plot of ours to theirs."""
    peers = [peer for peer in (POSTFIX, BOTO3) if peer not in results.left_out]
    rows = []
    for point in points:
        ours = results.of(point.name, OURS, "cpu_ms")
        others = [results.of(point.name, peer, "cpu_ms") for peer in peers]
        if any(others):
            spreads = tuple(ratios(ours, theirs) if theirs else None for theirs in others)
            rows.append(Row(point.name, spreads, point.target))
    series = [
        Series(f"to {peer}", colour)
        for peer, colour in zip(peers, ("#1764ab", "#d9820f"), strict=False)
    ]
    return svg("CPU per message of this relay, as a ratio to that of the others", series, rows)


def record(
    conditions: Conditions,
    points: Sequence[Point],
    results: Results,
    corners: Sequence[Corner],
    directory: Path = RESULTS,
) -> None:
    """Write table, plot and every run."""
    directory.mkdir(exist_ok=True)
    (directory / "whole.md").write_text(written(conditions, points, results, corners))
    (directory / "whole.svg").write_text(plotted(points, results))
    runs = {
        point: {subject: [run._asdict() for run in several] for subject, several in by.items()}
        for point, by in results.runs.items()
    }
    told = {"machine": dict(conditions.machine), "runs": runs}
    told["corners"] = [corner._asdict() for corner in corners]
    # NaN is no JSON: what a server does not say is null.
    text = json.dumps(told, indent=1).replace("NaN", "null")
    (directory / "whole.json").write_text(text + "\n")
