"""What a campaign has shown, as a table for people. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tests.crash.books import Books, Run
from tests.crash.campaign import RANDOM, STOP
from tests.crash.points import POINTS

_MANY: Final = 1_000_000
_MAILS: Final = ((0, 0), (1, 4), (5, 8), (9, _MANY))
_CALLS: Final = ((0, 0), (1, 9), (10, 24), (25, _MANY))


def summary(books: Books) -> str:
    """Return the figures that R12 asks for."""
    kills = [run for run in books.runs if run.ending in POINTS or run.ending == RANDOM]
    at_random = [run for run in kills if run.ending == RANDOM]
    counts = [sum(run.ending == name for run in kills) for name in POINTS]
    stops = [run for run in books.runs if run.is_orderly]
    busy = sum(map(_is_busy, kills))
    rows = [
        ("kills", f"{len(kills):,}"),
        (f"  at each of {len(counts)} named points", f"{min(counts)} or more"),
        ("  at random moments", f"{len(at_random):,}"),
        ("  with a commit or a call in flight", f"{busy / max(1, len(kills)):.0%}"),
        ("orderly restarts under load", f"{len(stops):,}"),
        ("messages acknowledged", f"{books.acknowledged:,}"),
        ("  their recipients", f"{books.recipients:,}"),
        ("  lost, changed, sent by half, or otherwise wrong", f"{len(books.complaints):,}"),
        ("calls to SES in W2 at a kill", f"{_sum(kills, 'in_w2'):,}"),
        ("  made once more", f"{_sum(kills, 'repeated'):,}"),
        ("clients without a read 250 at a kill", f"{_sum(kills, 'waiting'):,}"),
        ("  whose mail was kept, and came again", f"{_sum(kills, 'copies'):,}"),
        (
            "sent twice by an orderly restart",
            f"{_sum(stops, 'repeated') + _sum(stops, 'copies'):,}",
        ),
        ("calls without an answer, made once more", f"{books.repeated_by_weather:,}"),
    ]
    return _columns(rows)


def histogram(books: Books) -> str:
    """Return what was in flight when kills came at random."""
    kills = [run for run in books.runs if run.ending == RANDOM]
    rows: list[tuple[str, ...]] = [("clients waiting \\ calls open", *map(_span, _CALLS))]
    for mails in _MAILS:
        found = [run for run in kills if mails[0] <= run.open_mails <= mails[1]]
        counts = [sum(calls[0] <= run.open_calls <= calls[1] for run in found) for calls in _CALLS]
        rows.append((_span(mails), *map(str, counts)))
    return _columns(rows)


def by_ending(books: Books) -> str:
    """Return, for each way a run ended, what was under way and what of it was sent twice."""
    rows: list[tuple[str, ...]] = [("ending", "runs", "waiting", "copies", "in W2", "repeated")]
    for ending in (RANDOM, *POINTS, STOP):
        runs = [run for run in books.runs if run.ending == ending]
        sums = [_sum(runs, name) for name in ("waiting", "copies", "in_w2", "repeated")]
        rows.append((ending, *map(str, (len(runs), *sums))))
    return _columns(rows)


def _is_busy(run: Run) -> bool:
    # At named points the moment itself is not seen; what it left is.
    return bool(run.open_calls or run.open_mails or run.in_w2 or run.waiting)


def _sum(runs: Iterable[Run], name: str) -> int:
    return sum(getattr(run, name) for run in runs)


def _span(bounds: tuple[int, int]) -> str:
    least, most = bounds
    if most == _MANY:
        return f"{least} or more"
    return str(least) if least == most else f"{least}-{most}"


def _columns(rows: Sequence[Sequence[str]]) -> str:
    """Set a table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        _, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([row[0].ljust(widths[0]), *others]).rstrip())
    return "\n".join(lines)
