"""A wall clock that steps is not believed for an hour; one that drifts a little is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.policy.expiry import PROVING
from relay.policy.steps import STEP, ClockWatch

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = PROVING.total_seconds()


@pytest.mark.parametrize("step", [STEP + 2 * SECOND, -STEP - SECOND, timedelta(days=7)])
def test_a_step_is_in_doubt_until_the_clocks_went_together_for_an_hour(step: timedelta) -> None:
    watch = ClockWatch(NOW, 50.0)
    assert watch.look(NOW + SECOND, 51.0) is None
    found = watch.look(NOW + step, 51.0)
    assert found is not None
    assert abs(found - step + SECOND) < SECOND / 1000
    assert watch.is_in_doubt
    # Told once.
    assert watch.look(NOW + step, 51.0) is None
    assert not watch.settles(51.0 + HOUR - 1)
    assert watch.is_in_doubt
    assert watch.settles(51.0 + HOUR)
    assert not watch.is_in_doubt
    assert not watch.settles(51.0 + 2 * HOUR)


def test_a_step_back_is_a_step_of_its_own_and_begins_the_hour_anew() -> None:
    watch = ClockWatch(NOW, 0.0)
    assert watch.look(NOW + timedelta(days=7), 0.0) is not None
    assert watch.look(NOW + timedelta(minutes=30), 1800.0) is not None
    assert not watch.settles(HOUR)
    assert watch.settles(HOUR + 1800)


@pytest.mark.parametrize("sign", [1, -1])
def test_small_steps_are_a_step_once_they_add_up(sign: int) -> None:
    """A clock that is set by four minutes, again and again, is no better than one set by eight."""
    watch = ClockWatch(NOW, 0.0)
    assert watch.look(NOW + sign * timedelta(minutes=4), 0.0) is None
    assert not watch.is_in_doubt
    assert watch.look(NOW + sign * timedelta(minutes=8), 0.0) is not None


@given(st.lists(st.floats(0, 1e6), max_size=30))
def test_time_that_passes_is_no_step(gaps: list[float]) -> None:
    watch, passed = ClockWatch(NOW, 123.4), 0.0
    for gap in gaps:
        passed += gap
        assert watch.look(NOW + timedelta(seconds=passed), 123.4 + passed) is None
