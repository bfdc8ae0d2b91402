"""What is due: found by index, checked, leased and marked in one transaction.

Knows the tables. Does not know who asks or what becomes of a claim.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from relay.mail.address import Address
from relay.mail.entry import State, Turn
from relay.mail.envelope import QUEUE_ID, Mail, QueueId, SenderName
from relay.ports import Claim, Claims, Content, ContentFile
from relay.store.columns import Rows, milliseconds, nearest_moment, span
from relay.store.content import complaint_of_file
from relay.store.due import Due, due, due_one, shown_mail, unreadable
from relay.store.lifetime import COUNTED, Instant
from relay.store.states import kept_after

_TAKE: Final = f"""
    UPDATE entry SET state = :state, due_at = NULL, token = token + 1, {COUNTED}
    WHERE id IN (SELECT value FROM json_each(:entries))"""  # noqa: S608 - our own names
_SET_ASIDE: Final = f"""
    UPDATE entry SET state = :state, due_at = NULL, reason = :reason, since = :now, {COUNTED}
    WHERE id = :id"""  # noqa: S608 - our own names
_POSTPONE: Final = "UPDATE entry SET due_at = ? WHERE id = ?"
_NEXT_DUE: Final = """
    SELECT json_group_object(value,
        (SELECT min(due_at) FROM entry WHERE sender = value AND due_at IS NOT NULL))
    FROM json_each(?)"""
_TAKEN: Final = kept_after(State.READY, Turn.CLAIM).value
_DAMAGED: Final = kept_after(State.READY, Turn.DAMAGED).value
ATTEMPTS: Final = Rows("attempt", "entry, number, node, lease_until, started_at, recipients")

_NOBODY: Final[frozenset[Address]] = frozenset()

# How long what could not be looked at rests.
AGAIN: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Lease(Claim):
    """A claim as this store hands it out. `token` is the number of the entry's attempt row."""

    entry: int
    is_whole: bool
    """Whether it holds every recipient the spool still knows of the mail."""


class Damage(NamedTuple):
    """An entry that was due and set aside, because it is not what was spooled."""

    mail: Mail
    complaint: str


