"""The way back for what is held, failed or corrupt: made due by an operator, or by a reload.

Knows the tables and what must be whole before mail is due again. Content files are brought back by
relay.store.content, before.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from sqlite3 import Connection
from typing import Final, NamedTuple

from relay.mail.entry import State, Turn
from relay.mail.envelope import QueueId, SenderName
from relay.store.columns import milliseconds
from relay.store.due import complaint_of_entry
from relay.store.lifetime import COUNTED, count
from relay.store.schema import SENDER_REMOVED
from relay.store.settling import give_back, turn, turn_recipients
from relay.store.states import kept_after, known

_FIND: Final = "SELECT id, state FROM entry WHERE queue_id = ?"
_FILE: Final = "SELECT size, crc32, in_file FROM entry WHERE id = ?"
_ORPHANS: Final = f"""
    SELECT id FROM entry
    WHERE state = '{State.HELD}' AND reason = '{SENDER_REMOVED}'
        AND sender IN (SELECT value FROM json_each(?))
    LIMIT ?"""  # noqa: S608 - our own names
_BACK: Final = kept_after(State.HELD, Turn.RELEASE).value
_READMIT: Final = (
    f"""UPDATE recipient SET state = '{_BACK}', due_at = :now, reason = '', detail = ''
        WHERE entry IN (SELECT value FROM json_each(:entries)) AND state = '{State.HELD}'""",  # noqa: S608
    f"""UPDATE entry SET state = '{_BACK}', due_at = :now, reason = '', since = :now, {COUNTED}
        WHERE id IN (SELECT value FROM json_each(:entries))""",  # noqa: S608 - our own names
)

READMITTED_AT_ONCE: Final = 500
"""Entries let go in one transaction, so that commits wait some milliseconds at most."""


class Suspect(NamedTuple):
    """An entry that is corrupt: what is wrong with its row, and what its file must be."""

    complaint: str
    size: int
    crc32: int
    in_file: int


def suspect(
    connection: Connection, queue_id: QueueId, *, now: int, opened_at: int
) -> Suspect | None:
    """Look at an entry that is corrupt; None where there is none, or it is not."""
    row = connection.execute(_FIND, (queue_id,)).fetchone()
    if row is None or known(row[1]) not in (State.CORRUPT, None):
        return None
    complaint = complaint_of_entry(connection, row[0], now=now, opened_at=opened_at)
    return Suspect(complaint, *connection.execute(_FILE, (row[0],)).fetchone())


@dataclass(frozen=True, slots=True)
class Retry:
    """One call of ports.QueueView.retry. `complaint` says what is wrong with what is corrupt."""

    queue_id: QueueId
    now: datetime
    opened_at: int
    complaint: str

    def __call__(self, connection: Connection) -> State | None:
        """Make the entry due, unless it is in flight, or damaged still."""
        row = connection.execute(_FIND, (self.queue_id,)).fetchone()
        if row is None:
            return None
        entry, state = row[0], known(row[1]) or State.CORRUPT
        now = milliseconds(self.now)
        if state is State.CORRUPT and self.complaint:
            following = kept_after(state, Turn.DAMAGED)
            turn(connection, entry, following, None, self.complaint, self.now)
            return following
        following = kept_after(state, Turn.RETRY)
        if following is not State.READY:
            return following
        count(connection, entry, now=now, opened_at=self.opened_at)
        turn_recipients(connection, entry, Turn.RETRY, now, None)
        return give_back(connection, entry, self.now)


def readmit(
    connection: Connection, senders: Collection[SenderName], *, now: int, opened_at: int
) -> int:
    """Make some of what is held for want of these senders due; return how many: 0 when done."""
    asked = (json.dumps(list(senders)), READMITTED_AT_ONCE)
    entries = [entry for (entry,) in connection.execute(_ORPHANS, asked)]
    if entries:
        words = {"entries": json.dumps(entries), "now": now, "opened_at": opened_at}
        for statement in _READMIT:
            connection.execute(statement, words)
    return len(entries)
