"""What operators may see of the queue (operators.QueueView).

Knows how rows become values, damaged ones too: they are shown as far as they can be read. Looks by
a connection of its own, so that it delays no commit.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from relay.mail.entry import QueuedMail, QueuedRecipient, State
from relay.mail.envelope import Envelope, Mail, QueueId, SenderName
from relay.mail.ses_headers import NOTHING_ASKED, SesHeaders
from relay.operators import AGES, Axis, Found, Selection, Shape
from relay.store import shaping
from relay.store.columns import nearest_moment, ses_headers, shown_address
from relay.store.reader import Reader
from relay.store.selecting import criteria_of, places, stretch_after
from relay.store.states import known
from relay.store.trouble import is_damage

# In one JSON array: each row of an answer costs a wait for the interpreter lock.
_ENTRIES: Final = """
    SELECT json_group_array(json_array(
        queue_id, sender, reverse_path, arrived_at, size, message_id, ses_headers,
        state, due_at, reason,
        json((SELECT json_group_array(
                json_array(position, address, state, attempts, reason, detail))
            FROM recipient WHERE entry = id)),
        coalesce((SELECT recipients FROM attempt WHERE entry = id), '')))
    FROM entry """
_SOME: Final = _ENTRIES + "WHERE id IN (SELECT value FROM json_each(?))"  # noqa: S608 - ours
_ONE: Final = _ENTRIES + "WHERE queue_id = ?"
_BY_NUMBER: Final = _ENTRIES + "WHERE id = ?"

# What is read in one question: some 10 ms of the reader's time.
_ENTRIES_AT_ONCE: Final = 250
_RECIPIENTS: Final = 20_000
# Stretches gone through for one answer, so that none is waited for much longer than a second.
_STRETCHES: Final = 50
_SHAPED: Final = 10


class View:
    """The queue as operators see it."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def counts(self) -> Mapping[State, int]:
        """Return the number of entries by state; every state is present."""
        return await self._reader.ask(count_by_state)

    async def senders(self) -> Sequence[SenderName]:
        """Return the senders with entries in the spool, configured or not."""
        return await self._reader.ask(_senders)

    async def find(self, selection: Selection, after: str, limit: int) -> Found:
        """Return entries in order of queue id, after the given one, and where to go on.

        Goes through what of the queue it must, in short transactions between which others look.
        """
        entries: list[QueuedMail] = []
        key: str | None = after
        for _ in range(_STRETCHES):
            if key is None or len(entries) >= limit:
                break
            room = min(limit - len(entries), _ENTRIES_AT_ONCE)
            look = partial(_find, selection=selection, after=key, limit=room)
            more, key = await self._reader.ask(look)
            entries += more
        return Found(entries, key)

    async def show(self, queue_id: QueueId) -> QueuedMail | None:
        """Return one entry, or None when the spool does not know it."""

        def one(connection: sqlite3.Connection) -> QueuedMail | None:
            return _one(connection, _ONE, queue_id, queue_id)

        return await self._reader.ask(one)

    async def shape(self, selection: Selection, axis: Axis, after: str, now: datetime) -> Shape:
        """Count some of the queue, in order of queue id after the given one, by age."""
        shape = Shape({}, [0] * (len(AGES) + 1), after)
        for _ in range(_SHAPED):
            if shape.after is None:
                break
            look = partial(
                shaping.shape, selection=selection, axis=axis, after=shape.after, now=now
            )
            shape = shaping.added(shape, await self._reader.ask(look))
        return shape


def count_by_state(connection: sqlite3.Connection) -> dict[State, int]:
    """Return the number of entries by state; what is in none we know is corrupt."""
    counts = dict.fromkeys(State, 0)
    for name, entries in connection.execute("SELECT state, sum(entries) FROM tally GROUP BY state"):
        counts[known(name) or State.CORRUPT] += entries
    return counts


