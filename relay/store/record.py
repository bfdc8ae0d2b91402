"""What is remembered after mail has left (ports.Record), in a database of its own.

Knows which effects belong together in one transaction. Does not know the spool: when this database
is sick, mail flows all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from sqlite3 import Connection
from typing import Final, TypeAlias

from relay.mail.address import Address
from relay.mail.entry import LedgerLine
from relay.mail.envelope import QueueId
from relay.mail.feedback import FeedbackEvent, FeedbackKind, SoftBounces, Suppression
from relay.policy.suppression import is_soft, softly_bounced
from relay.ports import Clock
from relay.store import callbacks, ledger, reputation, suppressing
from relay.store.batch import Operation
from relay.store.columns import milliseconds
from relay.store.reader import Reader
from relay.store.suppressing import Change
from relay.store.suppression import SuppressionList
from relay.store.writer import Writer

_Effects: TypeAlias = tuple[list[tuple[Change, Suppression]], int]
"""What became of the list, and how many callbacks were made."""

_COPY_EVERY: Final = 60.0  # seconds
_OVER_AT_ONCE: Final = 500
# SNS waits 15 seconds for an answer, and nobody for a report. Written one by one, a thousand a
# second would cost as many fsyncs, of a disk that mail waits for.
_GATHER: Final = 0.01  # seconds
_KNOWN: Final = "INSERT OR IGNORE INTO feedback VALUES (?, ?, ?, ?)"
_AUDIT: Final = "INSERT INTO audit (at, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)"


class StoredRecord:
    """Ledger, feedback and suppression list."""

    def __init__(  # noqa: PLR0913 - what meets in a record
        self,
        writer: Writer,
        reader: Reader,
        suppressions: SuppressionList,
        *,
        clock: Clock,
        node: str,
        catch_up: Callable[[], Awaitable[None]],
        aside: Callable[[Callable[[], None]], Future[None] | None],
        wants_callbacks: callbacks.Wants,
        callbacks_made: Callable[[], None],
    ) -> None:
        """`catch_up` brings the ledger up to what the spool has recorded.

        `aside` runs in a thread what nobody waits for. `callbacks_made` is called in the loop when
        there is something to tell to a sender that `wants_callbacks`.
        """
        self._writer = writer
        self._reader = reader
        self._suppressions = suppressions
        self._clock = clock
        self._node = node
        self._catch_up = catch_up
        self._aside = aside
        self._wants_callbacks = wants_callbacks
        self._callbacks_made = callbacks_made
        self._copied_at = float("-inf")
        self._gathering: asyncio.Future[None] | None = None

    async def take_in(
        self,
        delivery_id: str,
        raw: bytes,
        event: FeedbackEvent | None,
        suppressions: Sequence[Suppression],
        soft: SoftBounces | None = None,
    ) -> Sequence[Suppression] | None:
        """Store one feedback message and its effects in one transaction; durable on return."""
        now = self._clock.now()

        def store(connection: Connection) -> _Effects | None:
            kind = "" if event is None else event.kind
            # What is understood is kept in its rows; what may be read better some day, as it came.
            kept = raw if kind in ("", FeedbackKind.UNKNOWN) else b""
            values = (delivery_id, milliseconds(now), kind, kept)
            if not connection.execute(_KNOWN, values).rowcount:
                return None
            if event is None:
                return [], 0
            news, owner = ledger.write_event(connection, event, delivery_id, self._node)
            notices = callbacks.of_event(event, news, owner, self._wants_callbacks)
            made = callbacks.make(connection, notices, now)
            causes = [*suppressions, *_softly(connection, event, soft)]
            changes = [(suppressing.take_in(connection, one), one) for one in causes]
            return [(change, one) for change, one in changes if change is not None], made

        def stored(ended: Operation[_Effects | None]) -> None:
            if ended.error is None and ended.result is not None:
                changes, made = ended.result
                for change, _ in changes:
                    self.apply(change)
                if made:
                    self._callbacks_made()

        await self._gather()
        effects = await self._writer.run(store, stored)
        return None if effects is None else [one for _, one in effects[0]]

    async def _gather(self) -> None:
        """Wait a moment for company: reports come by the hundred, and mail needs the disk too."""
        if self._gathering is None:
            loop = asyncio.get_running_loop()
            self._gathering = gathering = loop.create_future()
            loop.call_later(_GATHER, self._have_gathered, gathering)
        await asyncio.shield(self._gathering)

    def _have_gathered(self, gathering: asyncio.Future[None]) -> None:
        self._gathering = None
        gathering.set_result(None)

    async def reported(self, queue_id: QueueId) -> dict[str, str]:
        """Return to whom SES says it has taken a mail, folded, and by which message ids."""
        return await self._reader.ask(
            lambda connection: ledger.reported(connection, queue_id, self._node)
        )

    async def suppress(self, suppressed: Suppression, *, actor: str) -> None:
        """Add or replace an entry by an operator's hand; audited."""
        await self.suppress_all([suppressed], actor=actor)

    async def suppress_all(self, suppressed: Sequence[Suppression], *, actor: str) -> None:
        """Add or replace entries by an operator's hand, in one transaction; audited."""
        now = self._clock.now()

        def store(connection: Connection) -> list[Change]:
            for one in suppressed:
                _audit(connection, now, actor, "suppress", _subject(one), one.detail)
            return [suppressing.put(connection, one) for one in suppressed]

        await self._writer.run(store, self._stored)

    async def unsuppress(
        self,
        address: str,
        *,
        actor: str,
        reason: str,
        now: datetime,
        scope: str | None = None,
    ) -> bool:
        """Remove an address, in one scope or all; audited. False when it was not there."""
        folded = address.lower()

        def store(connection: Connection) -> list[Change]:
            changes = suppressing.remove(connection, folded, scope, now)
            if changes:
                subject = f"{folded} ({scope})" if scope else folded
                _audit(connection, now, actor, "unsuppress", subject, reason)
            return changes

        changes = await self._writer.run(store, self._stored)
        return bool(changes)

    async def let_expire(self, now: datetime) -> int:
        """Forget some of what is suppressed no more; return how many: 0 when there is no more."""

        def store(connection: Connection) -> list[Change]:
            reputation.forget(connection, now)
            return suppressing.over(connection, now, _OVER_AT_ONCE)

        changes = await self._writer.run(store, self._stored)
        return len(changes)

    def _stored(self, ended: Operation[list[Change]]) -> None:
        if ended.error is None:
            for change in ended.result:
                self.apply(change)

    def apply(self, change: Change) -> None:
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

    async def entries_of(self, address: Address) -> Sequence[Suppression]:
        """Return all entries of one address, whatever their scope; raise SpoolError."""
        return await self._suppressions.entries(address)

    async def list_suppressed(
        self, after: str, limit: int, scope: str = ""
    ) -> Sequence[Suppression]:
        """Return entries in order of address and scope, after the given one."""
        return await self._reader.ask(
            lambda connection: suppressing.page_of(connection, (after, scope), limit)
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


def _softly(
    connection: Connection, event: FeedbackEvent, soft: SoftBounces | None
) -> list[Suppression]:
    """Return what follows from this soft bounce with those before it."""
    if soft is None or not is_soft(event):
        return []
    return [
        softly_bounced(event, one.address, soft)
        for one in event.recipients
        if suppressing.soft_count(connection, one.address.lower(), soft, event.at) >= soft.count
    ]


def _subject(one: Suppression) -> str:
    return f"{one.address} ({one.scope})" if one.scope else one.address
