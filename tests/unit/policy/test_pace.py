"""Bucket and breaker: how fast, and whether at all."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.policy.breaker import (
    FAILURES_TO_OPEN,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    Breaker,
    BreakerState,
)
from relay.policy.bucket import TokenBucket


def test_a_debt_is_earned_back_before_anything_else_goes() -> None:
    bucket = TokenBucket(rate=1.0, burst=1.0, now=0.0)
    assert bucket.wait(0.0) == 0
    bucket.take(5, 0.0)
    assert bucket.wait(0.0) == 5.0
    assert bucket.whole(4.9) == 0
    assert bucket.whole(5.0) == 1


def test_a_bucket_without_bound_is_always_full_and_one_without_rate_never_fills() -> None:
    bucket = TokenBucket(rate=inf, burst=inf, now=0.0)
    bucket.take(10**9, 0.0)
    assert bucket.whole(1.0) > 10**5
    assert bucket.wait(1.0) == 0.0
    bucket = TokenBucket(rate=0.0, burst=0.0, now=0.0)
    bucket.take(1, 0.0)
    assert bucket.whole(1e9) == 0
    assert bucket.wait(1e9) == inf


def test_a_bucket_that_loses_its_bound_has_whole_tokens_at_once() -> None:
    bucket = TokenBucket(rate=14.0, burst=1.0, now=0.0)
    bucket.take(5, 0.0)
    bucket.change(inf, inf, 0.0)
    assert bucket.whole(0.0) > 10**5
    bucket.change(1.0, 1.0, 0.0)
    assert bucket.whole(0.0) == 1


def test_a_change_of_rate_keeps_what_is_owed() -> None:
    bucket = TokenBucket(rate=1.0, burst=1.0, now=0.0)
    bucket.take(11, 0.0)
    bucket.change(10.0, 5.0, 0.0)
    assert bucket.wait(0.0) == pytest.approx(1.1)
    bucket.change(1.0, 1.0, 100.0)
    assert bucket.whole(100.0) == 1


def test_a_full_bucket_does_not_overflow() -> None:
    bucket = TokenBucket(rate=10.0, burst=3.0, now=0.0)
    assert bucket.whole(1000.0) == 3


def test_a_clock_that_steps_back_takes_nothing() -> None:
    bucket = TokenBucket(rate=1.0, burst=2.0, now=100.0)
    assert bucket.whole(50.0) == 2


@pytest.mark.P6
@given(
    st.lists(st.tuples(st.floats(0, 2), st.integers(1, 50)), max_size=60),
    st.floats(0.5, 100),
    st.floats(1, 50),
)
def test_a_patient_caller_never_exceeds_rate_and_burst(
    steps: list[tuple[float, int]], rate: float, burst: float
) -> None:
    bucket, now, taken = TokenBucket(rate, burst, 0.0), 0.0, 0.0
    largest = 0
    for wait, count in steps:
        now += wait
        if bucket.whole(now):
            bucket.take(count, now)
            taken += count
            largest = max(largest, count)
    # One call may run into debt by its own size, no more.
    assert taken <= burst + rate * now + largest + 1e-6


def test_a_breaker_opens_after_failures_in_a_row_and_probes_with_growing_pauses() -> None:
    breaker = Breaker()
    opened = [breaker.failed("connection", 0.0) for _ in range(FAILURES_TO_OPEN)]
    assert opened == [False] * (FAILURES_TO_OPEN - 1) + [True]
    assert breaker.allows(FIRST_PAUSE - 0.1) == 0
    assert breaker.state(FIRST_PAUSE) is BreakerState.HALF_OPEN
    assert breaker.allows(FIRST_PAUSE) == 1
    assert breaker.begun(FIRST_PAUSE) is True
    assert breaker.allows(FIRST_PAUSE) == 0
    assert breaker.failed("connection", FIRST_PAUSE) is False
    breaker.probe_ended()
    assert breaker.wait(FIRST_PAUSE) == FIRST_PAUSE * 2
    for _ in range(20):
        now = 1e6 + breaker.wait(0.0)
        breaker.failed("connection", now)
    assert breaker.wait(now) == LONGEST_PAUSE


def test_failures_that_come_late_do_not_lengthen_the_pause() -> None:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN + 40):
        breaker.failed("timeout", 1.0)
    assert breaker.wait(1.0) == FIRST_PAUSE


def test_a_success_closes_the_breaker_and_forgets_failures() -> None:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed("connection", 0.0)
    breaker.succeeded()
    assert breaker.allows(0.0) is None
    assert not breaker.failed("connection", 0.0)


def test_a_probe_that_asked_nothing_lets_another_probe_start() -> None:
    breaker = Breaker()
    for _ in range(FAILURES_TO_OPEN):
        breaker.failed("connection", 0.0)
    breaker.begun(FIRST_PAUSE)
    breaker.probe_ended()
    assert breaker.allows(FIRST_PAUSE) == 1
