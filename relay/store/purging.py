"""What nobody needs any more: failed mail after its keeping, and history.

Knows the tables of both databases, and to do a little at a time. Does not know when it is asked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from sqlite3 import Connection
from typing import Final, NamedTuple

from relay.mail.entry import State, Turn
from relay.mail.envelope import Envelope, Mail, QueueId, SenderName, least_queue_id
from relay.policy.expiry import DEDUPLICATED, Terms
from relay.store.columns import milliseconds, nearest_moment
from relay.store.lifetime import Instant
from relay.store.settling import retire
from relay.store.states import RETIRED, after

PURGED: Final = "purged"
"""The word of the ledger for failed mail that is kept no more."""

# What is forgotten in one transaction: a few ms of the writer's time.
_ROWS: Final = 500
# A report of SES has at most 256 KiB, and a few KiB as a rule.
_REPORTS: Final = 50

_SPENT: Final = f"""
    SELECT id, queue_id, sender, arrived_at, size, in_file FROM entry
    WHERE id IN (SELECT value FROM json_each(:entries)) AND state = '{State.FAILED}'
        AND :uptime - entered_up >= :keep_failed"""  # noqa: S608 - our own names
_TOLD: Final = f"""
    INSERT INTO outbox (queue_id, recipient, attempt, fact, at,
        sender, reverse_path, arrived_at, size, ses_message_id, detail, message_id)
    SELECT queue_id, address, attempts, '{PURGED}', :at,
        sender, reverse_path, arrived_at, size, '', '', message_id
    FROM entry JOIN recipient ON entry = id
    WHERE id IN (SELECT value FROM json_each(:entries))"""  # noqa: S608 - our own names

_KEY: Final = "queue_id, recipient, attempt, fact"
# In the order of its mail: what is told of a mail is told after it came.
_LEDGER_PAGE: Final = f"""
    SELECT {_KEY} FROM ledger WHERE ({_KEY}) > (?, ?, ?, ?) AND queue_id < ?
    ORDER BY {_KEY} LIMIT 1 OFFSET ?"""  # noqa: S608 - our own names
_LEDGER: Final = f"""
    DELETE FROM ledger
    WHERE ({_KEY}) > (?, ?, ?, ?) AND ({_KEY}) <= (?, ?, ?, ?) AND at < ?"""  # noqa: S608
_LEDGER_REST: Final = f"""
    DELETE FROM ledger WHERE ({_KEY}) > (?, ?, ?, ?) AND queue_id < ? AND at < ?"""  # noqa: S608
# By the minute of arrival. What is told of a mail to this day keeps its way to it.
_MESSAGE_PAGE: Final = """
    SELECT minute, message_id, queue_id FROM message
    WHERE (minute, message_id, queue_id) > (?, ?, ?) AND minute < ?
    ORDER BY minute, message_id, queue_id LIMIT ?"""
_MESSAGES: Final = """
    DELETE FROM message
    WHERE (minute, message_id, queue_id) > (?, ?, ?)
        AND (minute, message_id, queue_id) <= (?, ?, ?)
        AND NOT EXISTS (SELECT 1 FROM ledger WHERE ledger.queue_id = message.queue_id)"""
_FEEDBACK: Final = """
    DELETE FROM feedback WHERE delivery_id IN (
        SELECT delivery_id FROM feedback WHERE taken_at < ? ORDER BY taken_at LIMIT ?)"""
_EVENT: Final = """
    DELETE FROM event WHERE id IN (SELECT id FROM event WHERE at < ? ORDER BY at LIMIT ?)"""
_AUDIT: Final = """
    DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? ORDER BY at LIMIT ?)"""


_FIRST_LINE: Final = ("", "", 0, "")
_FIRST_MESSAGE: Final = (-1, "", "")
_MINUTE: Final = 60_000  # milliseconds


class Purged(NamedTuple):
    """Failed mail that is kept no more, and whether it had a content file."""

    mail: Mail
    in_file: bool


def purge(connection: Connection, group: Sequence[int], terms: Terms, now: Instant) -> list[Purged]:
    """Forget failed mail that was kept as long as promised; what was retried meanwhile stays."""
    if after(State.FAILED, Turn.EXPIRED) is not RETIRED:
        raise ValueError("failed mail is kept for ever")
    words = {"entries": json.dumps(list(group)), "uptime": now.uptime}
    words["keep_failed"] = int(terms.keep_failed.total_seconds() * 1000)
    rows = connection.execute(_SPENT, words).fetchall()
    entries = [row[0] for row in rows]
    connection.execute(_TOLD, {"entries": json.dumps(entries), "at": milliseconds(now.wall)})
    retire(connection, entries)
    return [
        Purged(
            Mail(
                QueueId(queue_id),
                SenderName(sender),
                Envelope(None, ()),
                nearest_moment(arrived_at),
                size,
            ),
            bool(in_file),
        )
        for _, queue_id, sender, arrived_at, size, in_file in rows
    ]


class History:
    """Forgets what is older than is kept, a few rows a call. Called by the writer of the record.

    The ledger is gone through in the order of its mail, then the Message-IDs in the order of its
    arrival, and each pass begins with the oldest.
    """

    def __init__(self) -> None:
        self._after: tuple[str, str, int, str] = _FIRST_LINE
        self._message_after: tuple[int, str, str] | None = None

    def forget(self, connection: Connection, terms: Terms, now: datetime) -> bool:
        """Forget some; False when there is no more."""
        old = milliseconds(now - terms.history)
        seen = milliseconds(now - max(terms.history, DEDUPLICATED))
        # The report after what was made of it: with it gone, the same report would be news.
        for statement, before, limit in (
            (_EVENT, old, _ROWS),
            (_AUDIT, old, _ROWS),
            (_FEEDBACK, seen, _REPORTS),
        ):
            if connection.execute(statement, (before, limit)).rowcount:
                return True
        if self._message_after is None and self._forget_lines(
            connection, least_queue_id(now - terms.history), old
        ):
            return True
        return self._forget_messages(connection, old // _MINUTE)

    def _forget_lines(self, connection: Connection, first_kept: str, old: int) -> bool:
        page = (*self._after, first_kept, _ROWS - 1)
        last = connection.execute(_LEDGER_PAGE, page).fetchone()
        if last is None:
            connection.execute(_LEDGER_REST, (*self._after, first_kept, old))
            self._after = _FIRST_LINE
            return False
        connection.execute(_LEDGER, (*self._after, *last, old))
        self._after = last
        return True

    def _forget_messages(self, connection: Connection, first_kept: int) -> bool:
        after = self._message_after or _FIRST_MESSAGE
        page = connection.execute(_MESSAGE_PAGE, (*after, first_kept, _ROWS)).fetchall()
        if not page:
            self._message_after = None
            return False
        connection.execute(_MESSAGES, (*after, *page[-1]))
        self._message_after = page[-1]
        return True
