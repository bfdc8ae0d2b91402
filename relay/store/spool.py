"""Accepting mail: from a draft to a row that survives power loss (ports.Spool).

Knows the order that makes `250` true: content file, its directory, then the row. Does not know
what is due or what becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from sqlite3 import Connection
from typing import Any, Final, NamedTuple

from relay.facts import Facts
from relay.mail.entry import Backlog
from relay.mail.envelope import Envelope, Mail, SenderName, new_queue_id
from relay.ports import Clock, Draft, SpoolError, WithdrawnError
from relay.store.backlog import Backlogs
from relay.store.batch import Operation
from relay.store.columns import (
    Rows,
    milliseconds,
    path_column,
    ses_headers_column,
    to_the_millisecond,
)
from relay.store.content import Contents
from relay.store.disk import Room
from relay.store.draft import Stage, StoredDraft
from relay.store.states import BORN
from relay.store.uptime import Uptime
from relay.store.window import Window
from relay.store.writer import Writer

# Plain text: sqlite3 looks for an adapter for every value of an enum.
_BORN: Final = BORN.value

_ENTRIES: Final = Rows(
    "entry",
    "id, queue_id, sender, reverse_path, arrived_at, size, crc32, in_file, "
    "state, due_at, reason, since, token, entered_up, message_id, "
    "ses_headers",
)
_CONTENTS: Final = Rows("content", "entry, octets")
_RECIPIENTS: Final = Rows(
    "recipient",
    "entry, address, position, state, attempts, doubts, due_at, reason, detail, settled_in",
)


class Arrival(NamedTuple):
    """One mail to be inserted. `octets` is None where a file holds the content."""

    mail: Mail
    crc32: int
    octets: bytes | None


class AcceptedMail:
    """The front of the spool."""

    def __init__(
        self,
        writer: Writer,
        contents: Contents,
        room: Room,
        backlogs: Backlogs,
        uptime: Uptime,
        *,
        clock: Clock,
        facts: Facts,
    ) -> None:
        self._writer = writer
        self._contents = contents
        self._room = room
        self._backlogs = backlogs
        self._window = Window()
        self._clock = clock
        self._facts = facts
        self._probed_at = float("-inf")
        self.insertion = Insertion(uptime)
        self.on_commit: Callable[[SenderName], None] = lambda _: None
        """Called in the loop when a sender's mail has become durable, and so is due."""

    def draft(self) -> StoredDraft:
        """Open a draft under a new queue id."""
        queue_id = new_queue_id(self._clock.now())
        return StoredDraft(queue_id, self._contents, self._window, self._may_grow)

    @property
    def is_well(self) -> bool:
        """Whether mail can be committed at all."""
        if self._writer.is_well:
            return True
        now = self._clock.monotonic()
        if now - self._probed_at >= 1:
            self._probed_at = now
            self._writer.probe()
        return False

    def has_room_for(self, octets: int) -> bool:
        """Whether mail of that size may be begun: the floor of free space holds, commits work."""
        return self.is_well and self._room.admits(
            octets, reusable=self._writer.free_octets, buffered=self._window.held
        )

    def _may_grow(self, octets: int) -> bool:
        """Whether the floor holds once octets of a draft have gone to its file."""
        others = self._window.kept - octets
        return self._room.takes(octets, reusable=self._writer.free_octets, buffered=others)

    def backlog(self, sender: SenderName) -> Backlog:
        """Return what is kept of a sender's mail, whatever its state; from memory."""
        messages, octets, _ = self._backlogs.of(sender)
        free = self._room.spare(reusable=self._writer.free_octets, buffered=self._window.held)
        return Backlog(messages, octets, self._backlogs.octets + free)

    async def commit(self, draft: Draft, sender: SenderName, envelope: Envelope) -> Mail:
        """Return once the mail survives power loss; else raise SpoolError, leaving nothing.

        The draft is ended either way.
        """
        if not isinstance(draft, StoredDraft) or draft.stage is not Stage.OPEN:
            raise SpoolError("there is no such draft; it was committed or discarded already")
        arrived_at = to_the_millisecond(self._clock.now())
        mail = Mail(
            draft.queue_id,
            sender,
            envelope,
            arrived_at,
            draft.size,
            draft.message_id,
            draft.ses_headers,
        )
        self._backlogs.add(mail)
        try:
            octets = await draft.seal()
            arrival = Arrival(mail, draft.crc32, octets)
            operation = self._writer.submit(
                self.insertion, arrival, lambda ended: self._ended(ended, draft, mail)
            )
            draft.withdraw = lambda: self._withdraw(operation)
            await self._writer.see_through(operation)
        except BaseException:
            self._backlogs.forget(mail)
            draft.drop()
            raise
        return mail

    def _withdraw(self, operation: Operation[int]) -> bool:
        """Take a commit back on behalf of a discarded draft."""
        if not self._writer.withdraw(operation):
            return False
        if not operation.future.done():
            operation.future.set_exception(WithdrawnError("the draft was discarded"))
        return True

    def _ended(self, operation: Operation[int], draft: StoredDraft, mail: Mail) -> None:
        if operation.error is not None:
            return
        draft.close()
        try:
            self.on_commit(mail.sender)
        except Exception as error:  # noqa: BLE001 - others wait for the same batch
            self._facts.fault("spool", error)


class Insertion:
    """Inserts the arrivals of a batch. Called by the writer; numbers the entries."""

    def __init__(self, uptime: Uptime) -> None:
        self._uptime = uptime
        self._numbers: count[int] | None = None

    def __call__(self, connection: Connection, arrivals: list[Arrival]) -> list[int]:
        """Insert the arrivals, due at once; return their numbers."""
        if self._numbers is None:
            (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM entry").fetchone()
            self._numbers = count(last + 1)
        uptime = self._uptime.keep_up(connection)
        entries: list[tuple[Any, ...]] = []
        contents: list[tuple[int, bytes]] = []
        recipients: list[tuple[Any, ...]] = []
        for arrival, number in zip(arrivals, self._numbers, strict=False):
            mail, octets = arrival.mail, arrival.octets
            at = milliseconds(mail.arrived_at)
            entries.append(
                (
                    number,
                    mail.queue_id,
                    mail.sender,
                    path_column(mail.envelope.reverse_path),
                    at,
                    mail.size,
                    arrival.crc32,
                    int(octets is None),
                    _BORN,
                    at,
                    "",
                    at,
                    0,
                    uptime,
                    mail.message_id,
                    ses_headers_column(mail.ses_headers),
                )
            )
            if octets is not None:
                contents.append((number, octets))
            recipients += [
                (number, str(address), position, _BORN, 0, 0, at, "", "", 0)
                for position, address in enumerate(mail.envelope.recipients)
            ]
        _ENTRIES.insert(connection, entries)
        _CONTENTS.insert(connection, contents)
        _RECIPIENTS.insert(connection, recipients)
        return [entry[0] for entry in entries]
