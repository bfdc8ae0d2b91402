"""The tables of record.db, as numbered migrations: what is remembered after mail has left.

Knows columns. What the rows mean, the modules that own the tables know.
"""

from __future__ import annotations

from typing import Final

SLOT: Final = 300_000
"""Milliseconds that are counted together of a sender's reputation."""

# Where our word for what SES said of a recipient counts: once, whoever asks for it again.
_COUNTED: Final = {
    "delivered": "new.kind = 'delivery'",
    # What SES's own list stopped was never sent, and does not count there either.
    "bounced": "new.kind = 'bounce' AND new.detail LIKE 'Permanent/%' "
    "AND new.detail NOT LIKE 'Permanent/On%SuppressionList%'",
    "complained": "new.kind = 'complaint' AND new.detail NOT LIKE 'not-spam%' "
    "AND new.detail NOT LIKE 'On%SuppressionList%'",
}


def _count(column: str, condition: str, table: str) -> str:
    """Count a row in the slot of its time, when it is really new: not when it is ignored."""
    return (
        f"CREATE TRIGGER {column}_counted AFTER INSERT ON {table} "  # noqa: S608 - our own names
        f"WHEN {condition} AND new.sender <> '' BEGIN "
        f"INSERT INTO reputation (sender, slot, {column}) VALUES (new.sender, new.at / {SLOT}, 1) "
        f"ON CONFLICT DO UPDATE SET {column} = {column} + 1; END"
    )


RECORD: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE ledger (
            queue_id TEXT NOT NULL,
            recipient TEXT NOT NULL,
            attempt INTEGER NOT NULL,
            fact TEXT NOT NULL,
            at INTEGER NOT NULL,
            sender TEXT NOT NULL,
            reverse_path TEXT NOT NULL,
            arrived_at INTEGER NOT NULL,
            size INTEGER NOT NULL,
            ses_message_id TEXT NOT NULL,
            detail TEXT NOT NULL,
            PRIMARY KEY (queue_id, recipient, attempt, fact)
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX ledger_message ON ledger (ses_message_id) WHERE ses_message_id <> ''",
        "CREATE INDEX ledger_recipient ON ledger (lower(recipient), at)",
        # The inbox and the memory of what has been in it. `kind` is empty for what was signed but
        # not understood.
        """CREATE TABLE feedback (
            delivery_id TEXT PRIMARY KEY,
            taken_at INTEGER NOT NULL,
            kind TEXT NOT NULL,
            raw BLOB NOT NULL
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX feedback_taken ON feedback (taken_at)",
        # What SES said of each recipient. What is shown of a mail is joined from ledger and
        # events, so it does not matter which of the two came first.
        """CREATE TABLE event (
            id INTEGER PRIMARY KEY,
            ses_message_id TEXT NOT NULL,
            recipient TEXT NOT NULL,
            kind TEXT NOT NULL,
            at INTEGER NOT NULL,
            detail TEXT NOT NULL,
            feedback_id TEXT NOT NULL,
            source TEXT NOT NULL,
            queue_id TEXT NOT NULL,
            node TEXT NOT NULL,
            delivery_id TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX event_message ON event (ses_message_id)",
        "CREATE INDEX event_mail ON event (queue_id) WHERE queue_id <> ''",
        "CREATE INDEX event_recipient ON event (lower(recipient), at)",
        """CREATE TABLE suppression (
            address TEXT PRIMARY KEY,
            reason TEXT NOT NULL,
            detail TEXT NOT NULL,
            since INTEGER NOT NULL,
            event_id TEXT NOT NULL
        ) STRICT, WITHOUT ROWID""",
        # When an operator last took the address off the list: older events must not put it back.
        """CREATE TABLE removal (
            address TEXT PRIMARY KEY,
            at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID""",
        """CREATE TABLE audit (
            id INTEGER PRIMARY KEY,
            at INTEGER NOT NULL,
            actor TEXT NOT NULL,
            action TEXT NOT NULL,
            subject TEXT NOT NULL,
            detail TEXT NOT NULL
        ) STRICT""",
    ),
    (
        # By which Message-ID mail of the ledger is found. The ids are random: by the minute of
        # arrival first, they are written side by side all the same, at a tenth of the cost, and who
        # looks for one asks each minute there is.
        """CREATE TABLE message (
            minute INTEGER NOT NULL,
            message_id TEXT NOT NULL,
            queue_id TEXT NOT NULL,
            PRIMARY KEY (minute, message_id, queue_id)
        ) STRICT, WITHOUT ROWID""",
    ),
    (
        # What is old is found by them; the ledger is in the order of its mail as it is.
        "CREATE INDEX event_at ON event (at)",
        "CREATE INDEX audit_at ON audit (at)",
    ),
    (
        # In one scope each: '' is everybody's mail, `account:NAME` and `sender:NAME` say whose.
        # `spelling` is the address as SES's own list has it: there, case counts.
        "ALTER TABLE suppression RENAME TO suppression_before",
        """CREATE TABLE suppression (
            address TEXT NOT NULL,
            scope TEXT NOT NULL,
            reason TEXT NOT NULL,
            detail TEXT NOT NULL,
            since INTEGER NOT NULL,
            last_seen INTEGER NOT NULL,
            until INTEGER,
            event_id TEXT NOT NULL,
            spelling TEXT NOT NULL,
            sweep INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (address, scope)
        ) STRICT, WITHOUT ROWID""",
        """INSERT INTO suppression
            SELECT address, '', reason, detail, since, since, NULL, event_id, address, 0
            FROM suppression_before""",
        "DROP TABLE suppression_before",
        "CREATE INDEX suppression_until ON suppression (until) WHERE until IS NOT NULL",
        # How far the copy of an account's own list has come. `token` is where a full sweep goes on
        # after a kill; `newest` is the time of the youngest entry seen.
        """CREATE TABLE sync (
            account TEXT PRIMARY KEY,
            sweep INTEGER NOT NULL,
            token TEXT NOT NULL,
            seen INTEGER NOT NULL,
            newest INTEGER NOT NULL,
            swept_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID""",
        # Whose mail it was; empty for mail that is not ours.
        "ALTER TABLE event ADD COLUMN sender TEXT NOT NULL DEFAULT ''",
        f"""CREATE TABLE reputation (
            sender TEXT NOT NULL,
            slot INTEGER NOT NULL,
            sent INTEGER NOT NULL DEFAULT 0,
            {", ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in _COUNTED)},
            PRIMARY KEY (sender, slot)
        ) STRICT, WITHOUT ROWID""",
        _count("sent", "new.fact = 'relayed'", "ledger"),
        *(_count(name, condition, "event") for name, condition in _COUNTED.items()),
        # What applications are still to be told. `due_at` is null for what was given up.
        """CREATE TABLE callback (
            id TEXT PRIMARY KEY,
            sender TEXT NOT NULL,
            kind TEXT NOT NULL,
            body BLOB NOT NULL,
            made_at INTEGER NOT NULL,
            due_at INTEGER,
            attempts INTEGER NOT NULL,
            complaint TEXT NOT NULL
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX callback_due ON callback (sender, due_at) WHERE due_at IS NOT NULL",
        "CREATE INDEX callback_dead ON callback (made_at) WHERE due_at IS NULL",
    ),
)
