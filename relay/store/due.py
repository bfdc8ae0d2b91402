"""Rows of what is due, read so that one that is damaged hides no other.

Knows the tables and the order in which mail is due. Does not know what is leased.
"""

from __future__ import annotations

import json
import sqlite3
from itertools import starmap
from typing import Any, Final, NamedTuple, TypeAlias

from relay.mail.address import Address
from relay.mail.entry import Turn
from relay.mail.envelope import Envelope, Mail, QueueId, SenderName
from relay.store.columns import (
    address,
    milliseconds,
    moment,
    nearest_moment,
    reverse_path,
    ses_headers,
    text,
)
from relay.store.content import complaint_of
from relay.store.lifetime import HELD, WAITED, Instant
from relay.store.states import TABLE
from relay.store.trouble import is_damage

# One row per entry, its recipients and content with it: each further row costs the writer a wait
# for the interpreter lock.
_ENTRY: Final = f"""
    SELECT id, queue_id, sender, reverse_path, arrived_at, size, message_id, ses_headers, crc32,
        in_file, state, token, {WAITED}, {HELD},
        (SELECT octets FROM content WHERE entry = id),
        (SELECT json_group_array(json_array(position, address, attempts, due_at, doubts))
            FROM recipient WHERE entry = id),
        (SELECT number FROM attempt WHERE entry = id)
    FROM entry """  # noqa: S608 - our own names
_IS_DUE: Final = "WHERE sender = :sender AND due_at <= :now ORDER BY due_at, id LIMIT :limit"
_DUE: Final = _ENTRY + _IS_DUE
# From the index alone, so that no damaged row is met.
_IDS: Final = "SELECT id FROM entry " + _IS_DUE  # noqa: S608 - our own names
_ONE: Final = _ENTRY + "WHERE id = :id"
_ONE_DUE: Final = _ENTRY + "WHERE id = :id AND due_at <= :now"
_SHOWN: Final = """
    SELECT CAST(queue_id AS TEXT), CAST(sender AS TEXT),
        CAST(arrived_at AS INTEGER), CAST(size AS INTEGER)
    FROM entry WHERE id = ?"""
# How many entries of a sender are gone through singly where some cannot be read.
_SINGLY: Final = 1000
# What SQLite has made is JSON without a blank around it; json.loads would look for one first.
_DECODE: Final = json.JSONDecoder().raw_decode
_CLAIMABLE: Final = frozenset(state.value for state in TABLE[Turn.CLAIM])

Recipient: TypeAlias = tuple[Address, str, int, int | None, int]
"""A recipient the spool still knows: as it is spelt, attempts made, when it is due, and how many of
the attempts may have gone out."""


class Due(NamedTuple):
    """One entry as it stands in the tables; `waited` and `held` are up to now."""

    id: int
    queue_id: str
    sender: str
    reverse_path: str
    arrived_at: int
    size: int
    message_id: str
    ses_headers: str
    crc32: int
    in_file: int
    state: str
    token: int
    waited: int
    held: int
    octets: bytes | None
    recipients: str
    attempt: int | None

    def known(self) -> list[Recipient]:
        """Return the recipients in the order they were given; ValueError if one is none."""
        rows, _ = _DECODE(self.recipients)
        if not rows:
            raise ValueError("it has no recipients")
        if len(rows) > 1:
            rows.sort()
        return [
            (address(spelt), spelt, attempts, due_at, doubts)
            for _, spelt, attempts, due_at, doubts in rows
        ]

    def mail(self, known: list[Recipient]) -> Mail:
        """Return the mail, for the recipients still known; ValueError if it cannot be one."""
        recipients = tuple([recipient for recipient, *_ in known])
        return Mail(
            QueueId(self.queue_id),
            SenderName(self.sender),
            Envelope(reverse_path(self.reverse_path), recipients),
            moment(self.arrived_at),
            self.size,
            self.message_id,
            ses_headers(self.ses_headers),
        )

    def complaint(self) -> str:
        """Return what is wrong with the state or the content in the row, or nothing."""
        if self.state not in _CLAIMABLE:
            return f"it is due although it is {self.state}"
        if self.attempt is not None:
            return "it is due although an attempt is under way"
        return self.complaint_of_content()

    def complaint_of_content(self) -> str:
        """Return what is wrong with the content in the row, or nothing; a file is not looked at."""
        if self.in_file:
            return ""
        if self.octets is None:
            return "its content is missing"
        return complaint_of(self.octets, self.size, self.crc32)


def due(connection: sqlite3.Connection, sender: str, limit: int, now: Instant) -> list[Due]:
    """Return what of a sender is due, oldest due first; sqlite3.Error if some is unreadable."""
    asked = {"sender": sender, "limit": limit} | _times(now)
    return list(starmap(Due, _strictly(connection, _DUE, asked)))


def due_one(connection: sqlite3.Connection, entry: int, now: Instant) -> list[Due]:
    """Return that entry if it is due; sqlite3.Error if it is unreadable."""
    asked = {"id": entry} | _times(now)
    return list(starmap(Due, _strictly(connection, _ONE_DUE, asked)))


def due_ids(connection: sqlite3.Connection, sender: str, now: Instant) -> list[int]:
    """Return the numbers of entries that are due, oldest due first, whether readable or not."""
    asked = {"sender": sender, "limit": _SINGLY, "now": milliseconds(now.wall)}
    return [entry for (entry,) in connection.execute(_IDS, asked)]


def complaint_of_entry(connection: sqlite3.Connection, entry: int, now: Instant) -> str:
    """Return what is wrong with an entry, due or not, apart from its state and its file."""
    asked = {"id": entry} | _times(now)
    try:
        rows = _strictly(connection, _ONE, asked)
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        return unreadable(error)
    for found in starmap(Due, rows):
        try:
            found.mail(found.known())
        except (OverflowError, TypeError, ValueError) as error:
            return unreadable(error)
        return found.complaint_of_content()
    return ""


def unreadable(error: Exception) -> str:
    """Return the complaint for an entry of which nothing can be made."""
    return f"it cannot be read: {error}"


def shown_mail(connection: sqlite3.Connection, entry: int) -> Mail:
    """Return what can still be told of an entry that is damaged."""
    nothing = ("", "", 0, 0)
    try:
        found = connection.execute(_SHOWN, (entry,)).fetchone() or nothing
    except sqlite3.Error as error:
        if not is_damage(error):
            raise
        found = nothing
    queue_id, sender, arrived_at, size = found
    return Mail(
        QueueId(queue_id),
        SenderName(sender),
        Envelope(None, ()),
        nearest_moment(arrived_at),
        size,
    )


def _times(now: Instant) -> dict[str, int]:
    return {"now": milliseconds(now.wall), "uptime": now.uptime}


def _strictly(
    connection: sqlite3.Connection, question: str, asked: dict[str, Any]
) -> list[tuple[Any, ...]]:
    """Answer without marks in place of what is not UTF-8: that raises OperationalError."""
    connection.text_factory = str
    try:
        return connection.execute(question, asked).fetchall()
    finally:
        connection.text_factory = text
