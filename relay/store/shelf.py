"""Mail that is passed on while its client waits (relay.passing.Shelf): a draft, until it is kept.

Knows how an entry is born in flight, so that a crash finds it as it finds any attempt. Does not
know why it is kept, or what SES said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from sqlite3 import Connection
from typing import Any, Final, NamedTuple

from relay.mail.address import Address
from relay.mail.entry import State, Turn
from relay.mail.envelope import Mail
from relay.mail.outcome import Relayed
from relay.mail.reply import Refusal
from relay.ports import Content, Draft, SpoolError
from relay.store.backlog import Backlogs
from relay.store.batch import Operation
from relay.store.claiming import ATTEMPTS, Lease, mark_column
from relay.store.columns import milliseconds, to_the_millisecond
from relay.store.draft import Stage, StoredDraft
from relay.store.ledger import REFUSED
from relay.store.outbox import OUTBOX, lines_of
from relay.store.spool import Arrival, Insertion
from relay.store.states import kept_after
from relay.store.writer import Writer

_IN_FLIGHT: Final = kept_after(State.READY, Turn.CLAIM).value
# The first claim there is of it.
_TOKEN: Final = 1
_TAKE: Final = "UPDATE entry SET state = ?, due_at = NULL, token = ? WHERE id = ?"


class Claimed(NamedTuple):
    """A mail to be inserted, and the claim of it."""

    arrival: Arrival
    node: str
    started_at: datetime
    lease_until: datetime
    mark: str


class Shelf:
    """Keeps what must be kept."""

    def __init__(
        self,
        writer: Writer,
        insertion: Insertion,
        backlogs: Backlogs,
        on_lines: Callable[[], None],
    ) -> None:
        """`insertion` numbers all entries; `on_lines` is called when the outbox has more."""
        self._writer = writer
        self._insertion = insertion
        self._backlogs = backlogs
        self._on_lines = on_lines

    async def content(self, draft: Draft) -> Content:
        """Return what was appended, readable until the draft is discarded; raise SpoolError."""
        return await _stored(draft).content()

    async def keep(
        self,
        draft: Draft,
        mail: Mail,
        content: Content,
        *,
        mark: Sequence[Address],
        node: str,
        now: datetime,
        lease: timedelta,
    ) -> Lease:
        """Commit the draft as an entry in flight; return its claim once that is durable."""
        stored = _stored(draft)
        mail = mail._replace(arrived_at=to_the_millisecond(mail.arrived_at))
        self._backlogs.add(mail)
        # Nobody takes it back: SES has it, or is being asked.
        stored.withdraw = lambda: False
        try:
            octets = await stored.seal()
            until = now + lease
            arrival = Arrival(mail, stored.crc32, octets)
            claimed = Claimed(arrival, node, now, until, mark_column(mark))
            operation = self._writer.submit(self._insert, claimed, is_outcome=True)
            entry = await self._writer.see_through(operation)
        except BaseException:
            self._backlogs.forget(mail)
            # Its file may still be read; whoever discards the draft removes it.
            stored.withdraw = lambda: True
            raise
        stored.close()
        recipients = mail.envelope.recipients
        return Lease(
            mail=mail,
            content=content,
            recipients=recipients,
            attempts=dict.fromkeys(recipients, 1),
            in_doubt=(),
            marked=len(mark),
            token=_TOKEN,
            lease_until=until,
            waited=timedelta(0),
            held=timedelta(0),
            entry=entry,
            is_whole=True,
        )

    def _insert(self, connection: Connection, claimed: list[Claimed]) -> list[int]:
        entries = self._insertion(connection, [one.arrival for one in claimed])
        rows = []
        for one, entry in zip(claimed, entries, strict=True):
            connection.execute(_TAKE, (_IN_FLIGHT, _TOKEN, entry))
            until, at = milliseconds(one.lease_until), milliseconds(one.started_at)
            rows.append((entry, _TOKEN, one.node, until, at, one.mark))
        ATTEMPTS.insert(connection, rows)
        return entries

    def note(self, mail: Mail, said: Mapping[Address, Relayed | Refusal], *, now: datetime) -> None:
        """Begin to tell the ledger what came of a mail that is not kept for these recipients."""
        rows = list(lines_of(mail, [(a, 1, *_words(one)) for a, one in said.items()], now))
        self._writer.begin(partial(_write, rows=rows), self._noted, is_outcome=True)

    def _noted(self, operation: Operation[None]) -> None:
        # Nobody waits for it: that it failed is told like any failure.
        operation.future.exception()
        if operation.error is None:
            self._on_lines()


def _write(connection: Connection, *, rows: list[tuple[Any, ...]]) -> None:
    OUTBOX.insert(connection, rows)


def _words(said: Relayed | Refusal) -> tuple[str, str, str]:
    if isinstance(said, Relayed):
        return "relayed", said.ses_message_id, ""
    return REFUSED, "", str(said.reply)


def _stored(draft: Draft) -> StoredDraft:
    if not isinstance(draft, StoredDraft) or draft.stage is not Stage.OPEN:
        raise SpoolError("there is no such draft; it was committed or discarded already")
    return draft