def _senders(connection: sqlite3.Connection) -> list[SenderName]:
    rows = connection.execute("SELECT DISTINCT sender FROM tally WHERE entries > 0")
    return [SenderName(sender) for (sender,) in rows]


def _find(
    connection: sqlite3.Connection, *, selection: Selection, after: str, limit: int
) -> tuple[list[QueuedMail], str | None]:
    """Look through one stretch; return what was found, and where to go on."""
    stretch, key = stretch_after(connection, selection, after, wanted=limit)
    if stretch is None:
        return [], None
    found, damaged = places(connection, stretch, criteria_of(selection))
    names = {place.id: place.queue_id for place in found} | dict(damaged)
    # A damaged id may be read as one that sorts before itself: asked for what comes after it, we
    # would come to it again for ever.
    order = sorted(number for number in names if names[number] > after)
    order.sort(key=names.__getitem__)
    weights = {place.id: place.recipients for place in found}
    taken: list[int] = []
    room = _RECIPIENTS
    for number in order:
        if len(taken) == limit or room <= 0:
            key = names[taken[-1]]
            break
        taken.append(number)
        room -= weights.get(number, 0)
    shown = _some(connection, taken, names)
    return shown, key


def _some(
    connection: sqlite3.Connection, numbers: Sequence[int], names: Mapping[int, str]
) -> list[QueuedMail]:
    """Return entries, in order of their names; those that cannot be read bear theirs."""
    try:
        (rows,) = connection.execute(_SOME, (json.dumps(numbers),)).fetchone()
        shown: list[QueuedMail | None] = [_queued_mail(*row) for row in json.loads(rows)]
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        shown = [_one(connection, _BY_NUMBER, number, names[number]) for number in numbers]
    found = [entry for entry in shown if entry is not None]
    return sorted(found, key=lambda entry: entry.mail.queue_id)


def _one(
    connection: sqlite3.Connection, question: str, key: str | int, name: str
) -> QueuedMail | None:
    """Return one entry; one that cannot be read bears its name and what is wrong with it."""
    try:
        (rows,) = connection.execute(question, (key,)).fetchone()
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        mail = Mail(QueueId(name), SenderName(""), Envelope(None, ()), nearest_moment(0), 0)
        return QueuedMail(mail, State.CORRUPT, None, f"it cannot be read: {error}", ())
    return next((_queued_mail(*row) for row in json.loads(rows)), None)


def _queued_mail(  # noqa: PLR0913, PLR0917 - the columns of one row
    queue_id: str,
    sender: str,
    path: str,
    arrived_at: int,
    size: int,
    message_id: str,
    asked: str,
    state: str,
    due_at: int | None,
    reason: str,
    recipients: list[list[Any]],
    marked: str,
) -> QueuedMail:
    rows = sorted(recipients)
    in_flight = set(marked.splitlines())
    shown = tuple(
        QueuedRecipient(
            shown_address(spelt),
            State.IN_FLIGHT if spelt in in_flight else known(own_state) or State.CORRUPT,
            attempts,
            f"{own_reason}: {detail}" if detail else own_reason,
        )
        for _, spelt, own_state, attempts, own_reason, detail in rows
    )
    reverse_path = shown_address(path) if path else None
    envelope = Envelope(reverse_path, tuple(one.address for one in shown))
    came = nearest_moment(arrived_at)
    mail = Mail(
        QueueId(queue_id), SenderName(sender), envelope, came, size, message_id, _shown(asked)
    )
    due = None if due_at is None else nearest_moment(due_at)
    current = known(state)
    if current is None:
        return QueuedMail(mail, State.CORRUPT, due, f"its state is unknown: {state}", shown)
    return QueuedMail(mail, current, due, reason, shown)


def _shown(column: str) -> SesHeaders:
    """Return what a mail asks of SES; of a column that is damaged, nothing."""
    try:
        return ses_headers(column)
    except ValueError:
        return NOTHING_ASKED
