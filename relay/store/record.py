"""What is remembered after mail has left (ports.Record), in a database of its own.

Knows which effects belong together in one transaction. Does not know the spool: when this database
is sick, mail flows all the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from sqlite3 import Connection
from typing import Final, TypeAlias

from relay.mail.entry import LedgerLine
from relay.mail.feedback import FeedbackEvent, Suppression
from relay.ports import Clock
from relay.store import ledger, suppression
from relay.store.batch import Operation
from relay.store.columns import milliseconds
from relay.store.reader import Reader
from relay.store.suppression import Change, SuppressionList
from relay.store.writer import Writer

_Effects: TypeAlias = list[tuple[Change, Suppression]]

_COPY_EVERY: Final = 60.0  # seconds
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
        aside: Callable[[Callable[[], None]], Future[None] | None],
    ) -> None:
        """`catch_up` brings the ledger up to what the spool has recorded.

        `aside` runs in a thread what nobody waits for.
        """
        self._writer = writer
        self._reader = reader
        self._suppressions = suppressions
        self._clock = clock
        self._node = node
        self._catch_up = catch_up
        self._aside = aside
        self._copied_at = float("-inf")

    async def take_in(
        self,
        delivery_id: str,
        raw: bytes,
        event: FeedbackEvent | None,
        suppressions: Sequence[Suppression],
    ) -> Sequence[Suppression] | None:
        """Store one feedback message and its effects in one transaction; durable on return."""
        now = self._clock.now()

        def store(connection: Connection) -> _Effects | None:
            kind = "" if event is None else event.kind
            values = (delivery_id, milliseconds(now), kind, raw)
            if not connection.execute(_KNOWN, values).rowcount:
                return None
            if event is not None:
                ledger.write_event(connection, event, delivery_id)
            changes = [(suppression.take_in(connection, one), one) for one in suppressions]
            return [(change, one) for change, one in changes if change is not None]

        def stored(ended: Operation[_Effects | None]) -> None:
            if ended.error is None:
                for change, _ in ended.result or ():
                    self._apply(change)

        effects = await self._writer.run(store, stored)
        return None if effects is None else [one for _, one in effects]

    async def suppress(self, suppressed: Suppression, *, actor: str) -> None:
        """Add or replace an entry by an operator's hand; audited."""
        now = self._clock.now()

        def store(connection: Connection) -> Change:
            _audit(connection, now, actor, "suppress", suppressed.address, suppressed.detail)
            return suppression.put(connection, suppressed)

        await self._writer.run(store, self._stored)

    async def unsuppress(self, address: str, *, actor: str, reason: str, now: datetime) -> bool:
        """Remove an entry; audited. False when there was none."""
        folded = address.lower()

        def store(connection: Connection) -> Change | None:
            change = suppression.remove(connection, folded, now)
            if change is not None:
                _audit(connection, now, actor, "unsuppress", folded, reason)
            return change

        return await self._writer.run(store, self._stored) is not None

    def _stored(self, ended: Operation[Change] | Operation[Change | None]) -> None:
        if ended.error is None and ended.result is not None:
            self._apply(ended.result)

    def _apply(self, change: Change) -> None:
        """Follow a change that is durable, and now and then have the copy of the list follow."""
        self._suppressions.apply(change)
        now = self._clock.monotonic()
        if now - self._copied_at >= _COPY_EVERY:
            self._copied_at = now
            self.copy_list()

    def copy_list(self) -> Future[None] | None:
        """Begin to bring the copy of the suppression list up to date, if it is not."""
        copying = self._suppressions.copying()
        return None if copying is None else self._aside(copying)

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

    async def trace_message(self, message_id: str, limit: int) -> Sequence[LedgerLine]:
        """Return the newest lines of all mail with that Message-ID, oldest first.

        Gone through day by day, the newest first, so that no transaction is long.
        """
        await self._catch_up()
        found: list[str] = []
        before: int | None = ledger.NO_END
        while before is not None and len(found) < limit:
            look = partial(ledger.mails_with, message_id=message_id, before=before, limit=limit)
            some, before = await self._reader.ask(look)
            found += some
        look_up = partial(ledger.trace_mails, queue_ids=found[:limit], node=self._node, limit=limit)
        return await self._reader.ask(look_up)

    async def audit(
        self, actor: str, action: str, subject: str, detail: str, *, now: datetime
    ) -> None:
        """Write down what an operator does, or did."""

        def store(connection: Connection) -> None:
            _audit(connection, now, actor, action, subject, detail)

        await self._writer.run(store)


def _audit(
    connection: Connection, now: datetime, actor: str, action: str, subject: str, detail: str
) -> None:
    connection.execute(_AUDIT, (milliseconds(now), actor, action, subject, detail))
