"""The two databases of the spool directory: their tables, as numbered migrations.

Knows how a database is opened and brought up to date. Does not know what the rows mean; the
modules that own the tables do.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

from relay.mail.entry import State
from relay.ports import SpoolError
from relay.store.columns import text
from relay.store.disk import open_to_write
from relay.store.record_tables import RECORD as RECORD_TABLES

Migration: TypeAlias = tuple[str, ...]
"""The statements that lead from one version to the next, run in one transaction."""

RECORD: Final[tuple[Migration, ...]] = RECORD_TABLES
"""record.db, whose tables stand in relay.store.record_tables."""

SENDER_REMOVED: Final = "sender-removed"
"""The reason of mail that is held because its sender is configured no more."""

# `->>` and JSON without compiling it in.
_OLDEST_SQLITE: Final = (3, 38, 0)
_BUSY_MILLISECONDS: Final = 5000
_CACHE_KIBIBYTES: Final = 8192
# The log is written over and over, which is twice as fast as growing it, and is cut off only when
# a reader or a burst has made it much longer than it is between two checkpoints.
_WAL_PAGES: Final = 4000
_WAL_LIMIT: Final = 4 * _WAL_PAGES * 4096  # octets
_PREPARED: Final = 256
# Where uptime begins: a number as wide in the file as those after it for the next thousand years,
# so that no row grows, and splits its page, for having been entered again.
_UPTIME: Final = 1 << 40


def _count(row: str, sign: str) -> str:
    """One step of the tally: an entry of that sender and state more, or less."""
    return (
        "INSERT INTO tally (sender, state, entries, octets) "  # noqa: S608 - our own names
        f"VALUES ({row}.sender, {row}.state, {sign}1, {sign}{row}.size) "
        "ON CONFLICT DO UPDATE SET entries = entries + excluded.entries, "
        "octets = octets + excluded.octets;"
    )


SPOOL: Final[tuple[Migration, ...]] = (
    (
        # `due_at` is null for what is not to be claimed: in flight, held without a probe, failed,
        # corrupt. `token` counts the claims made of the entry. `waited` and `held` are milliseconds
        # up to when it came into its state (see relay.store.lifetime).
        """CREATE TABLE entry (
            id INTEGER PRIMARY KEY,
            queue_id TEXT NOT NULL UNIQUE,
            sender TEXT NOT NULL,
            reverse_path TEXT NOT NULL,
            arrived_at INTEGER NOT NULL,
            size INTEGER NOT NULL,
            crc32 INTEGER NOT NULL,
            in_file INTEGER NOT NULL,
            state TEXT NOT NULL,
            due_at INTEGER,
            reason TEXT NOT NULL,
            since INTEGER NOT NULL,
            token INTEGER NOT NULL,
            entered_at INTEGER NOT NULL,
            waited INTEGER NOT NULL DEFAULT 0,
            held INTEGER NOT NULL DEFAULT 0
        ) STRICT""",
        "CREATE INDEX entry_due ON entry (sender, due_at) WHERE due_at IS NOT NULL",
        "CREATE INDEX entry_in_file ON entry (id) WHERE in_file",
        # All that a start asks of very many, so that it need not read the rows themselves.
        "CREATE INDEX entry_file_name ON entry (queue_id, in_file) WHERE in_file",
        # What a reload may let go; nearly always empty, so it costs other mail nothing.
        f"""CREATE INDEX entry_orphan ON entry (sender)
            WHERE state = '{State.HELD}' AND reason = '{SENDER_REMOVED}'""",
        # Apart from the entry, so that a change of state does not rewrite the content.
        "CREATE TABLE content (entry INTEGER PRIMARY KEY, octets BLOB NOT NULL) STRICT",
        # `settled_in` is the token of the claim in which the last outcome came; `doubts` counts
        # the attempts that may have gone out, whatever became of the recipient since.
        """CREATE TABLE recipient (
            entry INTEGER NOT NULL,
            address TEXT NOT NULL,
            position INTEGER NOT NULL,
            state TEXT NOT NULL,
            attempts INTEGER NOT NULL,
            doubts INTEGER NOT NULL,
            due_at INTEGER,
            reason TEXT NOT NULL,
            detail TEXT NOT NULL,
            settled_in INTEGER NOT NULL,
            PRIMARY KEY (entry, address)
        ) STRICT, WITHOUT ROWID""",
        # One row for as long as the entry is claimed; `recipients` bear the mark "an attempt is
        # about to be made", one a line.
        """CREATE TABLE attempt (
            entry INTEGER PRIMARY KEY,
            number INTEGER NOT NULL,
            node TEXT NOT NULL,
            lease_until INTEGER NOT NULL,
            started_at INTEGER NOT NULL,
            recipients TEXT NOT NULL
        ) STRICT""",
        # What the ledger is still to be told.
        """CREATE TABLE outbox (
            id INTEGER PRIMARY KEY,
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
            detail TEXT NOT NULL
        ) STRICT""",
        # Kept by triggers, so that no change of an entry can forget it.
        """CREATE TABLE tally (
            sender TEXT NOT NULL,
            state TEXT NOT NULL,
            entries INTEGER NOT NULL,
            octets INTEGER NOT NULL,
            PRIMARY KEY (sender, state)
        ) STRICT, WITHOUT ROWID""",
        f"CREATE TRIGGER entry_came AFTER INSERT ON entry BEGIN {_count('new', '')} END",
        f"CREATE TRIGGER entry_went AFTER DELETE ON entry BEGIN {_count('old', '-')} END",
        f"""CREATE TRIGGER entry_turned AFTER UPDATE OF sender, state ON entry
            WHEN old.state <> new.state OR old.sender <> new.sender
            BEGIN {_count("old", "-")} {_count("new", "")} END""",
    ),
    (
        # Of the mail's header; empty without one. Not indexed, so that it costs mail on its way
        # nothing: who looks for it goes through the queue.
        "ALTER TABLE entry ADD COLUMN message_id TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE outbox ADD COLUMN message_id TEXT NOT NULL DEFAULT ''",
        # What operators have done to it so far; numbers the lines of the ledger about that.
        "ALTER TABLE entry ADD COLUMN orders INTEGER NOT NULL DEFAULT 0",
    ),
    (
        # How long the spool has been open, and how often it was opened (see relay.store.uptime).
        """CREATE TABLE service (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            uptime INTEGER NOT NULL,
            runs INTEGER NOT NULL
        ) STRICT""",
        f"INSERT INTO service VALUES (1, {_UPTIME}, 0)",  # noqa: S608 - our own number
        # Columns in `_up` are milliseconds of that uptime, all others milliseconds since 1970. What
        # was entered by the wall clock is entered anew: this is where uptime begins.
        "ALTER TABLE entry RENAME COLUMN entered_at TO entered_up",
        f"UPDATE entry SET entered_up = {_UPTIME}",  # noqa: S608 - our own number
        # When it was last let go: from being held, failed or corrupt.
        "ALTER TABLE entry ADD COLUMN freed_up INTEGER NOT NULL DEFAULT 0",
        # The run in which its last outcome came; 0 once it was let go since.
        "ALTER TABLE recipient ADD COLUMN tried_in INTEGER NOT NULL DEFAULT 0",
        # Spools of the first days have none, and the same version.
        """CREATE INDEX IF NOT EXISTS entry_file_name ON entry (queue_id, in_file)
            WHERE in_file""",
        # How far a sender's limits were used, by both clocks and in whose boot of the machine.
        """CREATE TABLE usage (
            sender TEXT PRIMARY KEY,
            at INTEGER NOT NULL,
            boot TEXT NOT NULL,
            monotonic REAL NOT NULL,
            used TEXT NOT NULL
        ) STRICT, WITHOUT ROWID""",
    ),
    (
        # Senders an operator has paused; `since_up` in the relay's own time, as above.
        """CREATE TABLE pause (
            sender TEXT PRIMARY KEY,
            since INTEGER NOT NULL,
            since_up INTEGER NOT NULL,
            actor TEXT NOT NULL,
            reason TEXT NOT NULL
        ) STRICT, WITHOUT ROWID""",
    ),
    (
        # What the mail itself asks of SES, as X-SES-* fields, one a line; empty for nothing.
        "ALTER TABLE entry ADD COLUMN ses_headers TEXT NOT NULL DEFAULT ''",
    ),
)


def connect(path: Path) -> sqlite3.Connection:
    """Open a database for writing, creating it where there is none. Transactions are explicit."""
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        oldest = ".".join(map(str, _OLDEST_SQLITE))
        raise SpoolError(f"SQLite {sqlite3.sqlite_version} is too old; {oldest} is needed")
    # The log beside it takes on its mode: others on the host may not read mail.
    if not path.exists():
        os.close(open_to_write(path, os.O_WRONLY))
    # Said here, because SQLite would open it to read and complain of something else. Not found out
    # by opening it: closing would drop the locks SQLite holds on it (fcntl(2)).
    if not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=_PREPARED)
    # One damaged row must not hide the others. What must be as it was written is read strictly.
    connection.text_factory = text
    try:
        for pragma in (
            f"busy_timeout = {_BUSY_MILLISECONDS}",
            # Before the first table, or it has no effect.
            "auto_vacuum = INCREMENTAL",
            "journal_mode = WAL",
            # The log is fsynced at every commit: what `250` promises.
            "synchronous = FULL",
            f"wal_autocheckpoint = {_WAL_PAGES}",
            f"journal_size_limit = {_WAL_LIMIT}",
            f"cache_size = -{_CACHE_KIBIBYTES}",
            "temp_store = MEMORY",
            # Distributions switch it on: then mail that was sent is written once more, as zeros.
            # Files that were removed are not overwritten either; the directory is ours alone.
            "secure_delete = OFF",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a database that is there already, for reading only."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None
    )
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}").fetchall()
    connection.text_factory = text
    return connection


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Bring a database to the newest version; raise SpoolError if it is newer than that."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        (_, _, path) = connection.execute("PRAGMA database_list").fetchone()
        raise SpoolError(
            f"{path} has version {version}, and this release knows none above {len(migrations)}: "
            "it was written by a newer release; run that one"
        )
    for number, statements in enumerate(migrations[version:], version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
