"""What is remembered after mail has left (ports.Record), in a database of its own.

Knows which effects belong together in one transaction. Does not know the spool: when this database
is sick, mail flows all the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from sqlite3 import Connection
from typing import Final

from relay.mail.entry import LedgerLine
from relay.mail.feedback import FeedbackEvent, Suppression
from relay.ports import Clock
from relay.store import ledger, suppression
from relay.store.batch import Operation
from relay.store.columns import milliseconds
from relay.store.reader import Reader
from relay.store.suppression import SuppressionList
from relay.store.writer import Writer

_KNOWN: Final = "INSERT OR IGNORE INTO feedback VALUES (?, ?, ?, ?)"
_AUDIT: Final = "INSERT INTO audit (at, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)"


class StoredRecord:
    """Ledger, feedback and suppression list."""

    def __init__(
        self,
        writer: Writer,
        reader: Reader,
        suppressions: SuppressionList,
        *,
        clock: Clock,
        node: str,
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        """`catch_up` brings the ledger up to what the spool has recorded."""
        self._writer = writer
        self._reader = reader
        self._suppressions = suppressions
        self._clock = clock
        self._node = node
        self._catch_up = catch_up

    async def take_in(
        self,
        delivery_id: str,
        raw: bytes,
        event: FeedbackEvent | None,
        suppressions: Sequence[Suppression],
    ) -> Sequence[Suppression] | None:
        """Store one feedback message and its effects in one transaction; durable on return."""
        now = self._clock.now()

        def store(connection: Connection) -> list[Suppression] | None:
            kind = "" if event is None else event.kind
            values = (delivery_id, milliseconds(now), kind, raw)
            if not connection.execute(_KNOWN, values).rowcount:
                return None
            if event is not None:
                ledger.write_event(connection, event, delivery_id)
            return [one for one in suppressions if suppression.take_in(connection, one)]

        def stored(ended: Operation[list[Suppression] | None]) -> None:
            if ended.error is None:
                for one in ended.result or ():
                    self._suppressions.put(one)

        return await self._writer.run(store, stored)

    async def suppress(self, suppressed: Suppression, *, actor: str) -> None:
        """Add or replace an entry by an operator's hand; audited."""
        now = self._clock.now()

        def store(connection: Connection) -> None:
            suppression.put(connection, suppressed)
            _audit(connection, now, actor, "suppress", suppressed.address, suppressed.detail)

        def stored(ended: Operation[None]) -> None:
            if ended.error is None:
                self._suppressions.put(suppressed)

        await self._writer.run(store, stored)

    async def unsuppress(self, address: str, *, actor: str, reason: str, now: datetime) -> bool:
        """Remove an entry; audited. False when there was none."""
        folded = address.lower()

        def store(connection: Connection) -> bool:
            removed = suppression.remove(connection, folded, now)
            if removed:
                _audit(connection, now, actor, "unsuppress", folded, reason)
            return removed

        def stored(ended: Operation[bool]) -> None:
            if ended.error is None:
                self._suppressions.drop(folded)

        return await self._writer.run(store, stored)

    async def list_suppressed(self, after: str, limit: int) -> Sequence[Suppression]:
        """Return entries in order of address, after the given one."""
        return await self._reader.ask(
            lambda connection: suppression.page_of(connection, after, limit)
        )

    async def trace(self, key: str, limit: int) -> Sequence[LedgerLine]:
        """Return the newest lines of a queue id, SES message id or recipient, oldest first.

        What the spool has recorded before is in it.
        """
        await self._catch_up()
        return await self._reader.ask(
            lambda connection: ledger.trace(connection, key, node=self._node, limit=limit)
        )


def _audit(
    connection: Connection, now: datetime, actor: str, action: str, subject: str, detail: str
) -> None:
    connection.execute(_AUDIT, (milliseconds(now), actor, action, subject, detail))
