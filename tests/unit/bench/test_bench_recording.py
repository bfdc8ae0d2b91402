"""The table, the plot and the raw runs that the benchmark writes."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from xml.etree import ElementTree as ET

from bench.corners import Corner
from bench.figures import Spread
from bench.load import Run
from bench.plot import Row, Series, svg
from bench.points import BOTO3, OURS, POSTFIX, Point
from bench.recording import Conditions, record
from bench.whole import Results

_SVG = "{http://www.w3.org/2000/svg}"
_POINTS = (
    Point("base", peers=(POSTFIX, BOTO3), target=0.18, rate_target=4.0),
    Point("token"),
)


def _run(cpu_ms: float, relayed: float = 1000.0, queue_p99: float = 30.0) -> Run:
    return Run(cpu_ms, 1000.0, relayed, 1.0, 5.0, queue_p99, 90.0, 17.0)


def _results() -> Results:
    results = Results()
    results.runs["base"] = {
        OURS: [_run(0.4), _run(0.3), _run(0.6)],
        POSTFIX: [_run(2.0, 500.0), _run(1.5, 500.0), _run(2.0, 500.0)],
        BOTO3: [_run(4.0, 200.0, math.nan)] * 3,
    }
    results.runs["token"] = {OURS: [_run(0.4), _run(0.3), _run(0.6)]}
    return results


def _recorded(directory: Path) -> str:
    corners = [Corner("1 uploads", "MiB", 90.0, 100.0), Corner("stall", "ms", 21.0, 20.0)]
    conditions = Conditions("python -m bench --record", [("kernel", "6.1")], 3)
    record(conditions, _POINTS, _results(), corners, directory)
    return (directory / "whole.md").read_text()


def test_the_table_has_machine_command_and_ratios(tmp_path: Path) -> None:
    text = _recorded(tmp_path)
    assert "Made by `python -m bench --record`" in text
    assert "- kernel: 6.1" in text
    assert "| base | 0.200 (0.200-0.300) | 0.18 | 2.0 (2.0-2.0) | 4 | 0.100 (0.075-0.150) |" in text


def test_what_a_server_does_not_say_is_empty(tmp_path: Path) -> None:
    assert "nan" not in _recorded(tmp_path)


def test_who_is_not_installed_is_left_out_with_a_word(tmp_path: Path) -> None:
    results = _results()
    del results.runs["base"][POSTFIX]
    results.left_out[POSTFIX] = "it is not installed"
    record(Conditions("", [], 3), _POINTS, results, [], tmp_path)
    assert "- Postfix is left out: it is not installed\n" in (tmp_path / "whole.md").read_text()
    root = ET.fromstring((tmp_path / "whole.svg").read_text())  # noqa: S314 - our own
    assert len([dot for dot in root.iter(f"{_SVG}circle") if len(dot)]) == 1


def test_every_row_has_as_many_cells_as_its_head(tmp_path: Path) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", _recorded(tmp_path), re.MULTILINE)
    assert len(tables) == 4, "beside, ours, theirs, corners"
    for table in tables:
        cells = {line.count("|") for line in table.splitlines()}
        assert len(cells) == 1, table


def test_what_was_promised_and_is_not_kept_is_said(tmp_path: Path) -> None:
    missed = _recorded(tmp_path).split("## Promised and not kept\n\n")[1].splitlines()
    assert missed == [
        "- base: CPU to Postfix's is 0.200, not 0.18",
        "- base: end-to-end rate to Postfix's is 2.000, not 4",
        "- stall is 21.00 ms, not 20",
    ]


def test_the_raw_runs_are_json_that_everybody_reads(tmp_path: Path) -> None:
    _recorded(tmp_path)
    told = json.loads((tmp_path / "whole.json").read_text(), parse_constant=_no_constants)
    assert told["runs"]["base"][BOTO3][0]["queue_p99"] is None
    assert [run["cpu_ms"] for run in told["runs"]["token"][OURS]] == [0.4, 0.3, 0.6]


def _no_constants(word: str) -> float:
    raise AssertionError(f"{word} is no JSON")


def test_the_recorded_plot_has_a_dot_for_each_ratio(tmp_path: Path) -> None:
    _recorded(tmp_path)
    root = ET.fromstring((tmp_path / "whole.svg").read_text())  # noqa: S314 - our own
    titles = [title.text for title in root.iter(f"{_SVG}title")]
    assert titles == ["0.200 (0.200-0.300)", "0.100 (0.075-0.150)", "at most 0.18"]


def test_a_plot_is_well_formed_and_keeps_everything_on_the_page() -> None:
    rows = [
        Row("a & b <c>", (Spread(0.05, 0.01, 0.2), Spread(30.0, 20.0, 40.0)), 0.18),
        Row("one only", (None, Spread(1.0, 1.0, 1.0))),
    ]
    text = svg("CPU & more", [Series("to x", "#111"), Series("to y", "#222")], rows)
    root = ET.fromstring(text)  # noqa: S314 - our own
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    dots = [dot for dot in root.iter(f"{_SVG}circle") if len(dot)]
    assert len(dots) == 3, "one for each spread"
    for dot in dots:
        assert 0 < float(dot.attrib["cx"]) < width
        assert 0 < float(dot.attrib["cy"]) < height
    left, right = (float(dot.attrib["cx"]) for dot in dots[:2])
    assert left < right, "0.05 is left of 30"
