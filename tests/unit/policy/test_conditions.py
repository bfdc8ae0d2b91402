"""What is wrong with a relay is told by what is known of it, in a sentence, the worst first."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from relay.policy.conditions import AccountSigns, Severity, Signs, conditions, verdict
from relay.policy.trend import Trend

HOUR = 3600.0


def a_trend(**grown: float) -> Trend:
    """Return a trend of a day and a half in which all of this came within the last minutes."""
    trend = Trend(0.0)
    for minute in range(0, 36 * 60, 5):
        trend.sample({}, minute * 60.0)
    counts = {name.replace("__", " "): count for name, count in grown.items()}
    trend.sample(counts, 36 * HOUR)
    return trend


def named(signs: Signs) -> list[str]:
    return [one.alert for one in conditions(signs)]


WELL = Signs(trend=a_trend(relayed=10), accounts=[AccountSigns(name="main")])
MAIN = AccountSigns(name="main")


def test_nothing_is_wrong_with_a_relay_that_is_idle_or_works() -> None:
    assert conditions(WELL) == []
    assert conditions(Signs(trend=Trend(0.0))) == []
    words = verdict([], 3, 10)
    assert (
        words == "All is well: 10 recipients were relayed in the last 15 minutes, 3 messages wait."
    )


@pytest.mark.parametrize(
    ("changes", "alert", "words"),
    [
        ({"spool_is_well": False}, "RelaySpoolRefusing", "cannot store"),
        ({"has_room": False}, "RelaySpoolRefusing", "is full"),
        ({"trend": a_trend(commit_failures=1)}, "RelaySpoolRefusing", "cannot store"),
        ({"queue": {"corrupt": 2}}, "RelaySpoolCorrupt", "2 damaged"),
        ({"record_is_well": False}, "RelayRecordUnavailable", "record.db"),
        ({"is_reloaded": False}, "RelayConfigReloadFailed", "previous one is in force"),
        ({"certificates": {"smtps": timedelta(days=3)}}, "RelayCertificateExpiresSoon", "smtps expires in 3 days"),
        ({"certificates": {"smtps": timedelta(-1)}}, "RelayCertificateExpiresSoon", "smtps has expired"),
        ({"clock_in_doubt": True}, "RelayClockInDoubt", "stepped"),
        ({"held_long": 4}, "RelayMailHeldLong", "4 messages"),
        ({"probe_age": 2 * HOUR}, "RelayProbeFailing", "for 2 h"),
        ({"due_for": 1000.0, "trend": a_trend()}, "RelayDeliveryStalled", "for 16 min 40 s"),
        ({"trend": a_trend(faults=1)}, "RelayInternalFaults", "fault"),
        ({"trend": a_trend(log_dropped=1)}, "RelayLogLinesDropped", "Log lines"),
        ({"trend": a_trend(relayed=60), "feedback_age": 7 * HOUR}, "RelayFeedbackSilent", "for 7 h"),
        ({"trend": a_trend(relayed=1000, bounces__permanent=50)}, "RelayBounceRateHigh", "5.0%"),
        ({"trend": a_trend(relayed=1000, complaints=1)}, "RelayComplaintRateHigh", "0.10%"),
        ({"trend": a_trend(relayed=90, accepted=100, failed=3)}, "RelayRecipientsFailed", "2 %"),
        ({"accounts": [replace(MAIN, may_send=False, suspended="paused")]}, "RelaySesSendingPaused", "account main"),
        ({"accounts": [replace(MAIN, complaint="none found", suspended="credentials")]}, "RelaySesAccessRefused", "(none found)"),
        ({"trend": a_trend(relayed=9, **{"failures main not_verified": 1})}, "RelaySesAccessRefused", "identities"),
        ({"accounts": [replace(MAIN, suspended="timeout")]}, "RelaySesUnreachable", "(timeout)"),
        ({"trend": a_trend(relayed=9, **{"requests main": 10, "failures main server": 1})}, "RelaySesErrors", "main"),
        ({"trend": a_trend(relayed=9, **{"requests main": 10, "failures main throttled": 2})}, "RelaySesThrottled", "main"),
        ({"accounts": [replace(MAIN, held=True, is_short=True, quota_share=1.0)]}, "RelaySesDailyQuotaUsedUp", "used up"),
        ({"accounts": [replace(MAIN, quota_share=0.95)]}, "RelaySesDailyQuotaLow", "95%"),
    ],
)  # fmt: skip
def test_each_trouble_has_its_condition_alone(
    changes: dict[str, Any], alert: str, words: str
) -> None:
    (found,) = conditions(replace(WELL, **changes))
    assert found.alert == alert
    assert words in found.words
    assert verdict([found], 0, 0) == found.words


@pytest.mark.parametrize(
    "changes",
    [
        {"trend": a_trend(relayed=199, bounces__permanent=50, complaints=9)},
        {"trend": a_trend(relayed=49), "feedback_age": 7 * HOUR},
        {"trend": a_trend(relayed=1000), "feedback_age": 5 * HOUR},
        {"trend": a_trend(accepted=20, failed=20)},
        {"trend": a_trend(relayed=1), "due_for": 5 * HOUR},
        {"trend": a_trend(), "due_for": 899.0},
        {"trend": a_trend(), "due_for": 5 * HOUR, "accounts": [replace(MAIN, is_short=True)]},
        {"probe_age": 29 * 60.0},
        {"certificates": {"smtps": timedelta(days=15)}},
        {"trend": a_trend(relayed=9, **{"requests main": 100, "failures main server": 5})},
        {"trend": a_trend(relayed=9, **{"requests main": 100, "failures main throttled": 10})},
    ],
)
def test_below_the_limits_nothing_is_said(changes: dict[str, Any]) -> None:
    assert named(replace(WELL, **changes)) == []


def test_what_is_explained_is_not_called_a_stall_as_well() -> None:
    for account, alert in (
        (replace(MAIN, suspended="connection"), "RelaySesUnreachable"),
        (replace(MAIN, may_send=False), "RelaySesSendingPaused"),
        (replace(MAIN, held=True, is_short=True), "RelaySesDailyQuotaUsedUp"),
    ):
        signs = Signs(trend=a_trend(), due_for=5 * HOUR, accounts=[account])
        assert named(signs) == [alert]
    assert named(Signs(trend=a_trend(), due_for=5 * HOUR, spool_is_well=False)) == [
        "RelaySpoolRefusing"
    ]


def test_the_worst_comes_first_and_the_others_are_named() -> None:
    found = conditions(replace(WELL, is_reloaded=False, has_room=False, record_is_well=False))
    assert found[0].severity is Severity.CRITICAL
    words = verdict(found, 0, 0)
    assert words.startswith("The disk of the spool is full")
    assert words.endswith("Also: RelayRecordUnavailable, RelayConfigReloadFailed.")


# --- the trend ---


def test_growth_is_that_of_the_window() -> None:
    trend = Trend(0.0)
    for quarter in range(1, 4 * 60 + 1):
        trend.sample({"x": float(quarter)}, quarter * 15.0)
    assert trend.growth("x", 10) == 40
    assert trend.growth("x", 15) == 60
    # Coarsely, to the next five minutes.
    assert 240 - 20 <= trend.growth("x", 60) <= 240
    assert trend.growth("y", 10) == 0


def test_what_was_counted_before_the_window_is_not_counted_again() -> None:
    trend = Trend(0.0)
    trend.sample({"x": 5.0}, 60.0)
    for quarter in range(5, 200):
        trend.sample({"x": 5.0}, quarter * 15.0)
    assert trend.growth("x", 10) == 0
    assert trend.growth("x", 24 * 60) == 5


def test_a_trend_of_a_week_is_no_larger_than_that_of_a_day() -> None:
    trend = Trend(0.0)
    for second in range(0, 7 * 86400, 15):
        trend.sample({"x": float(second)}, float(second))
    assert len(trend._fine) < 200
    assert len(trend._coarse) < 400


def test_a_sample_more_often_than_need_be_replaces_the_one_before() -> None:
    trend = Trend(0.0)
    for tick in range(10_000):
        trend.sample({"x": float(tick)}, tick * 0.1)
    assert len(trend._fine) < 200
    assert trend.growth("x", 10) == pytest.approx(6000, rel=0.05)
