"""What the benchmark makes of its runs: spreads, ratios, percentiles."""

from __future__ import annotations

import math

import pytest

from bench.figures import Spread, percentile, ratios, spread


def test_a_spread_has_the_middle_and_both_ends() -> None:
    assert spread([3.0, 1.0, 2.0, 9.0, 2.5]) == Spread(2.5, 1.0, 9.0)


def test_a_spread_is_written_with_its_ends_in_brackets() -> None:
    assert Spread(0.1449, 0.14, 0.2).written(2) == "0.14 (0.14-0.20)"


def test_ratios_are_taken_run_by_run() -> None:
    # The second run met a busy machine: that is not a spread of the ratio.
    assert ratios([1.0, 2.0, 1.0], [4.0, 8.0, 4.0]) == Spread(0.25, 0.25, 0.25)


def test_runs_that_are_not_pairs_have_no_ratios() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [4.0])


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        (range(1, 101), 50, 50),
        (range(1, 101), 99, 99),
        (range(1, 1001), 99, 990),
        ([7.0], 99, 7.0),
        ([2.0, 1.0], 50, 1.0),
        ([2.0, 1.0], 99, 2.0),
    ],
)
def test_a_percentile_is_the_least_value_that_so_many_do_not_exceed(
    values: list[float], percent: int, expected: float
) -> None:
    assert percentile(values, percent) == expected


def test_nothing_has_no_percentile() -> None:
    assert math.isnan(percentile([], 99))
