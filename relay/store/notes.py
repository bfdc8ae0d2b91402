"""What is remembered of senders' limits over a restart (relay.upkeep.Notes).

Knows a table. Does not know what a limit is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from sqlite3 import Connection
from typing import Final

from relay.mail.envelope import SenderName
from relay.store.batch import Operation
from relay.store.columns import milliseconds, nearest_moment
from relay.store.writer import Writer
from relay.upkeep import Note

_READ: Final = "SELECT sender, at, boot, monotonic, used FROM usage"
_WRITE: Final = "INSERT OR REPLACE INTO usage VALUES (?, ?, ?, ?, ?)"


class StoredNotes:
    """Notes in the spool's database, so that they are durable in order with the mail.

    They are read and written on a full disk too: what was used of a limit cannot be asked again.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def read(self) -> Sequence[Note]:
        """Return what was noted last of each sender."""
        return await self._writer.run(_read, is_outcome=True)

    def write(self, note: Note, failed: Callable[[], None]) -> None:
        """Begin to note; `failed` is called should it fail."""

        def ended(operation: Operation[None]) -> None:
            if operation.error is not None:
                # Marked as seen, or asyncio complains that nobody looked.
                operation.future.exception()
                failed()

        self._writer.begin(partial(_write, notes=[note]), ended, is_outcome=True)

    async def write_all(self, notes: Sequence[Note]) -> None:
        """Note; durable on return."""
        await self._writer.run(partial(_write, notes=notes), is_outcome=True)


def _read(connection: Connection) -> list[Note]:
    return [
        Note(SenderName(sender), nearest_moment(at), boot, monotonic, used)
        for sender, at, boot, monotonic, used in connection.execute(_READ)
    ]


def _write(connection: Connection, *, notes: Sequence[Note]) -> None:
    for note in notes:
        row = (note.sender, milliseconds(note.at), note.boot, note.monotonic, note.used)
        connection.execute(_WRITE, row)
