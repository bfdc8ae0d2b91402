"""The way to SES alone, request and exchange, beside boto3's: CPU of a call.

Each run is a process of its own, and runs alternate; SES is a stand-in that costs none of it. Does
not know how either works.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from typing import Final

from bench import subjects
from bench.stand_in import ses_stand_in

_LANES: Final = 10
_SMALL: Final = 4096
_LARGE: Final = 1024 * 1024
# Fewer where each takes longer: a run is some seconds.
_CALLS: Final = {_SMALL: {"ours": 10_000, "boto3": 1_000}, _LARGE: {"ours": 200, "boto3": 30}}
_OURS: Final = {
    "SendRawEmail (v1)": ("bench.ses_ours", "v1"),
    "SendEmail (v2)": ("bench.ses_ours", "v2"),
}
_THEIRS: Final = {"boto3 send_raw_email": ("bench.ses_boto3",)}
_RATIO_TARGET: Final = 0.04
_LARGE_TARGET_MS: Final = 7.0


def _run(url: str, module: str, *words: str, size: int, calls: int) -> float:
    done = subprocess.run(
        [sys.executable, "-m", module, url, *words, str(size), str(calls), str(_LANES)],
        cwd=subjects.ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    return float(done.stdout)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def measure(runs: int) -> None:
    """Measure all in turn, and print the table."""
    found: dict[tuple[int, str], list[float]] = {}
    with ses_stand_in() as ses:
        for _ in range(runs):
            for size, calls in _CALLS.items():
                for whose, ways in (("ours", _OURS), ("boto3", _THEIRS)):
                    for name, (module, *words) in ways.items():
                        cost = _run(ses.url, module, *words, size=size, calls=calls[whose])
                        found.setdefault((size, name), []).append(cost)
    print(f"The way to SES alone, {_LANES} lanes; {runs} alternating runs: median (min-max)\n")
    print("| octets | way | CPU ms per call | to that of boto3 | target |")
    print("|---|---|---|---|---|")
    (theirs,) = _THEIRS
    for (size, name), costs in found.items():
        ratios = [a / b for a, b in zip(costs, found[size, theirs], strict=True)]
        least = ""
        if name == "SendRawEmail (v1)":
            least = f"<= {_RATIO_TARGET}" if size == _SMALL else f"<= {_LARGE_TARGET_MS:g} ms"
        print(f"| {size} | {name} | {_spread(costs)} | {_spread(ratios)} | {least} |")
    print()
