"""What became of a claim: outcomes, the way back into the queue, and the end of an entry.

Knows the tables; every next state comes from relay.store.states. Does not know why a claim ends
as it does.

Two ways lead out. Mail that SES took whole, which is nearly all mail, goes with all the others of
its batch in a handful of statements. Everything else is settled recipient by recipient.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from sqlite3 import Connection
from typing import Any, Final

from relay.mail.address import Address
from relay.mail.entry import Settled, State, Turn
from relay.mail.outcome import Ambiguous, Outcome, Relayed
from relay.ports import LeaseLostError
from relay.store.claiming import Lease, mark_column
from relay.store.columns import milliseconds
from relay.store.lifetime import Instant
from relay.store.outbox import OUTBOX, lines
from relay.store.states import RETIRED, after, kept_after, known, summary, turn_of
from relay.store.uptime import Uptime

_LEASED: Final = """
    SELECT count(*) FROM json_each(?) AS lease, attempt
    WHERE attempt.entry = lease.value ->> 0 AND attempt.number = lease.value ->> 1"""
_RETIRE: Final = tuple(
    f"DELETE FROM {table} WHERE {key} IN (SELECT value FROM json_each(?))"  # noqa: S608 - ours
    for table, key in (
        ("recipient", "entry"),
        ("attempt", "entry"),
        ("content", "entry"),
        ("entry", "id"),
    )
)
# Entry and token are in each row of the JSON although they are the same in all: so the rows are
# what is gone through, and each recipient is found by its key.
_UPDATE: Final = """
    UPDATE recipient SET state = one ->> 3, attempts = attempts + 1, doubts = doubts + (one ->> 4),
        due_at = one ->> 5, reason = one ->> 6, detail = one ->> 7, settled_in = one ->> 2,
        tried_in = ?
    FROM (SELECT value AS one FROM json_each(?))
    WHERE entry = one ->> 0 AND address = one ->> 1 AND settled_in <> one ->> 2"""
_UNSETTLED: Final = """
    entry = ? AND settled_in <> ? AND address IN (SELECT value FROM json_each(?))"""
_COUNT_UNSETTLED: Final = f"SELECT count(*) FROM recipient WHERE {_UNSETTLED}"  # noqa: S608 - ours
_GONE: Final = f"DELETE FROM recipient WHERE {_UNSETTLED}"  # noqa: S608 - ours
_RELEASE: Final = f"UPDATE recipient SET state = ?, due_at = ? WHERE {_UNSETTLED}"  # noqa: S608
_STATES: Final = """
    SELECT state, min(due_at), reason FROM recipient WHERE entry = ? GROUP BY state"""
_TURN_RECIPIENTS: Final = """
    UPDATE recipient SET state = :following, due_at = :due_at, tried_in = 0,
        reason = coalesce(:reason, reason), detail = iif(:reason IS NULL, detail, '')
    WHERE entry = :entry AND state = :state"""
# `since` is when the reason first held: mail that is probed and held again was held all along.
_TURN: Final = """
    UPDATE entry SET state = :state, due_at = :due_at, reason = :reason, entered_up = :uptime,
        since = iif(reason = :reason, since, :now)
    WHERE id = :id"""


@dataclass(frozen=True, slots=True)
class Settlement:
    """One call of ports.Queue.settle."""

    lease: Lease
    settled: Mapping[Address, Settled]
    now: datetime
    mark: Sequence[Address]
    uptime: Uptime

    @property
    def is_whole(self) -> bool:
        """Whether SES took the mail for everybody at once."""
        return (
            self.lease.is_whole
            and self.settled.keys() == self.lease.attempts.keys()
            and all(isinstance(one.outcome, Relayed) for one in self.settled.values())
        )

    def lines(self) -> Iterable[tuple[Any, ...]]:
        """Yield what the ledger is to be told."""
        return lines(self.lease.mail, self.settled, self.lease.attempts, self.now)


def settle(connection: Connection, settlements: list[Settlement]) -> list[State | None]:
    """Record the settlements of a batch; return the state each entry is in now."""
    whole: list[Settlement] = []
    partial: list[Settlement] = []
    for settlement in settlements:
        (whole if settlement.is_whole else partial).append(settlement)
    if whole:
        _take_leave(connection, whole)
    states = {id(settlement): _settle_in_part(connection, settlement) for settlement in partial}
    return [states.get(id(settlement), RETIRED) for settlement in settlements]


def _take_leave(connection: Connection, whole: list[Settlement]) -> None:
    """Retire mail that SES took for everybody."""
    leases = [settlement.lease for settlement in whole]
    _check_leases(connection, leases)
    expected = sum(len(lease.recipients) for lease in leases)
    if retire(connection, [lease.entry for lease in leases]) != expected:
        raise ValueError("outcomes for recipients that have one already")
    OUTBOX.insert(connection, [line for settlement in whole for line in settlement.lines()])


def _settle_in_part(connection: Connection, settlement: Settlement) -> State | None:
    lease, settled = settlement.lease, settlement.settled
    now = settlement.uptime.at(settlement.now)
    _check_leases(connection, [lease])
    strangers = [a for a in (*settled, *settlement.mark) if a not in lease.attempts]
    if strangers:
        raise ValueError(f"{strangers[0]} is no recipient of this claim")
    gone: list[str] = []
    staying: list[tuple[Any, ...]] = []
    for place, one in settled.items():
        following = after(State.IN_FLIGHT, turn_of(one.outcome))
        if following is RETIRED:
            gone.append(str(place))
        else:
            said = _said(one, following)
            staying.append((lease.entry, str(place), lease.token, following, *said))
    changed = connection.execute(_GONE, (lease.entry, lease.token, json.dumps(gone))).rowcount
    changed += connection.execute(_UPDATE, (now.run, json.dumps(staying))).rowcount
    if changed != len(settled):
        raise ValueError("outcomes for recipients that have one already")
    OUTBOX.insert(connection, list(settlement.lines()))
    (unsettled,) = connection.execute(_COUNT_UNSETTLED, _of(lease)).fetchone()
    if unsettled:
        mark = mark_column(settlement.mark)
        connection.execute("UPDATE attempt SET recipients = ? WHERE entry = ?", (mark, lease.entry))
        return State.IN_FLIGHT
    return give_back(connection, lease.entry, now)


def _said(one: Settled, following: State) -> tuple[int, int | None, str, str]:
    """Return doubts, due time, reason and detail of a recipient that stays."""
    outcome: Outcome = one.outcome
    assert not isinstance(outcome, Relayed)  # noqa: S101 - the table retires those
    if (one.due_at is None) is not (following is State.FAILED):
        raise ValueError(f"{following} mail needs a due time, and only final outcomes have none")
    due_at = None if one.due_at is None else milliseconds(one.due_at)
    return int(isinstance(outcome, Ambiguous)), due_at, outcome.reason, str(outcome.reply)


def release(connection: Connection, lease: Lease, due_at: datetime, now: Instant) -> None:
    """Give a claim back: who has no outcome was not attempted, and is due at that time."""
    _check_leases(connection, [lease])
    state = kept_after(State.IN_FLIGHT, Turn.RELEASED)
    connection.execute(_RELEASE, (state, milliseconds(due_at), *_of(lease)))
    give_back(connection, lease.entry, now)


def hold(connection: Connection, lease: Lease, reason: str, now: Instant) -> None:
    """Give a claim back held: nobody is due until an operator says so."""
    _check_leases(connection, [lease])
    turn_recipients(connection, lease.entry, Turn.SENDER_REMOVED, None, reason)
    give_back(connection, lease.entry, now)


def damage(connection: Connection, lease: Lease, complaint: str, now: Instant) -> None:
    """Set a claimed entry aside. Its recipients stay as they are, for when it can be mended."""
    _check_leases(connection, [lease])
    state = kept_after(State.IN_FLIGHT, Turn.DAMAGED)
    turn(connection, lease.entry, state, None, complaint, now)


def turn_recipients(
    connection: Connection, entry: int, each: Turn, due_at: int | None, reason: str | None
) -> None:
    """Let a turn happen to all recipients of an entry; without a reason they keep theirs."""
    rows = connection.execute("SELECT DISTINCT state FROM recipient WHERE entry = ?", (entry,))
    for (name,) in rows.fetchall():
        state = known(name)
        if state is None:
            continue  # `give_back` finds it too, and sets the entry aside
        following = kept_after(state, each)
        if following is not State.FAILED:
            words = {"following": following, "due_at": due_at, "reason": reason}
            connection.execute(_TURN_RECIPIENTS, words | {"entry": entry, "state": state})


def give_back(connection: Connection, entry: int, now: Instant) -> State | None:
    """End the claim of an entry, whose state is now that of its recipients."""
    rows = connection.execute(_STATES, (entry,)).fetchall()
    by_state = {known(name): (due_at, reason) for name, due_at, reason in rows}
    if None in by_state:
        damaged = kept_after(State.IN_FLIGHT, Turn.DAMAGED)
        turn(connection, entry, damaged, None, "the state of a recipient is unknown", now)
        return damaged
    state = summary(one for one in by_state if one is not None)
    if state is RETIRED:
        retire(connection, [entry])
        return RETIRED
    due_at = min((due for due, _ in by_state.values() if due is not None), default=None)
    turn(connection, entry, state, due_at, by_state[state][1], now)
    return state


def turn(
    connection: Connection, entry: int, state: State, due_at: int | None, reason: str, now: Instant
) -> None:
    """Write down the state of an entry that is not in flight any more.

    Of one that was not in flight before, the time spent is to be counted first (lifetime.count).
    """
    words = {"id": entry, "state": state, "due_at": due_at, "reason": reason}
    times = {"now": milliseconds(now.wall), "uptime": now.uptime}
    connection.execute(_TURN, words | times)
    connection.execute("DELETE FROM attempt WHERE entry = ?", (entry,))


def retire(connection: Connection, entries: Sequence[int]) -> int:
    """Forget entries and all that belongs to them; return how many recipients went with them."""
    these = (json.dumps(list(entries)),)
    recipients, *_ = [connection.execute(statement, these).rowcount for statement in _RETIRE]
    return recipients


def _check_leases(connection: Connection, leases: Sequence[Lease]) -> None:
    """Raise LeaseLostError unless all of the claims are in force."""
    pairs = json.dumps([(lease.entry, lease.token) for lease in leases])
    (found,) = connection.execute(_LEASED, (pairs,)).fetchone()
    if found != len(leases):
        raise LeaseLostError(
            "the claim is over: it was settled or given back, or the relay began anew"
        )


def _of(lease: Lease) -> tuple[int, int, str]:
    """Return what `_UNSETTLED` asks for."""
    recipients = json.dumps([str(recipient) for recipient in lease.recipients])
    return lease.entry, lease.token, recipients
