"""What operators may see of the queue (the questions of ports.QueueView).

Knows how rows become values, damaged ones too: they are shown as far as they can be read. Looks by
a connection of its own, so that it delays no commit.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from relay.mail.entry import QueuedMail, QueuedRecipient, State
from relay.mail.envelope import Envelope, Mail, QueueId, SenderName
from relay.store.columns import nearest_moment, shown_address
from relay.store.reader import Reader
from relay.store.states import known
from relay.store.trouble import is_damage

_ENTRIES: Final = """
    SELECT queue_id, sender, reverse_path, arrived_at, size, state, due_at, reason,
        (SELECT json_group_array(
                json_array(position, address, state, attempts, reason, detail))
            FROM recipient WHERE entry = id),
        coalesce((SELECT recipients FROM attempt WHERE entry = id), '')
    FROM entry """
_PAGE: Final = _ENTRIES + "WHERE queue_id > ? ORDER BY queue_id LIMIT ?"
_ONE: Final = _ENTRIES + "WHERE queue_id = ?"
_BY_NUMBER: Final = _ENTRIES + "WHERE id = ?"
# From the index alone, so that no damaged row is met.
_NAMES: Final = """
    SELECT queue_id, id FROM entry WHERE queue_id > ? ORDER BY queue_id LIMIT ?"""
_LAST_KEY: Final = """
    SELECT entry, address FROM recipient WHERE (entry, address) > (?, ?)
    ORDER BY entry, address LIMIT 1 OFFSET ?"""
_ADDRESSED: Final = """
    SELECT DISTINCT entry FROM recipient
    WHERE (entry, address) > (?, ?) AND (entry, address) <= (?, ?) AND lower(address) = ?
    ORDER BY entry"""

# Recipients gone through in one transaction: some 10 ms of the reader's time.
_RECIPIENTS: Final = 20_000
_Key: TypeAlias = tuple[int, str]
_FIRST: Final[_Key] = (0, "")
_END: Final[_Key] = ((1 << 63) - 1, "")


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

    async def list_entries(self, after: str, limit: int) -> Sequence[QueuedMail]:
        """Return entries in order of queue id, after the given one."""
        return await self._reader.ask(partial(_page, after=after, limit=limit))

    async def addressed_to(self, recipient: str, limit: int) -> Sequence[QueuedMail]:
        """Return entries with that recipient, oldest first; case is ignored.

        Goes through all recipients if it must, in short transactions between which others look.
        """
        found: list[QueuedMail] = []
        key: _Key | None = _FIRST
        while key is not None and len(found) < limit:
            search = partial(_search, after=key, address=recipient.lower())
            more, key = await self._reader.ask(search)
            # Recipients of one entry may be on two pages.
            known_ids = {entry.mail.queue_id for entry in found[-1:]}
            found += [entry for entry in more if entry.mail.queue_id not in known_ids]
        return found[:limit]

    async def show(self, queue_id: QueueId) -> QueuedMail | None:
        """Return one entry, or None when the spool does not know it."""

        def one(connection: sqlite3.Connection) -> QueuedMail | None:
            return _one(connection, _ONE, queue_id, queue_id)

        return await self._reader.ask(one)


def count_by_state(connection: sqlite3.Connection) -> dict[State, int]:
    """Return the number of entries by state; what is in none we know is corrupt."""
    counts = dict.fromkeys(State, 0)
    for name, entries in connection.execute("SELECT state, sum(entries) FROM tally GROUP BY state"):
        counts[known(name) or State.CORRUPT] += entries
    return counts


def _senders(connection: sqlite3.Connection) -> list[SenderName]:
    rows = connection.execute("SELECT DISTINCT sender FROM tally WHERE entries > 0")
    return [SenderName(sender) for (sender,) in rows]


def _page(connection: sqlite3.Connection, *, after: str, limit: int) -> list[QueuedMail]:
    try:
        rows = connection.execute(_PAGE, (after, limit)).fetchall()
        page: list[QueuedMail | None] = [_queued_mail(*row) for row in rows]
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        names = connection.execute(_NAMES, (after, limit)).fetchall()
        page = [_one(connection, _BY_NUMBER, number, name) for name, number in names]
    # A damaged id may be shown as one that sorts before itself: asked for what comes after it, we
    # would come to it again for ever.
    return [entry for entry in page if entry is not None and entry.mail.queue_id > after]


def _search(
    connection: sqlite3.Connection, *, after: _Key, address: str
) -> tuple[list[QueuedMail], _Key | None]:
    """Look through one page of recipients; return what was found, and where to go on."""
    last: _Key | None = connection.execute(_LAST_KEY, (*after, _RECIPIENTS - 1)).fetchone()
    rows = connection.execute(_ADDRESSED, (*after, *(last or _END), address)).fetchall()
    found = [_one(connection, _BY_NUMBER, number, f"#{number}") for (number,) in rows]
    return [entry for entry in found if entry is not None], last


def _one(
    connection: sqlite3.Connection, question: str, key: str | int, name: str
) -> QueuedMail | None:
    """Return one entry; one that cannot be read bears its name and what is wrong with it."""
    try:
        row = connection.execute(question, (key,)).fetchone()
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        mail = Mail(QueueId(name), SenderName(""), Envelope(None, ()), nearest_moment(0), 0)
        return QueuedMail(mail, State.CORRUPT, None, f"it cannot be read: {error}", ())
    return None if row is None else _queued_mail(*row)


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
    rows: list[list[Any]] = json.loads(recipients)
    rows.sort()
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
    mail = Mail(QueueId(queue_id), SenderName(sender), envelope, nearest_moment(arrived_at), size)
    due = None if due_at is None else nearest_moment(due_at)
    current = known(state)
    if current is None:
        return QueuedMail(mail, State.CORRUPT, due, f"its state is unknown: {state}", shown)
    return QueuedMail(mail, current, due, reason, shown)
