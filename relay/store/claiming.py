"""What is due: found by index, checked, leased and marked in one transaction.

Knows the tables. Does not know who asks or what becomes of a claim.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import starmap
from pathlib import Path
from sqlite3 import Connection
from typing import Final, NamedTuple, TypeAlias

from relay.mail.address import Address
from relay.mail.entry import State, Turn
from relay.mail.envelope import Envelope, Mail, QueueId, SenderName
from relay.ports import Claim, Claims, Content, ContentFile
from relay.store.columns import Rows, address, milliseconds, moment, reverse_path
from relay.store.content import complaint_of, complaint_of_file
from relay.store.states import TABLE, kept_after

# One row per entry, its recipients and content with it: each further row costs the writer a wait
# for the interpreter lock.
_DUE: Final = """
    SELECT id, queue_id, sender, reverse_path, arrived_at, size, crc32, in_file, state, token,
        (SELECT octets FROM content WHERE entry = id),
        (SELECT json_group_array(json_array(position, address, attempts, due_at))
            FROM recipient WHERE entry = id)
    FROM entry WHERE sender = ? AND due_at <= ? ORDER BY due_at, id LIMIT ?"""
_TAKE: Final = """
    UPDATE entry SET state = ?, due_at = NULL, token = token + 1
    WHERE id IN (SELECT value FROM json_each(?))"""
_SET_ASIDE: Final = """
    UPDATE entry SET state = ?, due_at = NULL, reason = ?, since = ? WHERE id = ?"""
_NEXT_DUE: Final = """
    SELECT json_group_object(value,
        (SELECT min(due_at) FROM entry WHERE sender = value AND due_at IS NOT NULL))
    FROM json_each(?)"""
_CLAIMABLE: Final = frozenset(state.value for state in TABLE[Turn.CLAIM])
_TAKEN: Final = kept_after(State.READY, Turn.CLAIM)
_DAMAGED: Final = kept_after(State.READY, Turn.DAMAGED)
_ATTEMPTS: Final = Rows("attempt", "entry, number, node, lease_until, started_at, recipients")


@dataclass(frozen=True, slots=True)
class Lease(Claim):
    """A claim as this store hands it out. `token` is the number of the entry's attempt row."""

    entry: int
    is_whole: bool
    """Whether it holds every recipient the spool still knows of the mail."""


class Damage(NamedTuple):
    """An entry that was due and set aside, because its content is not what was spooled."""

    mail: Mail
    complaint: str


class Found(NamedTuple):
    """What a claim found."""

    claims: Claims
    leases: list[Lease]
    damaged: list[Damage]


@dataclass(frozen=True, slots=True)
class Claiming:
    """One call of ports.Queue.claim, run by the writer."""

    wants: Mapping[SenderName, int]
    node: str
    now: datetime
    lease: timedelta
    chunk: int
    content_path: Callable[[QueueId], Path]

    def __call__(self, connection: Connection) -> Found:
        """Lease what is due; set aside what is due and cannot be sent as it was spooled."""
        leases: list[Lease] = []
        damaged: list[Damage] = []
        now = milliseconds(self.now)
        for sender, count in self.wants.items():
            rows = connection.execute(_DUE, (sender, now, max(0, count))).fetchall()
            for due in starmap(_Due, rows):
                known = _recipients(due.recipients)
                mail = due.mail(known)
                content, complaint = self._content(due)
                if complaint:
                    damaged.append(Damage(mail, complaint))
                    connection.execute(_SET_ASIDE, (_DAMAGED, complaint, now, due.id))
                else:
                    leases.append(self._lease(due, mail, content, known, now))
        if leases:
            entries = json.dumps([lease.entry for lease in leases])
            connection.execute(_TAKE, (_TAKEN, entries))
            until = milliseconds(self.now + self.lease)
            _ATTEMPTS.insert(connection, [self._mark(lease, now, until) for lease in leases])
        return Found(Claims(leases, self._next_due(connection)), leases, damaged)

    def _content(self, due: _Due) -> tuple[Content, str]:
        """Return the content, and what is wrong with it or its entry, or nothing."""
        if due.state not in _CLAIMABLE:
            return b"", f"it is due although it is {due.state}"
        if due.in_file:
            path = self.content_path(QueueId(due.queue_id))
            return ContentFile(path, due.size, due.crc32), complaint_of_file(path, due.size)
        if due.octets is None:
            return b"", "its content is missing"
        return due.octets, complaint_of(due.octets, due.size, due.crc32)

    def _lease(
        self, due: _Due, mail: Mail, content: Content, known: Sequence[_Recipient], now: int
    ) -> Lease:
        # What falls due while the claim lasts is not part of it.
        attempts = {
            recipient: made + 1
            for recipient, made, due_at in known
            if due_at is not None and due_at <= now
        }
        return Lease(
            mail=mail,
            content=content,
            recipients=tuple(attempts),
            attempts=attempts,
            marked=min(self.chunk, len(attempts)),
            token=due.token + 1,
            lease_until=self.now + self.lease,
            entry=due.id,
            is_whole=len(attempts) == len(known),
        )

    def _mark(self, lease: Lease, now: int, until: int) -> tuple[int, int, str, int, int, str]:
        marked = mark_column(lease.recipients[: lease.marked])
        return lease.entry, lease.token, self.node, until, now, marked

    def _next_due(self, connection: Connection) -> dict[SenderName, datetime]:
        (found,) = connection.execute(_NEXT_DUE, (json.dumps(list(self.wants)),)).fetchone()
        return {
            SenderName(sender): moment(due_at)
            for sender, due_at in json.loads(found).items()
            if due_at is not None
        }


def mark_column(recipients: Iterable[Address]) -> str:
    """Return recipients that bear the mark of an attempt as a column holds them, one a line."""
    return "\n".join([str(recipient) for recipient in recipients])


_Recipient: TypeAlias = tuple[Address, int, int | None]
"""A recipient the spool still knows: attempts made, and when it is due."""


def _recipients(column: str) -> list[_Recipient]:
    """Return the recipients of a row, in the order they were given."""
    rows = json.loads(column)
    rows.sort()
    return [(address(spelt), attempts, due_at) for _, spelt, attempts, due_at in rows]


class _Due(NamedTuple):
    """A row of `_DUE`."""

    id: int
    queue_id: str
    sender: str
    reverse_path: str
    arrived_at: int
    size: int
    crc32: int
    in_file: int
    state: str
    token: int
    octets: bytes | None
    recipients: str

    def mail(self, known: Sequence[_Recipient]) -> Mail:
        """Return the mail; its envelope names the recipients that are still known."""
        recipients = tuple([recipient for recipient, _, _ in known])
        return Mail(
            QueueId(self.queue_id),
            SenderName(self.sender),
            Envelope(reverse_path(self.reverse_path), recipients),
            moment(self.arrived_at),
            self.size,
        )
