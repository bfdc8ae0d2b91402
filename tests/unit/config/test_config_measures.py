"""Durations, sizes, rates, percentages, words: what is read, and what is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import measures
from relay.config.words import LogLevel
from relay.policy.sender import Rate

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("90s", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("1h", timedelta(hours=1)),
        ("4d", 4 * DAY),
        ("010s", timedelta(seconds=10)),
        ("3650d", 3650 * DAY),
    ],
)
def test_a_duration_is_read(text: str, value: timedelta) -> None:
    assert measures.duration(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "90", "s", "1.5h", "-1s", "1 h", "1H", "1w", "1h30m", "1min", "1:30", "1s\n", "٣s"],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"^is not a duration: write a number and ms, s, m, h or d"
    ):
        measures.duration(text)


def test_no_time_at_all_is_no_duration() -> None:
    with pytest.raises(ValueError, match="more than zero"):
        measures.duration("0s")


@pytest.mark.parametrize("text", ["3651d", "999999999d"])
def test_a_duration_ends_before_the_calendar_does(text: str) -> None:
    with pytest.raises(ValueError, match="ten years"):
        measures.duration(text)


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("0", 0),
        ("4096", 4096),
        ("128KiB", 131_072),
        ("25MiB", 26_214_400),
        ("1GiB", 1_073_741_824),
        ("1KB", 1000),
        ("10MB", 10_000_000),
        ("2TB", 2_000_000_000_000),
    ],
)
def test_a_size_is_read(text: str, octets: int) -> None:
    assert measures.size(text) == octets


@pytest.mark.parametrize(
    "text", ["", "MiB", "10M", "10 MiB", "10mib", "1.5MiB", "-1", "10B", "0x10"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not a size"):
        measures.size(text)


def test_the_largest_message_leaves_room_for_our_header_fields() -> None:
    assert measures.MESSAGE_SIZE_LIMIT == 10_485_760 - 4096
    assert measures.message_size("10236KiB") == measures.MESSAGE_SIZE_LIMIT
    assert measures.message_size("25MiB") == 25 * 1024**2
    assert measures.message_size("39995904") == measures.MESSAGE_SIZE_LIMIT_V2
    for text in ("40MB", "39995905", "40MiB"):
        with pytest.raises(ValueError, match=r"40000000 octets.*39995904 octets"):
            measures.message_size(text)


def test_a_message_has_a_least_size() -> None:
    assert measures.message_size("1KiB") == 1024
    with pytest.raises(ValueError, match="less than any mail"):
        measures.message_size("1023")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10/s", Rate(10, 1.0)),
        ("300/min", Rate(300, 60.0)),
        ("1/h", Rate(1, 3600.0)),
        ("5000/day", Rate(5000, 86_400.0)),
    ],
)
def test_a_rate_is_read(text: str, value: Rate) -> None:
    assert measures.rate(text) == value
    assert measures.show_rate(value) == text


@pytest.mark.parametrize("text", ["", "10", "10/m", "10/sec", "/s", "1.5/s", "-1/s", "10 / s"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not a rate"):
        measures.rate(text)


def test_a_rate_lets_something_through() -> None:
    with pytest.raises(ValueError, match="more than zero"):
        measures.rate("0/s")


def test_recipients_are_counted_per_hour_or_day() -> None:
    assert measures.long_rate("1000/h") == Rate(1000, 3600.0)
    assert measures.long_rate("20000/day") == Rate(20_000, 86_400.0)
    for text, words in {
        "20000": "^is not a rate: write a number per h or day, such as 20000/day$",
        "10/s": "^is over too short a time for recipients: write a number per h or day$",
        "300/min": "^is over too short a time for recipients",
        "0/day": "more than zero",
    }.items():
        with pytest.raises(ValueError, match=words):
            measures.long_rate(text)


def test_a_message_has_a_thousand_recipients_at_most() -> None:
    assert measures.recipient_count("1") == 1
    assert measures.recipient_count("1000") == 1000
    for text, words in {"0": "is zero", "1001": "1000 at most", "x": "whole number"}.items():
        with pytest.raises(ValueError, match=words):
            measures.recipient_count(text)


def test_a_queue_has_room_for_something() -> None:
    assert measures.queue_size("5GiB") == 5 * 1024**3
    assert measures.queue_size("25%") == 0.25
    assert measures.queue_size("100%") == 1.0
    assert [measures.show_queue_size(measures.queue_size(t)) for t in ("25%", "5GiB")] == [
        "25%",
        "5GiB",
    ]
    for text in ("0%", "100.1%", "%", "-5%"):
        with pytest.raises(ValueError, match=r"share of the room|not a"):
            measures.queue_size(text)
    for text, words in {"0": "nothing could wait", "0KiB": "is zero"}.items():
        with pytest.raises(ValueError, match=words):
            measures.queue_size(text)


@pytest.mark.parametrize(
    ("text", "fraction"), [("10%", 0.1), ("1%", 0.01), ("50%", 0.5), ("2.5%", 0.025)]
)
def test_the_free_share_of_a_disk_is_read(text: str, fraction: float) -> None:
    assert measures.free_share(text) == fraction
    assert measures.show_percentage(fraction) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10", "not a percentage"),
        ("0.1", "not a percentage"),
        ("ten%", "not a percentage"),
        ("0%", "between 1% and 50%"),
        ("51%", "between 1% and 50%"),
        ("999%", "between 1% and 50%"),
    ],
)
def test_what_is_no_free_share(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        measures.free_share(text)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.0", "1e3", "1_000", "9999999999", "٣"])
def test_what_is_no_count(text: str) -> None:
    with pytest.raises(ValueError, match=r"is (not a whole number|zero)"):
        measures.count(text)


def test_a_count_may_have_leading_zeros() -> None:
    assert measures.count("010") == 10


@pytest.mark.parametrize("text", ["yes", "no", "on", "off", "True", "1", ""])
def test_only_true_and_false_are_booleans(text: str) -> None:
    with pytest.raises(ValueError, match="neither true nor false"):
        measures.boolean(text)


def test_booleans_may_be_text_because_the_environment_has_nothing_else() -> None:
    assert measures.boolean("true") is True
    assert measures.boolean("false") is False


def test_a_word_outside_its_set_is_answered_with_the_set() -> None:
    assert measures.word("info", LogLevel) is LogLevel.INFO
    with pytest.raises(ValueError, match=r"^is not one of debug, info, warning, error$"):
        measures.word("trace", LogLevel)


@given(st.integers(min_value=1, max_value=3650 * 86_400_000))
def test_a_duration_survives_being_shown(milliseconds: int) -> None:
    # Nine digits are the most a duration is written with.
    value = timedelta(milliseconds=milliseconds)
    shown = measures.show_duration(value)
    if len(shown) <= 9:
        assert measures.duration(shown) == value


@given(st.integers(min_value=0, max_value=10**14))
def test_a_size_survives_being_shown(octets: int) -> None:
    assert measures.size(measures.show_size(octets)) == octets


@given(st.text())
@pytest.mark.parametrize(
    "read",
    [
        measures.duration,
        measures.size,
        measures.message_size,
        measures.queue_size,
        measures.rate,
        measures.long_rate,
        measures.free_share,
        measures.count,
        measures.recipient_count,
        measures.boolean,
    ],
)
def test_any_text_is_read_or_refused_without_being_repeated(
    read: Callable[[str], object], text: str
) -> None:
    try:
        read(text)
    except ValueError as error:
        assert str(error).startswith(("is ", "would "))  # noqa: PT017 - both ends are fine
