"""The life of an entry as one table: for each state and each turn, the state that follows.

Everything that changes a state asks here. Does not know SQL, the clock or SES.

Two levels share the table. A *recipient* is ready, scheduled, held, ambiguous or failed, and in
flight while it bears the mark of an attempt. An *entry* is in flight while it is claimed, corrupt
when its content is, and otherwise in the most pressing state of its recipients.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, assert_never, cast

from relay.mail.entry import State, Turn
from relay.mail.outcome import Ambiguous, Blame, Deferred, Failed, Outcome, Relayed

RETIRED: Final = None
"""Where life ends: the entry, or this recipient of it, is no longer in the spool."""

BORN: Final = State.READY
"""What a committed entry is: due at once."""

_READY: Final = State.READY
_FLYING: Final = State.IN_FLIGHT
_LATER: Final = State.SCHEDULED
_HELD: Final = State.HELD
_DOUBT: Final = State.AMBIGUOUS
_FAILED: Final = State.FAILED
_CORR: Final = State.CORRUPT
_GONE: Final = RETIRED
_NEVER: Final = object()  # the turn makes no sense in that state

_COLUMNS: Final = (_READY, _FLYING, _LATER, _HELD, _DOUBT, _FAILED, _CORR)

# fmt: off
_ROWS: Final[Mapping[Turn, tuple[object, ...]]] = {
    #                       ready    in-flight scheduled held    ambiguous failed   corrupt
    # What waits, or is probed, may be attempted. What is in flight has its attempt already; what
    # failed or is corrupt waits for an operator.
    Turn.CLAIM:            (_FLYING, _NEVER,  _FLYING,  _FLYING, _FLYING,  _NEVER,  _NEVER),
    # The outcomes of an attempt, so only of something in flight.
    Turn.RELAYED:          (_NEVER,  _GONE,   _NEVER,   _NEVER,  _NEVER,   _NEVER,  _NEVER),
    Turn.DEFERRED:         (_NEVER,  _LATER,  _NEVER,   _NEVER,  _NEVER,   _NEVER,  _NEVER),
    Turn.HELD:             (_NEVER,  _HELD,   _NEVER,   _NEVER,  _NEVER,   _NEVER,  _NEVER),
    Turn.AMBIGUOUS:        (_NEVER,  _DOUBT,  _NEVER,   _NEVER,  _NEVER,   _NEVER,  _NEVER),
    Turn.FAILED:           (_NEVER,  _FAILED, _NEVER,   _NEVER,  _NEVER,   _NEVER,  _NEVER),
    # Nothing was sent, so it is as good as new. Earlier doubts are counted beside the state.
    Turn.RELEASED:         (_NEVER,  _READY,  _NEVER,   _NEVER,  _NEVER,   _NEVER,  _NEVER),
    # An operator gives the mail another sender or drops it. In flight, this is found before the
    # request; a request on its way ends by the rules it began with (see reload).
    Turn.SENDER_REMOVED:   (_HELD,   _HELD,   _HELD,    _HELD,   _HELD,    _FAILED, _CORR),
    # Half a message is not sent, and not thrown away either.
    Turn.DAMAGED:          (_CORR,   _CORR,   _CORR,    _CORR,   _CORR,    _CORR,   _CORR),
    # What waits is given up, after the answer that is under way. What failed was kept for as long
    # as promised. What is corrupt is not understood, and no clock may drop that.
    Turn.EXPIRED:          (_FAILED, _FLYING, _FAILED,  _FAILED, _FAILED,  _GONE,   _CORR),
    # An attempt cut short may have gone out. All else is on disk as it was.
    Turn.CRASH:            (_READY,  _DOUBT,  _LATER,   _HELD,   _DOUBT,   _FAILED, _CORR),
    # An orderly stop settles or releases every claim; one that is found anyway was cut short.
    Turn.RESTART:          (_READY,  _DOUBT,  _LATER,   _HELD,   _DOUBT,   _FAILED, _CORR),
    # Entries carry no settings: the next attempt looks up the new ones.
    Turn.RELOAD:           (_READY,  _FLYING, _LATER,   _HELD,   _DOUBT,   _FAILED, _CORR),
    # SES reports on mail that we still keep, so it has taken it, whatever became of our attempt.
    # An attempt under way says so itself. That content is damaged is not explained by an event.
    Turn.SETTLED_BY_EVENT: (_GONE,   _FLYING, _GONE,    _GONE,   _GONE,    _GONE,   _CORR),
    # An operator's verbs. None calls back a request that is on its way: the operator is told that
    # the mail is in flight, and may ask again.
    Turn.HOLD:             (_HELD,   _FLYING, _HELD,    _HELD,   _HELD,    _FAILED, _CORR),
    # Only what is held can be released.
    Turn.RELEASE:          (_READY,  _FLYING, _LATER,   _READY,  _DOUBT,   _FAILED, _CORR),
    # Due now, whatever it waited for; failed mail has its content still. What is corrupt is looked
    # at first: it has this turn only once it is whole again, and else is damaged once more.
    Turn.RETRY:            (_READY,  _FLYING, _READY,   _READY,  _READY,   _READY,  _READY),
    Turn.DROP:             (_GONE,   _FLYING, _GONE,    _GONE,   _GONE,    _GONE,   _GONE),
}
# fmt: on

TABLE: Final[Mapping[Turn, Mapping[State, State | None]]] = MappingProxyType(
    {
        turn: MappingProxyType(
            {
                state: cast("State | None", following)
                for state, following in zip(_COLUMNS, row, strict=True)
                if following is not _NEVER
            }
        )
        for turn, row in _ROWS.items()
    }
)
"""For each turn the states in which it can happen, and what follows from each."""

ATTEMPTABLE: Final = frozenset(TABLE[Turn.CLAIM]) - {_HELD}
"""Where mail waits for nothing but its time: what counts towards its lifetime."""

_BY_NAME: Final[Mapping[str, State]] = {state.value: state for state in State}

# From the most pressing: what needs an operator, what may go out twice, what waits.
_PRESSING: Final = (_HELD, _DOUBT, _LATER, _READY, _FAILED)


def after(state: State, turn: Turn) -> State | None:
    """Return the state that follows, or RETIRED; raise ValueError where the turn makes no sense."""
    try:
        return TABLE[turn][state]
    except KeyError:
        raise ValueError(f"{turn} makes no sense for mail that is {state}") from None


def known(name: str) -> State | None:
    """Return the state of that name, or None: a damaged row may say anything."""
    return _BY_NAME.get(name)


def kept_after(state: State, turn: Turn) -> State:
    """Return the state that follows a turn that never retires."""
    following = after(state, turn)
    if following is RETIRED:
        raise ValueError(f"{turn} retires mail that is {state}")
    return following


def summary(states: Iterable[State]) -> State | None:
    """Return the state of an entry that is not in flight, from those of its recipients.

    It is failed only when nobody is left to try, and retired when nobody is left at all.
    """
    present = set(states)
    return next((state for state in _PRESSING if state in present), RETIRED)


def turn_of(outcome: Outcome) -> Turn:
    """Return the turn that an outcome is. What only an operator can mend holds the mail (P8)."""
    match outcome:
        case Relayed():
            return Turn.RELAYED
        case Deferred():
            return Turn.HELD if outcome.blame is Blame.OPERATOR else Turn.DEFERRED
        case Ambiguous():
            return Turn.AMBIGUOUS
        case Failed():
            return Turn.FAILED
        case _:
            assert_never(outcome)
