"""The share of an account's rate that is used, and what is left of its day."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.policy.day import BELIEVED_FOR, REFUSED_FOR, DailyQuota, Hold
from relay.policy.pace import CUT, ECHO, FLOOR, RECOVERY, RETURN, Pace


def test_a_refusal_cuts_the_share_once_and_it_comes_back_in_straight_lines() -> None:
    pace = Pace()
    assert pace.share(100.0) == 1.0
    assert pace.exceeded(100.0)
    assert not pace.exceeded(100.0 + ECHO / 2), "what was under way is no news"
    assert pace.share(100.0) == CUT
    assert pace.share(100.0 + RETURN / 2) == pytest.approx((1 + CUT) / 2)
    assert pace.is_cut
    assert pace.share(100.0 + RETURN) == 1.0
    assert not pace.is_cut


def test_what_was_let_through_again_comes_back_for_good() -> None:
    pace = Pace()
    pace.exceeded(100.0)
    pace.exceeded(200.0)
    for now in (300.0, 310.0, 320.0):
        pace.exceeded(now)
    limit = pace.share(320.0) / CUT
    assert pace.share(320.0 + RETURN) == pytest.approx(limit)
    assert pace.share(320.0 + RETURN + 20) == pytest.approx(limit + 20 * RECOVERY)
    assert pace.share(320.0 + RETURN + 1 / RECOVERY) == 1.0


def test_refusals_that_go_on_cut_down_to_the_floor_and_no_further() -> None:
    pace, now = Pace(), 0.0
    for _ in range(100):
        now += ECHO
        pace.exceeded(now)
    assert pace.share(now) == FLOOR
    assert pace.share(now + RETURN + 1 / RECOVERY) == 1.0


@given(st.lists(st.tuples(st.floats(-5, 500), st.booleans()), max_size=60))
def test_the_share_is_always_some_and_never_too_much(steps: list[tuple[float, bool]]) -> None:
    pace, now = Pace(), 0.0
    for wait, refused in steps:
        now += wait
        if refused:
            pace.exceeded(now)
        assert FLOOR <= pace.share(now) <= 1


def test_bulk_stops_at_the_reserve_and_all_at_nothing() -> None:
    day = DailyQuota(reserve=0.1)
    assert day.hold(0.0) is Hold.NOBODY, "nothing was read yet"
    day.read(1000, 850, 0.0)
    assert day.hold(0.0) is Hold.NOBODY
    day.sent(50)
    assert day.hold(0.0) is Hold.BULK
    assert day.left(0.0) == 100
    day.sent(100)
    assert day.hold(0.0) is Hold.ALL
    day.read(1000, 899, 300.0)
    assert day.hold(300.0) is Hold.NOBODY, "the window freed some"


def test_a_refusal_holds_until_ses_reports_room_or_a_quarter_of_an_hour() -> None:
    day = DailyQuota(reserve=0.0)
    day.refused(0.0)
    assert day.hold(REFUSED_FOR - 1) is Hold.ALL
    assert day.hold(REFUSED_FOR) is Hold.NOBODY
    day.refused(1000.0)
    day.read(1000, 1000, 1010.0)
    assert day.hold(1010.0) is Hold.ALL
    day.read(1000, 990, 1020.0)
    assert day.hold(1020.0) is Hold.NOBODY


def test_an_old_report_holds_nobody_and_an_unlimited_one_never() -> None:
    day = DailyQuota(reserve=0.1)
    day.read(1000, 1000, 0.0)
    assert day.hold(BELIEVED_FOR - 1) is Hold.ALL
    assert day.hold(BELIEVED_FOR) is Hold.NOBODY
    day.read(inf, 10**9, 0.0)
    assert day.hold(1.0) is Hold.NOBODY