class Found(NamedTuple):
    """What a claim found."""

    claims: Claims
    leases: list[Lease]
    damaged: list[Damage]
    trouble: list[Exception]
    """Why files could not be looked at; their entries are due again later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claiming:
    """One call of ports.Queue.claim, run by the writer."""

    wants: Mapping[SenderName, int]
    node: str
    now: Instant
    lease: timedelta
    chunk: int
    room: int
    content_path: Callable[[QueueId], Path]
    only: int | None = None
    """The one entry to be leased, if it is due; else all that is."""

    def __call__(self, connection: sqlite3.Connection) -> Found:
        """Lease what is due; set aside what is due and cannot be sent as it was spooled.

        Raises sqlite3.Error where the database can make nothing of an entry: then each is to be
        claimed by itself.
        """
        return _Round(self, connection).run()


class _Round:
    """One run of a claiming: a batch that failed is run again, and begins with nothing."""

    def __init__(self, asked: Claiming, connection: sqlite3.Connection) -> None:
        self.asked = asked
        self.connection = connection
        self.now = milliseconds(asked.now.wall)
        self.until = asked.now.wall + asked.lease
        self.leases: list[Lease] = []
        self.marks: list[str] = []
        """What stands in the attempt row of each lease."""
        self.marked = 0
        """Recipients that bear the mark, of all leases."""
        self.damaged: list[Damage] = []
        self.trouble: list[Exception] = []

    def run(self) -> Found:
        asked, leases = self.asked, self.leases
        for sender, wanted in asked.wants.items():
            if leases and self.marked >= asked.room:
                break
            # Each lease marks one recipient at least.
            limit = min(wanted, max(1, asked.room - self.marked))
            if limit > 0:
                self._lease_of(sender, limit)
        if leases:
            self._take()
        return Found(Claims(leases, self._next_due()), leases, self.damaged, self.trouble)

    def _lease_of(self, sender: SenderName, limit: int) -> None:
        leases, room = self.leases, self.asked.room
        now, only = self.asked.now, self.asked.only
        rows = (
            due(self.connection, sender, limit, now)
            if only is None
            else due_one(self.connection, only, now)
        )
        for found in rows:
            looked = self._look_at(found)
            if isinstance(looked, Lease):
                leases.append(looked)
                self.marked += looked.marked
                if self.marked >= room:
                    return
            elif looked is not None:
                self._set_aside(found.id, looked)

    def _look_at(self, found: Due) -> Lease | Damage | None:
        """Return the lease, what is wrong, or None where that cannot be told now."""
        try:
            return self._lease(found)
        except OSError as error:
            # That a file cannot be looked at says nothing of what is in it.
            self.trouble.append(error)
            later = milliseconds(self.asked.now.wall + AGAIN)
            self.connection.execute(_POSTPONE, (later, found.id))
            return None
        except (OverflowError, TypeError, ValueError) as error:
            return Damage(shown_mail(self.connection, found.id), unreadable(error))

    def _lease(self, found: Due) -> Lease | Damage:
        asked, now = self.asked, self.now
        known = found.known()
        mail = found.mail(known)
        complaint = found.complaint()
        content: Content = found.octets or b""
        if found.in_file and not complaint:
            content, complaint = self._file_of(found)
        # What falls due while the claim lasts is not part of it.
        attempts: dict[Address, int] = {}
        in_doubt = _NOBODY
        spelt: list[str] = []
        for recipient, spelling, made, due_at, doubts in known:
            if due_at is not None and due_at <= now:
                attempts[recipient] = made + 1
                spelt.append(spelling)
                if doubts:
                    in_doubt |= {recipient}
        if not attempts and not complaint:
            complaint = "it is due although none of its recipients is"
        if complaint:
            return Damage(mail, complaint)
        lease = Lease(
            mail=mail,
            content=content,
            recipients=tuple(attempts),
            attempts=attempts,
            in_doubt=in_doubt,
            marked=min(asked.chunk, len(attempts)),
            token=found.token + 1,
            lease_until=self.until,
            waited=span(found.waited),
            held=span(found.held),
            entry=found.id,
            is_whole=len(attempts) == len(known),
        )
        self.marks.append("\n".join(spelt[: asked.chunk]))
        return lease

    def _file_of(self, found: Due) -> tuple[Content, str]:
        """Return the content file, and what is wrong with it or nothing; may raise OSError."""
        # A damaged name could lead anywhere.
        if QUEUE_ID.fullmatch(found.queue_id) is None:
            return b"", "its queue id is none"
        path = self.asked.content_path(QueueId(found.queue_id))
        return ContentFile(path, found.size, found.crc32), complaint_of_file(path, found.size)

    def _set_aside(self, entry: int, damage: Damage) -> None:
        set_aside(self.connection, entry, damage.complaint, self.asked.now)
        self.damaged.append(damage)

    def _take(self) -> None:
        """Write the leases down, and the mark of each."""
        asked, now = self.asked, self.now
        entries = json.dumps([lease.entry for lease in self.leases])
        words = {"state": _TAKEN, "entries": entries, "uptime": asked.now.uptime}
        self.connection.execute(_TAKE, words)
        until = milliseconds(self.until)
        rows = [
            (lease.entry, lease.token, asked.node, until, now, mark)
            for lease, mark in zip(self.leases, self.marks, strict=True)
        ]
        ATTEMPTS.insert(self.connection, rows)

    def _next_due(self) -> dict[SenderName, datetime]:
        wants = json.dumps(list(self.asked.wants))
        (found,) = self.connection.execute(_NEXT_DUE, (wants,)).fetchone()
        return {
            SenderName(sender): nearest_moment(due_at)
            for sender, due_at in json.loads(found).items()
            if due_at is not None
        }


def set_aside(connection: sqlite3.Connection, entry: int, complaint: str, now: Instant) -> None:
    """Have an entry corrupt that was due."""
    words = {"id": entry, "state": _DAMAGED, "reason": complaint}
    times = {"now": milliseconds(now.wall), "uptime": now.uptime}
    connection.execute(_SET_ASIDE, words | times)
    connection.execute("DELETE FROM attempt WHERE entry = ?", (entry,))


def mark_column(recipients: Iterable[Address]) -> str:
    """Return recipients that bear the mark of an attempt as a column holds them, one a line."""
    return "\n".join([str(recipient) for recipient in recipients])
