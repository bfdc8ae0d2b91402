"""The table of states, cell by cell."""

from __future__ import annotations

import itertools

import pytest

from relay.mail.entry import State, Turn
from relay.mail.outcome import Ambiguous, Blame, Deferred, Failed, Outcome, Relayed
from relay.mail.reply import Reply
from relay.store.states import (
    ATTEMPTABLE,
    RETIRED,
    TABLE,
    after,
    kept_after,
    known,
    summary,
    turn_of,
)

CELLS = list(itertools.product(State, Turn))
OUTCOMES = {Turn.RELAYED, Turn.DEFERRED, Turn.HELD, Turn.AMBIGUOUS, Turn.FAILED, Turn.RELEASED}
NOT_ASKED_FOR = set(Turn) - OUTCOMES - {Turn.CLAIM}
NOBODY_ASKED = {Turn.CRASH, Turn.RESTART, Turn.RELOAD}


@pytest.mark.parametrize(("state", "turn"), CELLS)
def test_a_cell_is_a_row_or_is_refused_in_words(state: State, turn: Turn) -> None:
    if state in TABLE[turn]:
        following = after(state, turn)
        assert following is RETIRED or isinstance(following, State)
    else:
        with pytest.raises(ValueError, match=f"^{turn} makes no sense for mail that is {state}$"):
            after(state, turn)


@pytest.mark.parametrize("turn", sorted(NOT_ASKED_FOR))
def test_what_can_happen_at_any_time_has_an_answer_in_every_state(turn: Turn) -> None:
    assert set(TABLE[turn]) == set(State)


@pytest.mark.parametrize("turn", sorted(OUTCOMES))
def test_only_what_is_in_flight_has_an_outcome(turn: Turn) -> None:
    assert set(TABLE[turn]) == {State.IN_FLIGHT}


@pytest.mark.P5
@pytest.mark.parametrize("turn", sorted(set(Turn) - {Turn.DROP, Turn.RETRY}))
def test_nothing_but_an_operator_removes_what_is_corrupt(turn: Turn) -> None:
    if State.CORRUPT in TABLE[turn]:
        assert after(State.CORRUPT, turn) is State.CORRUPT


def test_mail_is_attemptable_where_it_waits_for_nothing_but_its_time() -> None:
    assert {State.READY, State.SCHEDULED, State.AMBIGUOUS} == ATTEMPTABLE


@pytest.mark.P5
def test_a_state_nobody_knows_is_none() -> None:
    assert known("held") is State.HELD
    assert known("lost") is None


@pytest.mark.P3
@pytest.mark.parametrize("state", sorted(set(State) - {State.IN_FLIGHT}))
@pytest.mark.parametrize("turn", sorted(NOBODY_ASKED))
def test_a_stop_changes_only_what_is_in_flight(state: State, turn: Turn) -> None:
    assert after(state, turn) is state


@pytest.mark.P3
def test_an_attempt_cut_short_may_have_gone_out() -> None:
    assert after(State.IN_FLIGHT, Turn.CRASH) is State.AMBIGUOUS
    assert after(State.IN_FLIGHT, Turn.RESTART) is State.AMBIGUOUS
    assert after(State.IN_FLIGHT, Turn.RELEASED) is State.READY


@pytest.mark.parametrize(
    "turn", [Turn.HOLD, Turn.RELEASE, Turn.RETRY, Turn.DROP, Turn.EXPIRED, Turn.SETTLED_BY_EVENT]
)
def test_nothing_takes_mail_away_from_an_attempt_under_way(turn: Turn) -> None:
    assert after(State.IN_FLIGHT, turn) is State.IN_FLIGHT


@pytest.mark.P8
def test_what_is_held_is_never_failed_but_by_its_own_long_expiry() -> None:
    failing = [turn for turn in Turn if TABLE[turn].get(State.HELD) is State.FAILED]
    assert failing == [Turn.EXPIRED]


def test_a_turn_that_retires_is_no_answer_where_one_is_needed() -> None:
    assert kept_after(State.FAILED, Turn.RETRY) is State.READY
    with pytest.raises(ValueError, match="drop retires mail that is failed"):
        kept_after(State.FAILED, Turn.DROP)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], RETIRED),
        ([State.READY], State.READY),
        ([State.READY, State.SCHEDULED], State.SCHEDULED),
        ([State.SCHEDULED, State.AMBIGUOUS], State.AMBIGUOUS),
        ([State.AMBIGUOUS, State.HELD], State.HELD),
        ([State.FAILED, State.SCHEDULED], State.SCHEDULED),
        ([State.FAILED, State.FAILED], State.FAILED),
    ],
)
def test_an_entry_is_in_the_most_pressing_state_of_its_recipients(
    states: list[State], expected: State | None
) -> None:
    assert summary(states) is expected
    assert summary(reversed(states)) is expected


_REPLY = Reply(451, "4.0.0", "later")


@pytest.mark.parametrize(
    ("outcome", "turn"),
    [
        (Relayed("1"), Turn.RELAYED),
        (Deferred(_REPLY, "throttled", Blame.SERVICE), Turn.DEFERRED),
        (Deferred(_REPLY, "credentials", Blame.OPERATOR), Turn.HELD),
        (Ambiguous(_REPLY, "timeout"), Turn.AMBIGUOUS),
        (Failed(Reply(554, "5.0.0", "no"), "rejected", Blame.MESSAGE), Turn.FAILED),
    ],
)
def test_an_outcome_is_a_turn(outcome: Outcome, turn: Turn) -> None:
    assert turn_of(outcome) is turn
