"""What became of each recipient: lines of attempts and of feedback, and how they are found again.

Knows the ledger and event tables. Does not know how lines get there or what they lead to.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from sqlite3 import Connection
from typing import Any, Final, NamedTuple

from relay.mail.entry import LedgerLine
from relay.mail.envelope import QUEUE_ID, QueueId, SenderName
from relay.mail.feedback import FeedbackEvent, FeedbackKind, FeedbackRecipient
from relay.store.columns import Rows, milliseconds, moment
from relay.store.outbox import LEDGER_COLUMNS

# The words of the mail log for what SES reports.
_FACTS: Final[dict[str, str]] = {
    FeedbackKind.SEND: "sent",
    FeedbackKind.DELIVERY: "delivered",
    FeedbackKind.BOUNCE: "bounced",
    FeedbackKind.COMPLAINT: "complained",
    FeedbackKind.REJECT: "rejected",
    FeedbackKind.DELIVERY_DELAY: "delayed",
    FeedbackKind.RENDERING_FAILURE: "rendering-failed",
    FeedbackKind.SUBSCRIPTION: "subscribed",
    FeedbackKind.OPEN: "opened",
    FeedbackKind.CLICK: "clicked",
    FeedbackKind.UNKNOWN: "unknown",
}

_ACCEPTED: Final = "accepted"
REFUSED: Final = "refused"
"""Of mail whose client waited for SES and heard no: it has been accepted by nobody."""


class Owner(NamedTuple):
    """Whose mail SES speaks of; empty where it is none of ours."""

    queue_id: str
    sender: str


_EVENTS: Final = Rows(
    "event",
    "ses_message_id, recipient, kind, at, detail, feedback_id, source, queue_id, node, "
    "delivery_id, sender",
)
_LEDGER: Final = Rows("ledger", LEDGER_COLUMNS, ignore=True)
_MESSAGES: Final = Rows("message", "minute, message_id, queue_id", ignore=True)
_ARRIVED_AT: Final = [name.strip() for name in LEDGER_COLUMNS.split(",")].index("arrived_at")
_MINUTE: Final = 60_000  # milliseconds

_LINES: Final = """
    SELECT at, queue_id, sender, recipient, fact, detail, ses_message_id, arrived_at FROM ledger
    WHERE {which} ORDER BY at DESC LIMIT :limit"""
# Of events, those of mail that the ledger knows or that bears our tag: others use the account too.
_SAID: Final = """
    SELECT at, coalesce(known, queue_id), coalesce(owner, ''), recipient, kind, detail,
        ses_message_id
    FROM (
        SELECT *, (SELECT queue_id FROM ledger AS l
                WHERE l.ses_message_id = e.ses_message_id AND l.ses_message_id <> '') AS known,
            (SELECT sender FROM ledger AS l
                WHERE l.ses_message_id = e.ses_message_id AND l.ses_message_id <> '') AS owner
        FROM event AS e WHERE {which}
    )
    WHERE known IS NOT NULL OR node = :node ORDER BY at DESC LIMIT :limit"""

_KEYS: Final = "(SELECT value FROM json_each(:key))"
_BY_MAIL: Final = (
    _LINES.format(which=f"queue_id IN {_KEYS}"),
    _SAID.format(
        which=f"""ses_message_id IN (SELECT ses_message_id FROM ledger
                WHERE queue_id IN {_KEYS} AND ses_message_id <> '')
            OR (queue_id IN {_KEYS} AND queue_id <> '')"""  # noqa: S608 - our own names
    ),
)
_BY_RECIPIENT: Final = (
    _LINES.format(which="lower(recipient) = :key"),
    _SAID.format(which="lower(recipient) = :key"),
)
_BY_MESSAGE: Final = (
    _LINES.format(which="ses_message_id = :key AND ses_message_id <> ''"),
    _SAID.format(which="ses_message_id = :key"),
)
_OWNER: Final = """
    SELECT queue_id, sender FROM ledger WHERE ses_message_id = ? AND ses_message_id <> '' LIMIT 1"""
# With an id of its own a bounce or complaint is known by it; what has none, by its moment.
_TOLD: Final = """
    SELECT 1 FROM event
    WHERE ses_message_id = ?1 AND lower(recipient) = ?2 AND kind = ?3
        AND iif(?4 = '', at = ?5, feedback_id = ?4) LIMIT 1"""
_REPORTED: Final = """
    SELECT lower(recipient), ses_message_id FROM event
    WHERE queue_id = ? AND queue_id <> '' AND node = ? AND ses_message_id <> ''
        AND kind IN ('send', 'delivery', 'bounce', 'complaint', 'delivery_delay', 'reject')
    ORDER BY at DESC"""
_MAIL_OF: Final = """
    SELECT queue_id FROM ledger WHERE ses_message_id = ? AND ses_message_id <> '' LIMIT 1"""

NO_END: Final = (1 << 63) - 1
"""A minute after all others."""

# Minutes gone through in one question for a Message-ID: some milliseconds of the reader's time.
_DAY: Final = 24 * 60
_LAST: Final = "SELECT max(minute) FROM message WHERE minute < ?"
_MAILS_WITH: Final = """
    WITH RECURSIVE known (minute) AS (
        SELECT (SELECT min(minute) FROM message WHERE minute >= :since)
        UNION ALL
        SELECT (SELECT min(m.minute) FROM message AS m WHERE m.minute > known.minute)
        FROM known WHERE known.minute < :until
    )
    SELECT m.queue_id FROM known CROSS JOIN message AS m
    WHERE m.minute = known.minute AND m.message_id = :message_id AND known.minute < :until
    ORDER BY m.queue_id LIMIT :limit"""


def copy(connection: Connection, lines: Sequence[tuple[Any, ...]]) -> None:
    """Write down lines of the outbox; what is known already stays as it is."""
    _LEDGER.insert(connection, [line[:-1] for line in lines])
    messages = {
        (line[_ARRIVED_AT] // _MINUTE, line[-1], line[0]): None for line in lines if line[-1]
    }
    _MESSAGES.insert(connection, list(messages))


def write_event(
    connection: Connection, event: FeedbackEvent, delivery_id: str, node: str
) -> tuple[Sequence[FeedbackRecipient], Owner]:
    """Write down an event, once for each recipient; one that names none is kept too.

    Returns for which recipients it is news, for both formats of SES may report the same, and whose
    mail it was: ours by the tags, or by what the ledger knows.
    """
    owner = _owner_of(connection, event, node)
    at = milliseconds(event.at)
    news = [
        recipient
        for recipient in event.recipients or (FeedbackRecipient(""),)
        if connection.execute(
            _TOLD,
            (event.ses_message_id, recipient.address.lower(), event.kind, event.feedback_id, at),
        ).fetchone()
        is None
    ]
    rows = [
        (
            event.ses_message_id,
            recipient.address,
            event.kind,
            at,
            " ".join(
                word for word in (event.kind_detail, recipient.status, recipient.diagnostic) if word
            ),
            event.feedback_id,
            event.source,
            event.queue_id,
            event.node,
            delivery_id,
            owner.sender,
        )
        for recipient in news
    ]
    _EVENTS.insert(connection, rows)
    return news, owner


def _owner_of(connection: Connection, event: FeedbackEvent, node: str) -> Owner:
    if event.node == node and event.sender and event.queue_id:
        return Owner(event.queue_id, event.sender)
    if event.node and event.node != node:
        return Owner("", "")
    row = connection.execute(_OWNER, (event.ses_message_id,)).fetchone()
    return Owner("", "") if row is None else Owner(*row)


def reported(connection: Connection, queue_id: str, node: str) -> dict[str, str]:
    """Return to whom SES says it has taken a mail, folded, and by which message ids."""
    return dict(connection.execute(_REPORTED, (queue_id, node)))


def trace(connection: Connection, key: str, *, node: str, limit: int) -> list[LedgerLine]:
    """Return the newest lines of a queue id, SES message id or recipient, oldest of them first.

    A message id stands for its mail, so that the attempts before it are shown too.
    """
    if "@" in key:
        return _lines(connection, _BY_RECIPIENT, key.lower(), node=node, limit=limit)
    if not QUEUE_ID.fullmatch(key):
        row = connection.execute(_MAIL_OF, (key,)).fetchone()
        if row is None:
            return _lines(connection, _BY_MESSAGE, key, node=node, limit=limit)
        (key,) = row
    return trace_mails(connection, [key], node=node, limit=limit)


def trace_mails(
    connection: Connection, queue_ids: Sequence[str], *, node: str, limit: int
) -> list[LedgerLine]:
    """Return the newest lines of several mails, oldest of them first."""
    return _lines(connection, _BY_MAIL, json.dumps(queue_ids), node=node, limit=limit)


def mails_with(
    connection: Connection, message_id: str, before: int, *, limit: int
) -> tuple[list[str], int | None]:
    """Return the queue ids of mail with that Message-ID that came in the last day before a minute.

    And the minute in which that day began; None if no mail came before. Days without mail are
    passed over: there are tens of thousands once a clock has said 1970.
    """
    (last,) = connection.execute(_LAST, (before,)).fetchone()
    if last is None:
        return [], None
    since = last // _DAY * _DAY
    words = {"message_id": message_id, "since": since, "until": since + _DAY, "limit": limit}
    return [queue_id for (queue_id,) in connection.execute(_MAILS_WITH, words)], since


def _lines(
    connection: Connection, questions: tuple[str, str], key: str, *, node: str, limit: int
) -> list[LedgerLine]:
    """Return the lines that both questions find, in the order in which it happened.

    That a mail was accepted is told once for each recipient, as soon as the ledger knows of it.
    """
    ours, said = questions
    asked = {"key": key, "node": node, "limit": limit}
    # At the same moment: that it was accepted, what we did, what SES says of it.
    found: list[tuple[int, int, tuple[Any, ...]]] = []
    accepted = {}
    for *row, arrived_at in connection.execute(ours, asked):
        found.append((row[0], 1, tuple(row)))
        queue_id, sender, recipient = row[1:4]
        if row[4] != REFUSED:
            accepted[queue_id, recipient] = (
                arrived_at, queue_id, sender, recipient, _ACCEPTED, "", ""
            )  # fmt: skip
    found += [(row[0], 0, row) for row in accepted.values()]
    found += [(row[0], 2, row) for row in connection.execute(said, asked)]
    found.sort(key=lambda one: one[:2])
    return [_line(*row) for _, _, row in found[-limit:]]


def _line(  # noqa: PLR0917 - the columns of one row
    at: int,
    queue_id: str,
    sender: str,
    recipient: str,
    fact: str,
    detail: str,
    ses_message_id: str,
) -> LedgerLine:
    return LedgerLine(
        queue_id=QueueId(queue_id),
        sender=SenderName(sender),
        recipient=recipient,
        at=moment(at),
        fact=_FACTS.get(fact, fact),
        detail=detail,
        ses_message_id=ses_message_id,
    )
