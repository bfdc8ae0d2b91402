"""Replies that cannot lie, and queue ids that can be sorted and read out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from relay.mail.envelope import QUEUE_ID, new_queue_id
from relay.mail.reply import Reply, printable


def test_a_reply_goes_on_the_wire_with_its_status() -> None:
    assert Reply(250, "2.0.0", "Ok").line == b"250 2.0.0 Ok\r\n"
    assert Reply(354, "", "Go ahead").line == b"354 Go ahead\r\n"
    assert str(Reply(550, "5.7.1", "No")) == "550 5.7.1 No"


@pytest.mark.parametrize(
    ("code", "status", "text"),
    [
        (451, "5.0.0", "x"),
        (550, "4.7.1", "x"),
        (250, "2.0.0", "a\r\n221 bye"),
        (250, "2.0.0", "caf\u00e9"),
        (250, "2.0.0", "x" * 481),
    ],
)
def test_a_reply_that_would_mislead_a_client_cannot_be_made(
    code: int, status: str, text: str
) -> None:
    with pytest.raises(ValueError, match=r"status|one line"):
        Reply(code, status, text)


def test_foreign_text_is_made_fit_for_a_reply() -> None:
    assert printable("a\r\nb\tc\u00e9 ") == "a b c"
    assert Reply(451, "4.3.0", printable("x\n" * 999)).line.endswith(b"\r\n")


def test_queue_ids_are_distinct_sorted_by_time_and_legal_tag_values() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ids = [new_queue_id(start + timedelta(milliseconds=n)) for n in range(500)]
    assert ids == sorted(ids)
    assert len({new_queue_id(start) for _ in range(1000)}) == 1000
    assert all(QUEUE_ID.fullmatch(one) for one in ids)
    assert len(ids[0]) <= 26
