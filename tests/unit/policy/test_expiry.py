"""When mail has had its time, when it may be given up, and what is said of it then."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mail.outcome import Blame
from relay.policy.expiry import OPERATOR_GRACE, PROVING, expired, is_over, may_expire

LIFETIME = timedelta(days=4)
NONE = timedelta(0)
SHORT = PROVING - timedelta(seconds=1)
SPANS = st.timedeltas(NONE, timedelta(days=40))


@given(waited=SPANS, held=SPANS)
def test_the_lifetime_is_the_time_in_which_mail_could_have_been_attempted(
    waited: timedelta, held: timedelta
) -> None:
    over = is_over(LIFETIME, waited=waited, held=held, needs_operator=False)
    assert over is (waited >= LIFETIME)


@pytest.mark.P8
@given(waited=SPANS, held=SPANS)
def test_what_an_operator_must_mend_has_ten_days_more_and_never_less(
    waited: timedelta, held: timedelta
) -> None:
    over = is_over(LIFETIME, waited=waited, held=held, needs_operator=True)
    assert over is (waited + held >= LIFETIME + OPERATOR_GRACE)


@pytest.mark.parametrize(
    ("is_tried", "is_held", "free", "may"),
    [
        (False, False, NONE, False),
        (False, False, SHORT, False),
        (False, False, PROVING, True),
        # What is held is not free, for however long that was so before.
        (False, True, LIFETIME * 100, False),
        # An attempt since the start and since it was let go is all that is needed.
        (True, False, NONE, True),
        (True, True, NONE, True),
    ],
)
def test_nothing_expires_without_an_attempt_unless_it_was_free_to_go_for_an_hour(
    free: timedelta, *, is_tried: bool, is_held: bool, may: bool
) -> None:
    assert may_expire(is_tried=is_tried, is_held=is_held, free=free) is may


@pytest.mark.P3
@pytest.mark.parametrize("last", ["", "451 4.4.1 SES: connection refused", "x" * 600, "\x00\r\n"])
def test_what_may_have_gone_out_is_never_said_to_be_not_sent(last: str) -> None:
    doubtful = expired(last, in_doubt=True, blame=Blame.OPERATOR)
    assert (doubtful.reply.status, doubtful.reason) == ("4.4.7", "expired")
    assert "not known whether SES took the message" in doubtful.reply.text
    certain = expired(last, in_doubt=False, blame=Blame.OPERATOR)
    assert (certain.reply.status, certain.blame) == ("5.4.7", Blame.OPERATOR)


def test_what_ses_last_said_is_told_if_it_said_anything() -> None:
    said = expired("SES: connection refused", in_doubt=False, blame=Blame.SERVICE)
    assert said.reply.text == "Lifetime expired; last answer: SES: connection refused"
    unasked = expired("", in_doubt=False, blame=Blame.SERVICE)
    assert unasked.reply.text == "Lifetime expired"
