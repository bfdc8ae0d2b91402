"""What the account may send in a second and in a day."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.simulator.quota import (
    CONTROL_RATE_EXCEEDED,
    DAY_EXCEEDED,
    RATE_EXCEEDED,
    Bucket,
    Quota,
    Window,
)
from relay.simulator.settings import UNLIMITED, Settings, Throttle

NOW = datetime(2026, 3, 2, 9, 15, 4, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize("rate", [1, 3, 7, 14, 90, 500, 14.5, 3000])
def test_a_bucket_passes_one_seconds_worth_at_once(rate: float) -> None:
    bucket = Bucket()
    passed = sum(bucket.take(1, rate=rate, now=NOW) for _ in range(int(rate) + 10))
    assert passed == int(rate)


def test_a_bucket_goes_into_debt_which_must_be_earned_back() -> None:
    bucket = Bucket()
    assert bucket.take(5, rate=1, now=NOW)
    assert not bucket.take(1, rate=1, now=after(4.9))
    assert bucket.take(1, rate=1, now=after(5))
    assert not bucket.take(1, rate=1, now=after(5.9))


def test_a_call_passes_while_any_allowance_is_left() -> None:
    bucket = Bucket()
    assert bucket.take(13, rate=14, now=NOW)
    assert bucket.take(50, rate=14, now=NOW)
    assert not bucket.take(1, rate=14, now=NOW)


def test_a_rate_below_one_a_second_still_passes_one() -> None:
    bucket = Bucket()
    assert bucket.take(1, rate=0.5, now=NOW)
    assert not bucket.take(1, rate=0.5, now=after(1.9))
    assert bucket.take(1, rate=0.5, now=after(2))


def test_a_window_starts_anew_each_second_but_remembers_debt() -> None:
    window = Window()
    start = NOW.replace(microsecond=900_000)
    assert window.take(2, rate=3, now=start)
    assert window.take(2, rate=3, now=start)
    assert not window.take(1, rate=3, now=start)
    soon = start + timedelta(milliseconds=100)
    assert window.take(1, rate=3, now=soon)
    assert window.take(1, rate=3, now=soon)
    assert not window.take(1, rate=3, now=soon)
    assert window.take(1, rate=3, now=soon + 10 * SECOND)


@given(
    st.lists(st.tuples(st.integers(0, 3_000), st.integers(1, 50)), min_size=1, max_size=60),
    st.sampled_from([1.0, 5.0, 14.0, 90.0]),
    st.sampled_from([Bucket, Window]),
)
def test_no_more_passes_than_the_rate_allows(
    calls: list[tuple[int, int]], rate: float, kind: type[Bucket | Window]
) -> None:
    counted = kind()
    now, passed, largest = NOW, 0, 0
    for wait, recipients in calls:
        now += timedelta(milliseconds=wait)
        if counted.take(recipients, rate=rate, now=now):
            passed += recipients
            largest = max(largest, recipients)
    elapsed = (now - NOW) / SECOND
    # A bucket's burst, or two windows that touch, and one call's debt.
    assert passed <= rate * (elapsed + 2) * 1.001 + largest


def take(
    quota: Quota,
    recipients: int,
    *,
    settings: Settings,
    now: datetime = NOW,
    counted: int | None = None,
) -> object:
    return quota.take(
        recipients,
        counted=recipients if counted is None else counted,
        settings=settings,
        now=now,
    )


FAST = Settings(max_send_rate=UNLIMITED, daily_quota=10)


def test_the_daily_quota_rolls_and_refuses_calls_whole() -> None:
    quota = Quota()
    assert take(quota, 6, settings=FAST) is None
    assert take(quota, 5, settings=FAST, now=after(1)) == DAY_EXCEEDED
    assert take(quota, 4, settings=FAST, now=after(1)) is None
    assert quota.sent_last_24_hours(after(2)) == 10
    day = 24 * 3600
    assert take(quota, 1, settings=FAST, now=after(day - 0.1)) == DAY_EXCEEDED
    assert take(quota, 6, settings=FAST, now=after(day)) is None
    assert quota.sent_last_24_hours(after(day + 1)) == 6


def test_the_mailbox_simulator_costs_rate_but_no_daily_quota() -> None:
    quota = Quota()
    settings = replace(FAST, max_send_rate=12)
    assert take(quota, 11, settings=settings, counted=0) is None
    assert quota.sent_last_24_hours(NOW) == 0
    assert take(quota, 10, settings=settings) is None
    assert take(quota, 1, settings=settings, counted=0) == RATE_EXCEEDED
    assert take(quota, 1, settings=settings, counted=0, now=after(1)) is None


def test_a_refused_call_costs_nothing() -> None:
    quota = Quota()
    settings = Settings(max_send_rate=1, daily_quota=3)
    assert take(quota, 1, settings=settings) is None
    assert take(quota, 1, settings=settings) == RATE_EXCEEDED
    assert take(quota, 3, settings=settings, now=after(1)) == DAY_EXCEEDED
    assert take(quota, 2, settings=settings, now=after(1)) is None
    assert quota.sent_last_24_hours(after(1)) == 3


def test_calls_of_one_second_are_kept_together() -> None:
    quota = Quota()
    settings = Settings(max_send_rate=UNLIMITED, daily_quota=UNLIMITED)
    for _ in range(3):
        assert take(quota, 2, settings=settings) is None
    assert quota.sent_last_24_hours(NOW) == 6


def test_the_sandbox_has_its_own_limits() -> None:
    unlimited = Settings(sandbox=True, max_send_rate=UNLIMITED, daily_quota=UNLIMITED)
    assert (unlimited.send_rate, unlimited.recipients_a_day) == (1, 200)
    low = Settings(sandbox=True, max_send_rate=0.5, daily_quota=100)
    assert (low.send_rate, low.recipients_a_day) == (0.5, 100)
    quota = Quota()
    assert take(quota, 1, settings=unlimited) is None
    assert take(quota, 1, settings=unlimited) == RATE_EXCEEDED


def test_the_way_of_counting_is_a_switch() -> None:
    quota = Quota()
    settings = Settings(max_send_rate=1, throttle=Throttle.WINDOW)
    assert take(quota, 1, settings=settings, now=after(0.9)) is None
    assert take(quota, 1, settings=settings, now=after(1)) is None
    assert take(quota, 1, settings=settings, now=after(1.5)) == RATE_EXCEEDED


def test_control_calls_pass_once_a_second() -> None:
    quota = Quota()
    assert quota.take_control_call(Settings(), NOW) is None
    assert quota.take_control_call(Settings(), NOW) == CONTROL_RATE_EXCEEDED
    assert quota.take_control_call(Settings(control_rate=None), NOW) is None
    assert quota.take_control_call(Settings(), after(1)) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_send_rate": 0.0},
        {"max_send_rate": -2.0},
        {"daily_quota": -2},
        {"control_rate": 0.0},
        {"topic": "ses-feedback"},
    ],
)
def test_an_account_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).partition("_")[0]):
        Settings(**wrong)  # type: ignore[arg-type]


def test_secrets_are_not_shown() -> None:
    shown = repr(Settings())
    assert "simulator-secret" not in shown
    assert "AKIASIMULATORDEMO000" in shown
