"""Which senders are paused, over restarts (relay.operators.PauseBook).

Knows a table, and the columns by which mail grows older: paused mail does not. Does not know what a
pause keeps from happening.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from sqlite3 import Connection
from typing import Final

from relay.mail.entry import State
from relay.mail.envelope import SenderName
from relay.operators import Pause
from relay.ports import SpoolError
from relay.store.columns import milliseconds, nearest_moment
from relay.store.lifetime import IS_ATTEMPTABLE
from relay.store.trouble import comes_of_damage
from relay.store.uptime import Uptime
from relay.store.writer import Writer

IS_PAUSED: Final = "sender IN (SELECT sender FROM pause)"
"""Whether an entry's sender is paused: then it waits for an operator, and does not expire."""

# Entries changed in one transaction: some ms of the writer's time.
_PAGE: Final = 500

_READ: Final = "SELECT sender, since, actor, reason FROM pause ORDER BY sender"
# Who pauses what is paused gives a new reason; it has been paused since it first was.
_PAUSE: Final = """
    INSERT INTO pause VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (sender) DO UPDATE SET actor = excluded.actor, reason = excluded.reason"""
_SINCE: Final = "SELECT since_up FROM pause WHERE sender = ?"
_SOME: Final = """
    SELECT due_at, id FROM entry
    WHERE sender = ? AND due_at IS NOT NULL AND (due_at, id) > (?, ?)
    ORDER BY due_at, id LIMIT ?"""
# As if the time of the pause had not been, and it were let go now. What came, or turned, meanwhile
# begins now; so does what an earlier try, broken off, has moved already.
_LET_GO: Final = f"""
    UPDATE entry SET freed_up = :now,
        entered_up = iif(entered_up >= :since, :now, entered_up + :now - :since)
    WHERE id = :id AND ({IS_ATTEMPTABLE} OR state = '{State.HELD}')"""  # noqa: S608 - our own names
_UNTRIED: Final = "UPDATE recipient SET tried_in = 0 WHERE entry = ?"
_RESUME: Final = "DELETE FROM pause WHERE sender = ?"


class StoredPauses:
    """Pauses in the spool's database: whether mail may go must not depend on the record."""

    def __init__(self, writer: Writer, uptime: Uptime) -> None:
        self._writer = writer
        self._uptime = uptime

    async def read(self) -> Sequence[Pause]:
        """Return all pauses."""
        return await self._writer.run(_read, is_outcome=True)

    async def write(self, pause: Pause) -> Pause:
        """Pause a sender; durable on return."""
        at = self._uptime.now()
        return await self._writer.run(partial(_pause, pause=pause, at=at), is_outcome=True)

    async def remove(self, sender: SenderName) -> None:
        """End a pause; durable on return. Broken off on the way, the pause holds still."""
        since = await self._writer.run(partial(_since, sender=sender), is_outcome=True)
        if since is None:
            return
        after: tuple[int, int] | None = (-(1 << 63), 0)
        while after is not None:
            page = partial(_let_go, sender=sender, since=since, uptime=self._uptime, after=after)
            try:
                after = await self._writer.run(page, is_outcome=True)
            except SpoolError as error:
                if not comes_of_damage(error):
                    raise
                # Some of the mail has grown older meanwhile; that must not keep all of it for ever.
                break
        await self._writer.run(partial(_resume, sender=sender), is_outcome=True)


def _read(connection: Connection) -> list[Pause]:
    return [
        Pause(SenderName(sender), nearest_moment(since), actor, reason)
        for sender, since, actor, reason in connection.execute(_READ)
    ]


def _pause(connection: Connection, *, pause: Pause, at: int) -> Pause:
    row = (pause.sender, milliseconds(pause.since), at, pause.actor, pause.reason)
    connection.execute(_PAUSE, row)
    return next(one for one in _read(connection) if one.sender == pause.sender)


def _since(connection: Connection, *, sender: SenderName) -> int | None:
    row = connection.execute(_SINCE, (sender,)).fetchone()
    return None if row is None else int(row[0])


def _let_go(
    connection: Connection,
    *,
    sender: SenderName,
    since: int,
    uptime: Uptime,
    after: tuple[int, int],
) -> tuple[int, int] | None:
    """Let a page of the sender's mail be as old as when it was paused; return where it ends."""
    page = connection.execute(_SOME, (sender, *after, _PAGE)).fetchall()
    now = uptime.now()
    for _, entry in page:
        connection.execute(_LET_GO, {"id": entry, "now": now, "since": since})
        connection.execute(_UNTRIED, (entry,))
    return page[-1] if len(page) == _PAGE else None


def _resume(connection: Connection, *, sender: SenderName) -> None:
    connection.execute(_RESUME, (sender,))
