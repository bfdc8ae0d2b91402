"""When mail is tried again: never early, never past its lifetime without saying so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.mail.entry import Settled
from relay.mail.outcome import Ambiguous, Blame, Deferred, Failed, Outcome, Relayed
from relay.mail.reply import Reply
from relay.policy.expiry import OPERATOR_GRACE
from relay.policy.retry import Past, RetrySchedule

ARRIVED = datetime(2026, 3, 1, tzinfo=UTC)
SCHEDULE = RetrySchedule(
    first=timedelta(seconds=30), ceiling=timedelta(hours=1), lifetime=timedelta(days=4)
)
DOWN = Deferred(Reply(451, "4.4.1", "SES: connection refused"), "connection", Blame.SERVICE)
UNVERIFIED = Deferred(Reply(451, "4.3.5", "not verified"), "not_verified", Blame.OPERATOR)
LOST = Ambiguous(Reply(451, "4.4.2", "SES: no answer"), "timeout")


def settle(
    outcome: Outcome,
    *,
    attempts: int = 1,
    waited: timedelta = timedelta(0),
    held: timedelta = timedelta(0),
    jitter: float = 0.0,
    events_seen: bool = False,
    in_doubt: bool = False,
    may_expire: bool = True,
) -> Settled:
    return SCHEDULE.settle(
        outcome,
        Past(attempts, waited, held, in_doubt),
        now=ARRIVED + waited + held,
        jitter=jitter,
        events_seen=events_seen,
        may_expire=may_expire,
    )


@pytest.mark.parametrize(
    ("attempts", "wait"),
    [
        (1, timedelta(seconds=30)),
        (2, timedelta(seconds=60)),
        (3, timedelta(seconds=120)),
        (7, timedelta(seconds=1920)),
        (8, timedelta(hours=1)),
        (10_000, timedelta(hours=1)),
    ],
)
def test_the_wait_doubles_up_to_its_ceiling(attempts: int, wait: timedelta) -> None:
    assert settle(DOWN, attempts=attempts).due_at == ARRIVED + wait


def test_final_outcomes_are_not_due_again() -> None:
    failed = Failed(Reply(554, "5.6.0", "no"), "rejected", Blame.MESSAGE)
    assert settle(Relayed("id")) == Settled(Relayed("id"), None)
    assert settle(failed) == Settled(failed, None)


@given(
    attempts=st.integers(1, 10_000),
    waited=st.timedeltas(timedelta(0), timedelta(days=20)),
    held=st.timedeltas(timedelta(0), timedelta(days=20)),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_a_retry_is_never_early_and_an_old_mail_is_not_retried(
    attempts: int, waited: timedelta, held: timedelta, jitter: float
) -> None:
    settled = settle(DOWN, attempts=attempts, waited=waited, held=held, jitter=jitter)
    if waited >= SCHEDULE.lifetime:
        assert isinstance(settled.outcome, Failed)
        assert settled.outcome.reason == "expired"
        assert "connection refused" in settled.outcome.reply.text
    else:
        assert settled.due_at is not None
        now = ARRIVED + waited + held
        assert now + SCHEDULE.first <= settled.due_at <= now + SCHEDULE.ceiling * 1.25


@pytest.mark.P8
def test_what_an_operator_must_mend_outlives_the_lifetime() -> None:
    assert settle(UNVERIFIED, held=SCHEDULE.lifetime * 2).due_at is not None
    assert settle(UNVERIFIED, waited=SCHEDULE.lifetime * 2).due_at is not None
    gone = settle(UNVERIFIED, waited=SCHEDULE.lifetime, held=OPERATOR_GRACE)
    assert isinstance(gone.outcome, Failed)


@pytest.mark.P8
def test_time_in_which_it_was_held_does_not_age_a_mail() -> None:
    """Mended after a week, one more refusal of another kind must not fail it."""
    assert settle(DOWN, held=SCHEDULE.lifetime * 3).due_at is not None
    assert settle(LOST, held=SCHEDULE.lifetime * 3).due_at is not None


@pytest.mark.P3
@pytest.mark.parametrize(
    ("attempts", "events_seen", "wait"),
    [
        (1, True, timedelta(minutes=10)),
        (2, True, timedelta(minutes=20)),
        (1, False, timedelta(minutes=30)),
        (2, False, timedelta(hours=1)),
        (9, False, timedelta(hours=1)),
    ],
)
def test_an_ambiguous_attempt_waits_on_its_own_patient_schedule(
    attempts: int, wait: timedelta, *, events_seen: bool
) -> None:
    assert settle(LOST, attempts=attempts, events_seen=events_seen).due_at == ARRIVED + wait


@pytest.mark.P3
@pytest.mark.parametrize("outcome", [LOST, DOWN, UNVERIFIED])
def test_a_mail_that_may_have_gone_out_expires_as_unknown_never_as_not_sent(
    outcome: Outcome,
) -> None:
    """Be the doubt of this attempt, or of an earlier one."""
    waited = SCHEDULE.lifetime + OPERATOR_GRACE
    settled = settle(outcome, waited=waited, in_doubt=outcome is not LOST)
    assert isinstance(settled.outcome, Failed)
    assert (settled.outcome.reason, settled.outcome.reply.status) == ("expired", "4.4.7")
    assert "not known whether SES took the message" in settled.outcome.reply.text


@pytest.mark.parametrize("outcome", [LOST, DOWN, UNVERIFIED])
def test_nothing_expires_while_it_may_not(outcome: Outcome) -> None:
    settled = settle(outcome, waited=SCHEDULE.lifetime * 100, may_expire=False)
    assert settled.due_at is not None


def test_throttled_mail_waits_seconds_not_minutes() -> None:
    slow = Deferred(Reply(451, "4.4.5", "rate"), "throttled", Blame.SERVICE, timedelta(seconds=1))
    assert settle(slow, attempts=1).due_at == ARRIVED + timedelta(seconds=1)
    assert settle(slow, attempts=3).due_at == ARRIVED + timedelta(seconds=4)
    assert settle(slow, attempts=50).due_at == ARRIVED + timedelta(seconds=60)
