"""While SES is not heard a handful of calls is begun; while it is, any number."""

from __future__ import annotations

from relay.mail.envelope import SenderName
from relay.policy.hearing import HANDFUL, Hearing

APP, OTHER = SenderName("app"), SenderName("other")


def begin(hearing: Hearing, calls: int, now: float) -> None:
    for _ in range(calls):
        hearing.begun(APP, now)


def test_after_a_rest_a_handful_begins_and_each_answer_lets_as_many_follow() -> None:
    hearing = Hearing()
    assert hearing.allows(100.0) == HANDFUL
    begin(hearing, HANDFUL, 100.0)
    assert hearing.allows(100.1) == 0
    hearing.heard(100.1)
    assert hearing.allows(100.1) == HANDFUL


def test_where_answers_come_by_the_hundred_so_many_may_begin() -> None:
    hearing = Hearing()
    for number in range(100):
        hearing.begun(APP, 100.0)
        hearing.heard(100.0 + number / 1000)
    assert hearing.allows(100.1) == 100
    assert hearing.allows(100.3) == 100
    assert hearing.allows(100.6) == HANDFUL, "answers of long ago say nothing of now"


def test_silence_lets_one_more_be_tried_ever_more_rarely() -> None:
    hearing = Hearing()
    begin(hearing, HANDFUL, 100.0)
    tried = 0
    for tenth in range(600):
        now = 100.0 + tenth / 10
        while hearing.allows(now):
            hearing.begun(APP, now)
            tried += 1
        assert 0 < hearing.wait(now) <= 12
    assert tried == 3


def test_a_call_given_up_unanswered_frees_no_place_and_one_not_sent_does() -> None:
    hearing = Hearing()
    begin(hearing, HANDFUL, 100.0)
    hearing.ended(APP, hearing.age)
    assert hearing.allows(100.0) == 1, "what was not sent still counts"
    hearing.missed()
    hearing.ended(APP, hearing.age)
    assert hearing.allows(100.0) == 1, "an outage would go on beginning calls"


def test_what_ends_after_an_answer_is_counted_no_more() -> None:
    hearing = Hearing()
    begin(hearing, 3, 100.0)
    age = hearing.age
    hearing.heard(100.1)
    begin(hearing, 2, 100.1)
    for _ in range(3):
        hearing.ended(APP, age)
    assert hearing.allows(100.1) == HANDFUL - 2


def test_senders_are_told_apart() -> None:
    hearing = Hearing()
    begin(hearing, 2, 100.0)
    assert hearing.is_unheard(APP)
    assert not hearing.is_unheard(OTHER)
    hearing.ended(APP, hearing.age)
    assert hearing.is_unheard(APP)
    hearing.ended(APP, hearing.age)
    assert not hearing.is_unheard(APP)
    hearing.begun(APP, 101.0)
    hearing.heard(101.0)
    assert not hearing.is_unheard(APP)
