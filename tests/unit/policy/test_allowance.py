"""Quotas and allowances: how many recipients in any hour or day, how many messages at once."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.policy.allowance import Allowances, Lack
from relay.policy.bucket import MANY
from relay.policy.quota import RollingQuota
from relay.policy.sender import Limits, Rate, Sender
from tests.builders import a_sender

HOUR, DAY = 3600.0, 86_400.0
AN_HOUR, A_DAY = Rate(100, HOUR), Rate(1000, DAY)


def with_limits(**limits: object) -> Sender:
    sender = a_sender()
    return replace(sender, limits=Limits(sender.limits.message_size, **limits))  # type: ignore[arg-type]


def test_a_quota_is_used_up_and_comes_back_a_window_later() -> None:
    quota = RollingQuota(AN_HOUR)
    quota.take(60, 10.0)
    quota.take(40, 1000.0)
    assert quota.room(1000.0) == 0
    # The minute of the first sixty ends at 60 s; an hour later they count no more.
    assert quota.wait(1000.0) == HOUR + 60 - 1000
    assert quota.room(HOUR + 59) == 0
    assert quota.room(HOUR + 60) == 60
    assert quota.wait(HOUR + 60, 61) == pytest.approx(1020 - 60)


def test_more_than_the_quota_never_goes() -> None:
    assert RollingQuota(AN_HOUR).wait(0.0, 101) == inf


def test_what_is_taken_beyond_the_quota_is_waited_for() -> None:
    quota = RollingQuota(AN_HOUR)
    quota.take(1000, 0.0)
    assert quota.room(0.0) == 0
    assert quota.wait(0.0) == HOUR + 60


def test_what_did_not_go_after_all_is_given_back() -> None:
    quota = RollingQuota(AN_HOUR)
    first = quota.take(70, 0.0)
    second = quota.take(30, 100.0)
    quota.give_back(30, second)
    assert quota.room(110.0) == 30
    quota.give_back(50, first)
    assert quota.room(110.0) == 80


def test_what_counts_no_more_gives_nothing_of_others_back() -> None:
    quota = RollingQuota(AN_HOUR)
    held = quota.take(100, 0.0)
    assert quota.room(3700.0) == 100
    quota.take(100, 3700.0)
    quota.give_back(100, held)
    assert quota.room(3701.0) == 0


def test_recipients_are_given_back_to_the_limits_in_force_by_then() -> None:
    allowances = Allowances()
    sender = with_limits(recipients=(Rate(10, HOUR),))
    allowances.of(sender, 1, 0.0).take_recipients(2, 0.0)
    taken = allowances.of(sender, 1, 1.0).take_recipients(5, 1.0)
    allowances.of(with_limits(recipients=(Rate(9, HOUR), A_DAY)), 2, 2.0)
    allowances.give_back(sender.name, taken)
    allowance = allowances.of(sender, 1, 3.0)
    assert allowance.lack_of_recipients(7, 3.0) is None
    assert allowance.lack_of_recipients(8, 3.0) is not None


def test_a_clock_that_steps_back_forgets_nothing() -> None:
    quota = RollingQuota(AN_HOUR)
    quota.take(50, 5000.0)
    quota.take(50, 10.0)
    assert quota.room(10.0) == 0
    assert quota.room(5000.0 + HOUR) == 0
    assert quota.room(5000.0 + HOUR + 60) == 100


@given(
    st.lists(
        st.tuples(st.floats(0, 600), st.integers(1, 40)),
        max_size=60,
    )
)
def test_no_window_ever_holds_more_than_the_quota(steps: list[tuple[float, int]]) -> None:
    quota = RollingQuota(AN_HOUR)
    now, taken = 0.0, list[tuple[float, int]]()
    for gap, wanted in steps:
        now += gap
        count = min(wanted, quota.room(now))
        if count:
            quota.take(count, now)
            taken.append((now, count))
        in_window = sum(count for at, count in taken if at > now - HOUR)
        assert in_window <= AN_HOUR.count
        # And what the quota makes wait is waited for no more than a minute too long.
        if quota.room(now) == 0:
            late = now + quota.wait(now)
            assert sum(count for at, count in taken if at > late - HOUR - 60) <= AN_HOUR.count
            assert deepcopy(quota).room(late) > 0


def test_a_sender_without_limits_lacks_nothing() -> None:
    allowance = Allowances().of(with_limits(), 1, 0.0)
    assert allowance.messages(0.0) == MANY
    assert allowance.wait(0.0) == 0
    assert allowance.lack_of_messages(0.0) is None
    assert allowance.lack_of_recipients(10**6, 0.0) is None


def test_the_limit_that_lasts_longest_is_named() -> None:
    sender = with_limits(recipients=(AN_HOUR, A_DAY))
    allowance = Allowances().of(sender, 1, 0.0)
    for hour in range(10):
        now = hour * (HOUR + 60)
        assert allowance.lack_of_recipients(100, now) is None
        allowance.take_recipients(100, now)
        assert allowance.messages(now) == 0
    lack = allowance.lack_of_recipients(1, 9 * (HOUR + 60))
    assert lack is not None
    assert lack.limit == A_DAY


def test_messages_and_recipients_both_bound() -> None:
    sender = with_limits(rate=Rate(2, 1.0), burst=3, recipients=(Rate(10, HOUR),))
    allowance = Allowances().of(sender, 1, 0.0)
    assert allowance.messages(0.0) == 3
    allowance.take_recipients(9, 0.0)
    assert allowance.messages(0.0) == 1
    for _ in range(3):
        allowance.take_message(0.0)
    assert allowance.messages(0.0) == 0
    assert allowance.lack_of_messages(0.0) == Lack(Rate(2, 1.0), 0.5)
    assert allowance.wait(0.0) == 0.5
    taken = allowance.take_recipients(1, 0.0)
    assert allowance.wait(0.0) == HOUR + 60
    allowance.give_back_recipients(taken)
    assert allowance.wait(0.0) == 0.5


def test_new_limits_keep_what_was_used_of_the_quotas() -> None:
    allowances = Allowances()
    first = with_limits(rate=Rate(1, 1.0), recipients=(AN_HOUR, A_DAY))
    used = allowances.of(first, 1, 0.0)
    used.take_recipients(100, 0.0)
    used.take_message(0.0)
    second = with_limits(rate=Rate(5, 1.0), recipients=(Rate(150, HOUR),))
    allowance = allowances.of(second, 2, 1.0)
    assert allowance.lack_of_messages(1.0) is None
    assert allowance.lack_of_recipients(50, 1.0) is None
    assert allowance.lack_of_recipients(51, 1.0) is not None


def test_a_reload_that_changes_nothing_starts_nothing_anew() -> None:
    allowances = Allowances()
    allowances.of(with_limits(rate=Rate(1, 60.0)), 1, 0.0).take_message(0.0)
    assert allowances.of(with_limits(rate=Rate(1, 60.0)), 2, 1.0).wait(1.0) == 59.0


def test_who_goes_by_older_rules_does_not_start_the_new_ones_anew() -> None:
    allowances = Allowances()
    old, new = with_limits(rate=Rate(1, 60.0)), with_limits(rate=Rate(1, 30.0))
    allowances.of(old, 1, 0.0)
    allowances.of(new, 2, 0.0).take_message(0.0)
    assert allowances.of(old, 1, 1.0).wait(1.0) == 29.0
    assert allowances.of(new, 2, 1.0).wait(1.0) == 29.0
