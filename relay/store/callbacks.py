"""What applications are still to be told (aftermath.CallbackBook), kept in record.db.

Knows the callback table. A notice is written in the transaction of what it tells of, under an id
made of it: told again, it is the same row. Does not know who is told, or how.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from sqlite3 import Connection
from typing import Any, Final

from relay.aftermath import Callback
from relay.mail.envelope import SenderName
from relay.mail.feedback import FeedbackEvent, FeedbackRecipient
from relay.policy.callback import OF_EVENTS, OF_FACTS, Notice
from relay.store.columns import milliseconds, moment, nearest_moment
from relay.store.ledger import Owner
from relay.store.reader import Reader
from relay.store.writer import Writer

_COLUMNS: Final = "id, sender, kind, body, made_at, due_at, attempts, complaint"
_MAKE: Final = """
    INSERT OR IGNORE INTO callback VALUES (?, ?, ?, ?, ?, ?, 0, '')"""
_DUE: Final = f"""
    SELECT {_COLUMNS} FROM callback
    WHERE sender = ? AND due_at <= ? AND id NOT IN (SELECT value FROM json_each(?))
    ORDER BY due_at LIMIT ?"""  # noqa: S608 - our own names
_NEXT: Final = """
    SELECT min(due) FROM (
        SELECT (SELECT min(due_at) FROM callback WHERE sender = value AND due_at IS NOT NULL) AS due
        FROM json_each(?))"""
_TOLD: Final = "DELETE FROM callback WHERE id = ?"
_PUT_OFF: Final = """
    UPDATE callback SET due_at = ?, attempts = attempts + 1, complaint = ? WHERE id = ?"""
_FIND: Final = f"""
    SELECT {_COLUMNS} FROM callback WHERE id > ? AND (due_at IS NULL OR NOT ?)
    ORDER BY id LIMIT ?"""  # noqa: S608 - our own names
_REPLAY: Final = """
    UPDATE callback SET due_at = :now, attempts = 0
    WHERE due_at IS NULL AND (:sender IS NULL OR sender = :sender)
        AND (:ids = '[]' OR id IN (SELECT value FROM json_each(:ids)))"""
_WAITING: Final = """
    SELECT (SELECT count(*) FROM callback WHERE due_at IS NOT NULL),
        (SELECT count(*) FROM callback WHERE due_at IS NULL)"""
_AUDIT: Final = "INSERT INTO audit (at, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)"

Wants = Callable[[SenderName], bool]
"""Whether a sender's application is told of its mail."""


def of_lines(lines: Iterable[tuple[Any, ...]], wants: Wants) -> list[Notice]:
    """Return what is to be told of lines of the outbox: what was given up."""
    return [
        Notice(
            sender=line[5],
            kind=OF_FACTS[line[3]],
            at=moment(line[4]),
            queue_id=line[0],
            recipient=line[1],
            number=str(line[2]),
            detail=line[10],
            message_id=line[11],
        )
        for line in lines
        if line[3] in OF_FACTS and wants(SenderName(line[5]))
    ]


def of_event(
    event: FeedbackEvent, news: Sequence[FeedbackRecipient], owner: Owner, wants: Wants
) -> list[Notice]:
    """Return what is to be told of an event."""
    kind = OF_EVENTS.get(event.kind)
    if kind is None or not owner.sender or not wants(SenderName(owner.sender)):
        return []
    return [
        Notice(
            sender=SenderName(owner.sender),
            kind=kind,
            at=event.at,
            queue_id=owner.queue_id,
            recipient=one.address,
            number=event.feedback_id or str(milliseconds(event.at)),
            detail=" ".join(w for w in (event.kind_detail, one.status, one.diagnostic) if w),
            ses_message_id=event.ses_message_id,
            message_id=event.message_id,
        )
        for one in news
    ]


def make(connection: Connection, notices: Sequence[Notice], now: datetime) -> int:
    """Write notices down, due at once; return how many."""
    at = milliseconds(now)
    for one in notices:
        connection.execute(_MAKE, (one.id, one.sender, one.kind, one.body(), at, at))
    return len(notices)


class StoredCallbacks:
    """The queue of callbacks."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader
        self.on_made: Callable[[], None] = lambda: None
        """Called in the loop when there is something new to tell."""

    def made(self) -> None:
        """Take note that there is something new to tell."""
        self.on_made()

    async def due(
        self, sender: SenderName, now: datetime, limit: int, *, but: Collection[str]
    ) -> Sequence[Callback]:
        """Return what of a sender is due, the oldest first, without those under way."""
        asked = (sender, milliseconds(now), json.dumps(list(but)), limit)
        return await self._reader.ask(
            lambda connection: [_callback(*row) for row in connection.execute(_DUE, asked)]
        )

    async def next_due(self, senders: Collection[SenderName]) -> datetime | None:
        """Return when the next callback of these senders is due."""
        (due,) = await self._reader.ask(
            lambda connection: connection.execute(_NEXT, (json.dumps(list(senders)),)).fetchone()
        )
        return None if due is None else nearest_moment(due)

    async def told(self, callback: Callback) -> None:
        """Forget a callback that was received."""
        await self._writer.run(lambda connection: connection.execute(_TOLD, (callback.id,)))

    async def put_off(self, callback: Callback, due_at: datetime | None, complaint: str) -> None:
        """Count an attempt that failed; without a time it is dead."""
        due = None if due_at is None else milliseconds(due_at)
        await self._writer.run(
            lambda connection: connection.execute(_PUT_OFF, (due, complaint, callback.id))
        )

    async def find(self, after: str, limit: int, *, only_dead: bool) -> Sequence[Callback]:
        """Return callbacks in order of their id, after the given one."""
        return await self._reader.ask(
            lambda connection: [
                _callback(*row) for row in connection.execute(_FIND, (after, only_dead, limit))
            ]
        )

    async def replay(
        self, ids: Collection[str], sender: SenderName | None, *, actor: str, now: datetime
    ) -> int:
        """Make dead ones due: those named, or all, of a sender if one is given; audited."""
        words = {"now": milliseconds(now), "sender": sender, "ids": json.dumps(list(ids))}
        subject = ", ".join(list(ids)[:10]) or (f"sender {sender}" if sender else "all")

        def turn(connection: Connection) -> int:
            count = connection.execute(_REPLAY, words).rowcount
            detail = f"{count} dead callbacks"
            at = milliseconds(now)
            connection.execute(_AUDIT, (at, actor, "replay callbacks", subject, detail))
            return count

        count = await self._writer.run(turn)
        self.on_made()
        return count

    async def waiting(self) -> Mapping[str, int]:
        """Return how many are `pending` and how many are `dead`."""
        pending, dead = await self._reader.ask(
            lambda connection: connection.execute(_WAITING).fetchone()
        )
        return {"pending": pending, "dead": dead}


def _callback(*row: Any) -> Callback:
    name, sender, kind, body, made_at, due_at, attempts, complaint = row
    return Callback(
        name,
        SenderName(sender),
        kind,
        bytes(body),
        nearest_moment(made_at),
        None if due_at is None else nearest_moment(due_at),
        attempts,
        complaint,
    )
