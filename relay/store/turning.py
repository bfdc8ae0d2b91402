"""One page of an operator's order: decided entry by entry, written in a few statements.

Knows the tables; every next state comes from relay.store.states. Does not know which entries are
meant, or what follows once it is durable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Any, Final, NamedTuple

from relay.mail.entry import State, Turn
from relay.mail.envelope import Envelope, Mail, QueueId, SenderName
from relay.operators import Order, Page, Result, Turned, Verb
from relay.store.columns import milliseconds, nearest_moment
from relay.store.lifetime import COUNTED, Instant
from relay.store.outbox import OUTBOX
from relay.store.selecting import Criteria
from relay.store.settling import retire
from relay.store.states import RETIRED, after, kept_after, known, summary

# As in relay.store.view, one row; the criteria once more, for what they met may have changed.
_FIND: Final = """
    SELECT json_group_array(json_array(id, queue_id, sender, reverse_path, arrived_at, size,
        in_file, state, reason, orders, message_id, json(recipients)))
    FROM (
        SELECT *, (SELECT json_group_array(json_array(address, state, due_at, reason))
            FROM recipient WHERE entry = id) AS recipients
        FROM entry WHERE id IN (SELECT value FROM json_each(:entries)){criteria}
        ORDER BY queue_id)"""
# The rows of the JSON are what is gone through, and each recipient is found by its key.
_TURN_RECIPIENTS: Final = """
    UPDATE recipient SET state = one ->> 2, due_at = one ->> 3, tried_in = 0,
        reason = coalesce(one ->> 4, reason), detail = iif(one ->> 4 IS NULL, detail, '')
    FROM (SELECT value AS one FROM json_each(:rows))
    WHERE entry = one ->> 0 AND state = one ->> 1"""
_TURN_ENTRIES: Final = f"""
    UPDATE entry SET state = one ->> 1, due_at = one ->> 2, reason = one ->> 3,
        sender = coalesce(one ->> 4, sender), since = iif(reason = one ->> 3, since, :now),
        orders = orders + 1, {COUNTED}
    FROM (SELECT value AS one FROM json_each(:rows))
    WHERE id = one ->> 0"""  # noqa: S608 - our own names
_FORGET_ATTEMPTS: Final = "DELETE FROM attempt WHERE entry IN (SELECT value FROM json_each(?))"

# What the ledger says of each.
_FACTS: Final[Mapping[Verb, str]] = {
    Verb.HOLD: "held",
    Verb.RELEASE: "released",
    Verb.RETRY: "retried",
    Verb.DROP: "dropped",
}
# How the reason begins of what an operator holds.
_HELD: Final = "held"
_STRANGE: Final = "the state of a recipient is unknown"


class Standing(NamedTuple):
    """An entry as the order finds it. A recipient is its address, state, due time and reason."""

    id: int
    queue_id: str
    sender: str
    reverse_path: str
    arrived_at: int
    size: int
    in_file: int
    state: str
    reason: str
    orders: int
    message_id: str
    recipients: list[tuple[str, str, int | None, str]]

    @property
    def is_on_hold(self) -> bool:
        """Whether an operator holds it, and neither SES nor the want of a sender."""
        return self.state == State.HELD and self.reason.startswith(f"{_HELD} by ")

    def mail(self) -> Mail:
        """Return what of the mail is counted."""
        return Mail(
            QueueId(self.queue_id),
            SenderName(self.sender),
            Envelope(None, ()),
            nearest_moment(self.arrived_at),
            self.size,
        )


class Effects(NamedTuple):
    """What a page came to, and what must follow it once it is durable."""

    page: Page
    dropped: Sequence[Standing]
    passed_on: Sequence[Standing]
    """Entries that have another sender now, as they were before."""
    has_lines: bool
    """Whether the ledger is to be told something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turning:
    """One page: an order for these entries, run by the writer, or by a reader that only foresees.

    `complaints` says of corrupt entries that were looked at what is wrong with each, or nothing.
    """

    order: Order
    criteria: Criteria
    entries: Sequence[int]
    now: Instant
    complaints: Mapping[int, str]

    def __call__(self, connection: Connection) -> Effects:
        """Find the entries that are meant still, and turn them."""
        decided = self._decided(connection)
        decided.write(connection)
        return decided.effects()

    def foresee(self, connection: Connection) -> Page:
        """Return what the page would be."""
        return self._decided(connection).effects().page

    def _decided(self, connection: Connection) -> _Decisions:
        words = {**self.criteria.words, "entries": json.dumps(list(self.entries))}
        question = _FIND.format(criteria=self.criteria.sql)
        (found,) = connection.execute(question, words).fetchone()
        decisions = _Decisions(self.order, self.now, self.complaints)
        for row in json.loads(found):
            decisions.decide(Standing(*row))
        return decisions


