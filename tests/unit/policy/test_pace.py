"""Bucket, breaker and shares: how fast, whether at all, and whose turn."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mail.envelope import SenderName
from relay.policy.breaker import (
    FAILURES_TO_OPEN,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    Breaker,
    BreakerState,
)
from relay.policy.bucket import TokenBucket
from relay.policy.sender import Priority
from relay.policy.shares import BULK_FIRST_EVERY, in_turn, shares

A, B, C = SenderName("a"), SenderName("b"), SenderName("c")


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


def deal(
    waiting: list[SenderName],
    *,
    free: int,
    bulk: set[SenderName] | None = None,
    free_for_bulk: int = 0,
    busy: dict[SenderName, int] | None = None,
    lanes: int = 50,
    ceilings: dict[SenderName, int] | None = None,
) -> dict[SenderName, int]:
    return shares(
        waiting,
        free=free,
        bulk=bulk or set(),
        free_for_bulk=free_for_bulk,
        busy=busy or {},
        lanes=lanes,
        ceilings=ceilings or {},
    )


@pytest.mark.P6
def test_bulk_senders_leave_lanes_for_the_others() -> None:
    assert deal([A, B, C], free=50, bulk={A, B}, free_for_bulk=4) == {A: 2, B: 2, C: 25}
    assert deal([A, B], free=50, bulk={A, B}, free_for_bulk=0) == {}


@pytest.mark.P6
def test_no_sender_gets_more_than_half_the_lanes() -> None:
    assert deal([A], free=50) == {A: 25}
    assert deal([A], free=30, busy={A: 20}) == {A: 5}
    assert deal([A], free=1, lanes=1) == {A: 1}


def test_free_lanes_are_dealt_evenly_and_within_each_senders_ceiling() -> None:
    assert deal([A, B, C], free=7) == {A: 3, B: 2, C: 2}
    assert deal([A, B], free=10, ceilings={A: 2}) == {A: 2, B: 8}
    assert deal([A, B], free=10, ceilings={A: 0}) == {B: 10}
    assert deal([], free=10) == {}


@pytest.mark.P6
def test_transactional_mail_goes_first_but_bulk_is_never_starved() -> None:
    waiting = {A: Priority.BULK, B: Priority.TRANSACTIONAL, C: Priority.TRANSACTIONAL}
    firsts = [in_turn(waiting, deal)[0] for deal in range(1, 2 * BULK_FIRST_EVERY + 1)]
    assert firsts.count(A) == 2
    assert {B, C} <= set(firsts)
    assert set(in_turn(waiting, 3)) == {A, B, C}
