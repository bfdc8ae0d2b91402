"""Carries what the spool recorded over to the ledger.

Knows both databases, and that there is no transaction over the two: it copies, then deletes, and
the ledger ignores what it has. So a crash between the two only repeats the copy, and while the
record is sick mail flows and the outbox grows.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from sqlite3 import Connection
from typing import Any, Final

from relay.facts import Facts
from relay.ports import SpoolError
from relay.store import callbacks, ledger
from relay.store.outbox import COLUMNS
from relay.store.reader import Reader
from relay.store.writer import Writer

_PAGE: Final = 500
# Nobody reads the ledger within a tenth of a second without asking for it, and a copy a settlement
# would cost an fsync a settlement.
_PACE: Final = 0.1  # seconds
_FIRST_REST: Final = 1.0
_LONGEST_REST: Final = 60.0

_READ: Final = f"SELECT {COLUMNS}, id FROM outbox ORDER BY id LIMIT ?"  # noqa: S608 - our own names


class Mover:
    """Empties the outbox into the ledger, woken by settlements."""

    def __init__(
        self,
        spool: Writer,
        outbox: Reader,
        record: Writer,
        facts: Facts,
        *,
        wants_callbacks: callbacks.Wants,
        now: Callable[[], datetime],
    ) -> None:
        self._spool = spool
        self._outbox = outbox
        self._record = record
        self._facts = facts
        self._wants_callbacks = wants_callbacks
        self._now = now
        self.on_callbacks: Callable[[], None] = lambda: None
        """Called when applications have something to be told."""
        self._woken = asyncio.Event()
        self._moving = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.is_stuck = False
        """Whether the last try to move failed: the outbox grows."""

    def start(self) -> None:
        """Begin to move, with what an earlier run left."""
        self._woken.set()
        self._task = asyncio.create_task(self._run(), name="mover")

    def wake(self) -> None:
        """Take note that the outbox has something new."""
        self._woken.set()

    async def catch_up(self) -> None:
        """Move what is in the outbox now; give up quietly while the record is sick."""
        with contextlib.suppress(SpoolError):
            await self._move_all()

    async def close(self) -> None:
        """Move what is left, if it can be moved, and stop."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        await self.catch_up()

    async def _run(self) -> None:
        rest = _FIRST_REST
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                await self._move_all()
            except Exception:  # noqa: BLE001 - told of; a fault today must not end all moving
                self._woken.set()
                await asyncio.sleep(rest)
                rest = min(rest * 2, _LONGEST_REST)
            else:
                rest = _FIRST_REST
                await asyncio.sleep(_PACE)

    async def _move_all(self) -> None:
        try:
            async with self._moving:
                while await self._move() == _PAGE:
                    pass
        except Exception as error:
            # Once for each time it falls sick, not for each try.
            if not self.is_stuck:
                self.is_stuck = True
                self._facts.fault("ledger", error)
            raise
        self.is_stuck = False

    async def _move(self) -> int:
        """Move one page; return how many lines that were."""
        page = await self._outbox.ask(_read)
        if page:
            lines = [row[:-1] for row in page]
            if await self._record.run(partial(self._copy, lines=lines)):
                self.on_callbacks()
            await self._spool.run(partial(_delete, last=page[-1][-1]))
        return len(page)

    def _copy(self, connection: Connection, *, lines: Sequence[tuple[Any, ...]]) -> int:
        """Copy lines, and have applications told of what was given up; return how many."""
        ledger.copy(connection, lines)
        notices = callbacks.of_lines(lines, self._wants_callbacks)
        return callbacks.make(connection, notices, self._now()) if notices else 0


def _read(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(_READ, (_PAGE,)).fetchall()


def _delete(connection: Connection, *, last: int) -> None:
    # Ids below are of this page or an earlier one: a new line's id is above all that are there.
    connection.execute("DELETE FROM outbox WHERE id <= ?", (last,))
