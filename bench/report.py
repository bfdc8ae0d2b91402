"""The tables of what was found, in Markdown. Does not measure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from bench.corners import Corner
from bench.figures import ratios, spread
from bench.points import BASE, BOTO3, OURS, POSTFIX, Point
from bench.whole import Results


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def _spread(values: Sequence[float], digits: int) -> str:
    if not values or any(map(math.isnan, values)):
        return ""
    return spread(values).written(digits)


def _ratio(results: Results, point: Point, peer: str, figure: str, digits: int) -> str:
    theirs = results.of(point.name, peer, figure)
    if not theirs:
        return ""
    return ratios(results.of(point.name, OURS, figure), theirs).written(digits)


def beside(points: Sequence[Point], results: Results) -> str:
    """Return ours to the others': CPU and end-to-end rate, with what was promised."""
    head = (
        "point",
        "CPU to Postfix's",
        "at most",
        "rate to Postfix's",
        "at least",
        f"CPU to {BOTO3}",
        f"rate to {BOTO3}",
    )
    return _table(
        head,
        (
            (
                point.name,
                _ratio(results, point, POSTFIX, "cpu_ms", 3),
                "" if point.target is None else f"{point.target:g}",
                _ratio(results, point, POSTFIX, "relayed", 1),
                "" if point.rate_target is None else f"{point.rate_target:g}",
                _ratio(results, point, BOTO3, "cpu_ms", 3),
                _ratio(results, point, BOTO3, "relayed", 1),
            )
            for point in points
            if any(peer in results.runs.get(point.name, {}) for peer in (POSTFIX, BOTO3))
        ),
    )


def ours(points: Sequence[Point], results: Results) -> str:
    """Return what each point costs us, absolutely and to the base point."""
    head = (
        "point",
        "CPU ms",
        "to base",
        "accepted/s",
        "relayed/s",
        "accept p50 ms",
        "p99 ms",
        "queue p99 ms",
        "peak MiB",
        "KiB written",
    )

    def row(point: Point) -> tuple[str, ...]:
        def cell(figure: str, digits: int) -> str:
            return _spread(results.of(point.name, OURS, figure), digits)

        cpu, base = (results.of(name, OURS, "cpu_ms") for name in (point.name, BASE.name))
        return (
            point.name,
            cell("cpu_ms", 3),
            ratios(cpu, base).written(2) if base else "",
            cell("accepted", 0),
            cell("relayed", 0),
            cell("accept_p50", 1),
            cell("accept_p99", 1),
            cell("queue_p99", 0),
            cell("peak", 0),
            cell("written", 1),
        )

    return _table(head, (row(point) for point in points if point.name in results.runs))


def theirs(points: Sequence[Point], results: Results) -> str:
    """Return the others' absolute figures, for whoever knows them from elsewhere."""
    head = ("point", "whose", "CPU ms", "accepted/s", "relayed/s", "accept p99 ms")
    return _table(
        head,
        (
            (
                point.name,
                peer,
                _spread(results.of(point.name, peer, "cpu_ms"), 3),
                _spread(results.of(point.name, peer, "accepted"), 0),
                _spread(results.of(point.name, peer, "relayed"), 0),
                _spread(results.of(point.name, peer, "accept_p99"), 1),
            )
            for point in points
            for peer in (POSTFIX, BOTO3)
            if peer in results.runs.get(point.name, {})
        ),
    )


def corners(found: Sequence[Corner]) -> str:
    """Return the corners, with what was promised of each."""
    return _table(
        ("corner", "found", "at most"),
        (
            (
                corner.what,
                f"{corner.found:.2f} {corner.unit}",
                "" if corner.bound is None else f"{corner.bound:g}",
            )
            for corner in found
        ),
    )


def missed(points: Sequence[Point], results: Results, found: Sequence[Corner]) -> list[str]:
    """Return what was promised and is not kept, by the medians."""
    complaints = []
    for point in points:
        for figure, bound, is_least in (
            ("cpu_ms", point.target, False),
            ("relayed", point.rate_target, True),
        ):
            others = results.of(point.name, POSTFIX, figure)
            if bound is None or not others:
                continue
            ratio = ratios(results.of(point.name, OURS, figure), others).median
            if ratio < bound if is_least else ratio > bound:
                what = "end-to-end rate" if is_least else "CPU"
                complaints.append(
                    f"{point.name}: {what} to Postfix's is {ratio:.3f}, not {bound:g}"
                )
    complaints += [
        f"{corner.what} is {corner.found:.2f} {corner.unit}, not {corner.bound:g}"
        for corner in found
        if corner.bound is not None and corner.found > corner.bound
    ]
    return complaints


def left_out(results: Results) -> str:
    """Return what could not be measured, and why, a line each."""
    return "".join(f"- {name} is left out: {why}\n" for name, why in results.left_out.items())
