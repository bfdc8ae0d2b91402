"""The suppression list as a copy of SES's own lists (aftermath.SyncBook).

Knows the sync table, and that a page and how far it leads are one transaction: a kill repeats a
page at most. Does not know how SES is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from sqlite3 import Connection
from typing import Final

from relay.aftermath import Progress
from relay.mail.envelope import AccountName
from relay.mail.feedback import Suppression, account_scope
from relay.store import suppressing
from relay.store.batch import Operation
from relay.store.columns import milliseconds, nearest_moment
from relay.store.reader import Reader
from relay.store.suppressing import Change
from relay.store.writer import Writer

_READ: Final = "SELECT sweep, token, seen, newest, swept_at FROM sync WHERE account = ?"
_WRITE: Final = "INSERT OR REPLACE INTO sync VALUES (?, ?, ?, ?, ?, ?)"
_AT_ONCE: Final = 500


class StoredSync:
    """Follows accounts' own lists."""

    def __init__(self, writer: Writer, reader: Reader, apply: Callable[[Change], None]) -> None:
        """`apply` is called in the loop with each change that has become durable."""
        self._writer = writer
        self._reader = reader
        self._apply = apply

    async def progress(self, account: AccountName) -> Progress:
        """Return how far the copy is."""
        row = await self._reader.ask(
            lambda connection: connection.execute(_READ, (account,)).fetchone()
        )
        if row is None:
            return Progress(0, "", 0, None, None)
        sweep, token, seen, newest, swept_at = row
        return Progress(sweep, token, seen, _moment(newest), _moment(swept_at))

    async def copy(
        self, account: AccountName, entries: Sequence[Suppression], progress: Progress
    ) -> int:
        """Follow a page of the list, and write down how far that is, in one transaction."""

        def store(connection: Connection) -> list[Change]:
            changes = [suppressing.copy(connection, one, progress.sweep) for one in entries]
            _write(connection, account, progress)
            return [change for change in changes if change is not None]

        changes = await self._writer.run(store, self._stored)
        return len(changes)

    async def finish(self, account: AccountName, progress: Progress) -> int:
        """End a full sweep: what it did not meet is let go. Returns how many those were."""
        scope, total = account_scope(account), 0

        def let_go(connection: Connection) -> list[Change]:
            return suppressing.stale(connection, scope, progress.sweep, _AT_ONCE)

        while gone := await self._writer.run(let_go, self._stored):
            total += len(gone)
        await self._writer.run(lambda connection: _write(connection, account, progress))
        return total

    def _stored(self, ended: Operation[list[Change]]) -> None:
        if ended.error is None:
            for change in ended.result:
                self._apply(change)


def _write(connection: Connection, account: AccountName, progress: Progress) -> None:
    newest, swept_at = (
        0 if at is None else milliseconds(at) for at in (progress.newest, progress.swept_at)
    )
    row = (account, progress.sweep, progress.token, progress.seen, newest, swept_at)
    connection.execute(_WRITE, row)


def _moment(column: int) -> datetime | None:
    return nearest_moment(column) if column else None
