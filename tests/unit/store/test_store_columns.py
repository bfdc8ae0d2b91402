"""Values in columns, and rows by the hundred."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mail.address import Address
from relay.store.columns import (
    Rows,
    address,
    milliseconds,
    moment,
    nearest_moment,
    path_column,
    reverse_path,
    shown_address,
    span,
    to_the_millisecond,
)

TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(TIMES)
def test_a_time_comes_back_to_the_millisecond_and_never_later(at: datetime) -> None:
    back = moment(milliseconds(at))
    assert back == to_the_millisecond(at)
    assert timedelta(0) <= at - back < timedelta(milliseconds=1)


@pytest.mark.parametrize("text", ["jane@example.net", '"a@b"@example.net', r'"a\"b"@[192.0.2.1]'])
def test_an_address_comes_back_as_it_was(text: str) -> None:
    place = Address.parse(text)
    assert address(str(place)) == place
    assert reverse_path(path_column(place)) == place


@pytest.mark.P5
@pytest.mark.parametrize(
    "column",
    ["", "nobody", "jane@", "jane doe@example.net", "j\ufffdne@example.net", "j@EXAMPLE.net"],
)
def test_what_cannot_have_been_an_address_is_refused_but_can_be_shown(column: str) -> None:
    with pytest.raises(ValueError, match="mailbox"):
        address(column)
    shown = shown_address(column)
    assert f"{shown.local_part}@{shown.domain}".strip("@") == column.strip("@")


@pytest.mark.P5
@pytest.mark.parametrize("column", [-(1 << 62), -1, 1 << 48, 1 << 62])
def test_a_time_that_is_none_is_shown_as_the_nearest_there_is(column: int) -> None:
    assert nearest_moment(column).year in {1970, 9999}


def test_a_duration_comes_back() -> None:
    assert span(0) == timedelta(0)
    assert span(1234) == timedelta(seconds=1, milliseconds=234)


def test_the_null_reverse_path_comes_back() -> None:
    assert path_column(None) == ""
    assert reverse_path("") is None


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 63, 64, 65, 150])
def test_all_rows_go_in_whatever_their_number(count: int) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE fruit (name, weight)")
    rows = [(f"apple {n}", n) for n in range(count)]
    Rows("fruit", "name, weight").insert(connection, rows)
    assert connection.execute("SELECT name, weight FROM fruit ORDER BY weight").fetchall() == rows
    connection.close()


def test_rows_that_are_there_can_be_left_out() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE fruit (name PRIMARY KEY, weight)")
    rows = Rows("fruit", "name, weight", ignore=True)
    rows.insert(connection, [("apple", 1), ("pear", 2)])
    rows.insert(connection, [("apple", 3), ("plum", 4)])
    found = connection.execute("SELECT name, weight FROM fruit ORDER BY name").fetchall()
    assert found == [("apple", 1), ("pear", 2), ("plum", 4)]
    connection.close()
