"""The way back for what is corrupt, or is held for want of its sender.

Knows the tables and what must be whole before mail is due again. Content files are brought back by
relay.store.content, before.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from sqlite3 import Connection
from typing import Final, NamedTuple

from relay.mail.entry import State, Turn
from relay.mail.envelope import SenderName
from relay.store.columns import milliseconds
from relay.store.due import complaint_of_entry
from relay.store.lifetime import COUNTED, Instant
from relay.store.schema import SENDER_REMOVED
from relay.store.states import kept_after, known

_FIND: Final = "SELECT state, size, crc32, in_file FROM entry WHERE id = ?"
_ORPHANS: Final = f"""
    SELECT id FROM entry
    WHERE state = '{State.HELD}' AND reason = '{SENDER_REMOVED}'
        AND sender IN (SELECT value FROM json_each(?))
    LIMIT ?"""  # noqa: S608 - our own names
_BACK: Final = kept_after(State.HELD, Turn.RELEASE).value
_READMIT: Final = (
    f"""UPDATE recipient SET state = '{_BACK}', due_at = :now, reason = '', detail = '',
            tried_in = 0
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


def suspect(connection: Connection, entry: int, now: Instant) -> Suspect | None:
    """Look at an entry that is corrupt; None where there is none, or it is not."""
    row = connection.execute(_FIND, (entry,)).fetchone()
    if row is None:
        return None
    state, *file = row
    if known(state) not in (State.CORRUPT, None):
        return None
    return Suspect(complaint_of_entry(connection, entry, now), *file)


def readmit(connection: Connection, senders: Collection[SenderName], now: Instant) -> int:
    """Make some of what is held for want of these senders due; return how many: 0 when done."""
    asked = (json.dumps(list(senders)), READMITTED_AT_ONCE)
    entries = [entry for (entry,) in connection.execute(_ORPHANS, asked)]
    if entries:
        words = {"entries": json.dumps(entries), "now": milliseconds(now.wall)}
        words["uptime"] = now.uptime
        for statement in _READMIT:
            connection.execute(statement, words)
    return len(entries)