class _Decisions:
    """What becomes of the entries of a page, entry by entry, and then the rows of it."""

    def __init__(self, order: Order, now: Instant, complaints: Mapping[int, str]) -> None:
        self._order = order
        self._turn = Turn(order.verb.value)
        self._words = order.words()
        self._held_words = f"{_HELD} {self._words}"
        self._now = milliseconds(now.wall)
        self._uptime = now.uptime
        self._complaints = complaints
        self._turned: list[Turned] = []
        self._roused: set[SenderName] = set()
        self._recipient_rows: list[tuple[Any, ...]] = []
        self._entry_rows: list[tuple[Any, ...]] = []
        self._lines: list[tuple[Any, ...]] = []
        self._dropped: list[Standing] = []
        self._passed_on: list[Standing] = []

    def effects(self) -> Effects:
        page = Page(self._turned, frozenset(self._roused))
        return Effects(page, self._dropped, self._passed_on, bool(self._lines))

    def write(self, connection: Connection) -> None:
        if self._recipient_rows:
            connection.execute(_TURN_RECIPIENTS, {"rows": json.dumps(self._recipient_rows)})
        if self._entry_rows:
            times = {"now": self._now, "uptime": self._uptime}
            words = {"rows": json.dumps(self._entry_rows)}
            connection.execute(_TURN_ENTRIES, words | times)
            turned = json.dumps([row[0] for row in self._entry_rows])
            connection.execute(_FORGET_ATTEMPTS, (turned,))
        if self._dropped:
            retire(connection, [found.id for found in self._dropped])
        OUTBOX.insert(connection, self._lines)

    def decide(self, found: Standing) -> None:
        """Decide on one entry by the table."""
        current = known(found.state) or State.CORRUPT
        following = after(current, self._turn)
        if following is RETIRED:
            self._drop(found)
        elif current is State.IN_FLIGHT:
            self._leave(found, Result.IN_FLIGHT, following)
        elif current is State.CORRUPT and following is State.CORRUPT:
            self._leave(found, Result.CORRUPT, following)
        elif current is State.CORRUPT and found.id not in self._complaints:
            # It became so only now, and has not been looked at.
            self._leave(found, Result.CORRUPT, current)
        elif current is State.CORRUPT and self._complaints[found.id]:
            self._damage(found, self._complaints[found.id])
        elif current is State.HELD and self._is_not_meant(found):
            self._leave(found, Result.ON_HOLD, current)
        else:
            self._turn_recipients(found, current)

    def _is_not_meant(self, found: Standing) -> bool:
        """Whether an operator holds it, and whoever retries mail may not know of that."""
        selection = self._order.selection
        is_named = bool(selection.queue_ids) or State.HELD in selection.states
        return self._order.verb is Verb.RETRY and not is_named and found.is_on_hold

    def _turn_recipients(self, found: Standing, current: State) -> None:
        verb = self._order.verb
        rows: dict[str, tuple[Any, ...]] = {}
        standing: list[tuple[State, int | None, str]] = []
        changed: list[str] = []
        for address, name, due_at, reason in found.recipients:
            state = known(name)
            if state is None:
                self._damage(found, _STRANGE)
                return
            # Failed mail is not held, held mail is not failed: most turns leave some as they are.
            following = kept_after(state, self._turn)
            turned = (following, *self._waits(state, following, due_at, reason))
            # What was corrupt is tried before its time can be over, as what was held is.
            if turned != (state, due_at, reason) or current is State.CORRUPT:
                # What is retried shows why it waited, and the answer, until the next one.
                why = None if verb is Verb.RETRY or turned[2] == reason else turned[2]
                rows[name] = (found.id, name, following, turned[1], why)
            if name in rows:
                changed.append(address)
            standing.append(turned)
        pressing = summary(state for state, _, _ in standing)
        if not changed or pressing is RETIRED or self._is_anothers(found):
            self._leave(found, Result.UNCHANGED, current)
            return
        if self._has_no_sender(found):
            self._leave(found, Result.NO_SENDER, current)
            return
        self._recipient_rows += rows.values()
        dues = [due_at for _, due_at, _ in standing if due_at is not None]
        due_at = min(dues, default=None)
        reasons = [(due or 0, reason) for state, due, reason in standing if state is pressing]
        new_sender = self._order.new_sender
        self._entry_rows.append((found.id, pressing, due_at, min(reasons)[1], new_sender))
        self._tell(found, changed)
        if new_sender is not None:
            self._passed_on.append(found)
        if due_at is not None and due_at <= self._now:
            self._roused.add(new_sender or SenderName(found.sender))
        self._turned.append(Turned(QueueId(found.queue_id), Result.CHANGED, pressing))

    def _is_anothers(self, found: Standing) -> bool:
        """Whether a new sender is named, and the mail has one: none is taken away from it."""
        order = self._order
        return order.new_sender is not None and found.sender in (order.senders or (found.sender,))

    def _has_no_sender(self, found: Standing) -> bool:
        """Whether it would be held again at once, for want of its sender."""
        order = self._order
        if order.verb is Verb.HOLD or order.senders is None or order.new_sender is not None:
            return False
        return found.sender not in order.senders

    def _waits(
        self, state: State, following: State, due_at: int | None, reason: str
    ) -> tuple[int | None, str]:
        """Return until when, and for what, a recipient waits after the turn."""
        match self._order.verb:
            case Verb.HOLD if following is State.HELD:
                # No probe either: it waits for an operator's word alone.
                return None, self._held_words
            case Verb.RELEASE if state is State.HELD:
                return self._now, ""
            case Verb.RETRY if state is not State.READY or due_at is None or due_at > self._now:
                return self._now, reason
        return due_at, reason

    def _drop(self, found: Standing) -> None:
        self._dropped.append(found)
        self._tell(found, [address for address, *_ in found.recipients])
        self._turned.append(Turned(QueueId(found.queue_id), Result.CHANGED, None))

    def _damage(self, found: Standing, complaint: str) -> None:
        """Leave it, or have it, corrupt: this is what is wrong with it."""
        damaged = kept_after(known(found.state) or State.CORRUPT, Turn.DAMAGED)
        self._entry_rows.append((found.id, damaged, None, complaint, None))
        self._leave(found, Result.CORRUPT, damaged)

    def _leave(self, found: Standing, result: Result, state: State | None) -> None:
        self._turned.append(Turned(QueueId(found.queue_id), result, state))

    def _tell(self, found: Standing, addresses: Sequence[str]) -> None:
        """Tell the ledger. The number of the order keeps a second one apart from the first."""
        fact, number = _FACTS[self._order.verb], found.orders + 1
        self._lines += [
            (
                found.queue_id,
                address,
                number,
                fact,
                self._now,
                found.sender,
                found.reverse_path,
                found.arrived_at,
                found.size,
                "",
                self._words,
                found.message_id,
            )
            for address in addresses
        ]
