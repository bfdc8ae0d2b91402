"""What operators may see of the queue, and do to it (ports.QueueView).

Knows how rows become values. Looks by a connection of its own, so that it delays no commit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from sqlite3 import Connection
from typing import Final

from relay.mail.entry import QueuedMail, QueuedRecipient, State, Turn
from relay.mail.envelope import Envelope, Mail, QueueId, SenderName
from relay.store.columns import address, milliseconds, moment, reverse_path
from relay.store.reader import Reader
from relay.store.settling import give_back, turn_recipients
from relay.store.states import kept_after
from relay.store.writer import Writer

_ENTRIES: Final = """
    SELECT queue_id, sender, reverse_path, arrived_at, size, state, due_at, reason,
        (SELECT json_group_array(
                json_array(position, address, state, attempts, reason, detail))
            FROM recipient WHERE entry = id),
        coalesce((SELECT recipients FROM attempt WHERE entry = id), '')
    FROM entry """
_PAGE: Final = _ENTRIES + "WHERE queue_id > ? ORDER BY queue_id LIMIT ?"
_ONE: Final = _ENTRIES + "WHERE queue_id = ?"


class View:
    """The queue as operators see it."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def counts(self) -> Mapping[State, int]:
        """Return the number of entries by state; every state is present."""
        return await self._reader.ask(count_by_state)

    async def senders(self) -> Sequence[SenderName]:
        """Return the senders with entries in the spool, configured or not."""
        return await self._reader.ask(_senders)

    async def list_entries(self, after: str, limit: int) -> Sequence[QueuedMail]:
        """Return entries in order of queue id, after the given one."""

        def page(connection: Connection) -> list[QueuedMail]:
            return [_queued_mail(*row) for row in connection.execute(_PAGE, (after, limit))]

        return await self._reader.ask(page)

    async def show(self, queue_id: QueueId) -> QueuedMail | None:
        """Return one entry, or None when the spool does not know it."""

        def one(connection: Connection) -> QueuedMail | None:
            row = connection.execute(_ONE, (queue_id,)).fetchone()
            return None if row is None else _queued_mail(*row)

        return await self._reader.ask(one)

    async def retry(self, queue_id: QueueId, *, now: datetime) -> State | None:
        """Make an entry due now; None when unknown, else its state afterwards."""
        return await self._writer.run(lambda connection: _retry(connection, queue_id, now))


def count_by_state(connection: Connection) -> dict[State, int]:
    """Return the number of entries by state."""
    counts = dict.fromkeys(State, 0)
    rows = connection.execute("SELECT state, sum(entries) FROM tally GROUP BY state")
    return counts | {State(state): entries for state, entries in rows}


def _senders(connection: Connection) -> list[SenderName]:
    rows = connection.execute("SELECT DISTINCT sender FROM tally WHERE entries > 0")
    return [SenderName(sender) for (sender,) in rows]


def _retry(connection: Connection, queue_id: QueueId, now: datetime) -> State | None:
    row = connection.execute(
        "SELECT id, state FROM entry WHERE queue_id = ?", (queue_id,)
    ).fetchone()
    if row is None:
        return None
    entry, state = row
    following = kept_after(State(state), Turn.RETRY)
    if following is State.READY:
        turn_recipients(connection, entry, Turn.RETRY, milliseconds(now), None)
        return give_back(connection, entry, now)
    return following


def _queued_mail(  # noqa: PLR0913, PLR0917 - the columns of one row
    queue_id: str,
    sender: str,
    path: str,
    arrived_at: int,
    size: int,
    state: str,
    due_at: int | None,
    reason: str,
    recipients: str,
    marked: str,
) -> QueuedMail:
    rows = json.loads(recipients)
    rows.sort()
    in_flight = set(marked.splitlines())
    known = tuple(
        QueuedRecipient(
            address(spelt),
            State.IN_FLIGHT if spelt in in_flight else State(own_state),
            attempts,
            f"{own_reason}: {detail}" if detail else own_reason,
        )
        for _, spelt, own_state, attempts, own_reason, detail in rows
    )
    envelope = Envelope(reverse_path(path), tuple(one.address for one in known))
    mail = Mail(QueueId(queue_id), SenderName(sender), envelope, moment(arrived_at), size)
    due = None if due_at is None else moment(due_at)
    return QueuedMail(mail, State(state), due, reason, known)
