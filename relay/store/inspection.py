"""A look at a whole spool, running or stopped: both databases, and every content file.

Reads only. Says what is damaged and what to do about it; does not mend. Knows the tables and the
content directories. Does not take the lock: SQLite shows one moment, and what looks like a missing
file is looked at again, for a running relay removes files whenever mail has left.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from relay.mail.entry import State
from relay.mail.envelope import QUEUE_ID
from relay.ports import SpoolError
from relay.store.content import complaint_of, complaint_of_octets
from relay.store.opening import RECORD_DATABASE, SPOOL_DATABASE
from relay.store.schema import connect_to_read
from relay.store.wal import LONGEST

_PAGE: Final = 200
_ENTRIES: Final = """
    SELECT id, queue_id, size, crc32, in_file, state, (SELECT octets FROM content WHERE entry = id)
    FROM entry WHERE id > ? ORDER BY id LIMIT ?"""
_IDS: Final = "SELECT id FROM entry WHERE id > ? ORDER BY id LIMIT ?"
_STILL: Final = "SELECT state FROM entry WHERE id = ?"
_NAMED: Final = "SELECT 1 FROM entry WHERE queue_id = ?"
# A check that SQLite makes in one go holds up the log for as long; of a busy relay it is given up
# before the log is as long as it may be.
_STEPS: Final = 100_000
_HELD_UP: Final = LONGEST * 3 // 4

_RECOVER: Final = (
    "stop the relay, keep a copy of the whole directory, then "
    "`sqlite3 {0} .recover | sqlite3 mended.db` and put mended.db in its place"
)
_FORGETS: Final = (
    _RECOVER + "; mail flows meanwhile. Moving {0} away instead forgets ledger, feedback and "
    "suppression list"
)
_BRING_BACK: Final = (
    "it is not sent. Bring the file back to content/ from a backup and `relay queue retry {0}`, or "
    "have its sender send it again"
)


class TooBusyError(SpoolError):
    """The running relay writes too much for a check at present."""


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong, and what to do."""

    where: str
    complaint: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.complaint}\n    {self.remedy}"


class Inspection:
    """One look at one spool directory. `entries` counts what was looked at."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self.entries = 0
        self.strays = 0
        """Content files without an entry: mail under way to a running relay, or never accepted."""

    def damages(self) -> Iterator[Damage]:
        """Yield what is wrong, as it is found. Raises SpoolError where there is nothing to read."""
        yield from self._database(SPOOL_DATABASE, _RECOVER)
        yield from self._database(RECORD_DATABASE, _FORGETS)
        try:
            with closing(connect_to_read(self._spool / SPOOL_DATABASE)) as connection:
                yield from self._mail(connection)
                self._count_strays(connection)
        except sqlite3.Error as error:
            yield Damage(
                SPOOL_DATABASE, f"its entries cannot be read: {error}", self._say(_RECOVER)
            )

    def _database(self, name: str, remedy: str) -> Iterator[Damage]:
        path = self._spool / name
        if not path.is_file():
            raise SpoolError(f"{self._spool} has no {name}: it is no spool, or was never opened")
        log = path.with_name(f"{name}-wal")

        def is_held_up() -> bool:
            return log.exists() and log.stat().st_size > _HELD_UP

        try:
            with closing(connect_to_read(path)) as connection:
                connection.set_progress_handler(is_held_up, _STEPS)
                found = [line for (line,) in connection.execute("PRAGMA integrity_check")]
        except sqlite3.Error as error:
            if is_held_up():
                raise TooBusyError(
                    f"{name} is written too much to be checked now; "
                    "try again in a quiet hour, or with the relay stopped"
                ) from error
            found = [str(error)]
        if found != ["ok"]:
            for line in found:
                yield Damage(name, line, remedy.format(path))

    def _mail(self, connection: sqlite3.Connection) -> Iterator[Damage]:
        last = 0
        while keys := [key for (key,) in connection.execute(_IDS, (last, _PAGE))]:
            try:
                rows = connection.execute(_ENTRIES, (last, len(keys))).fetchall()
            except sqlite3.Error as error:
                # Told of above, page by page; what comes after it can be looked at still.
                where = f"entries {keys[0]} to {keys[-1]}"
                yield Damage(where, f"cannot all be read: {error}", self._say(_RECOVER))
                rows = []
            last = keys[-1]
            for row in rows:
                self.entries += 1
                yield from self._entry(connection, *row)

    def _entry(  # noqa: PLR0917 - the columns of one row
        self,
        connection: sqlite3.Connection,
        entry: int,
        queue_id: str,
        size: int,
        crc32: int,
        in_file: int,
        state: str,
        octets: bytes | None,
    ) -> Iterator[Damage]:
        if QUEUE_ID.fullmatch(queue_id) is None:
            yield Damage(f"entry {entry}", "its queue id is none", self._say(_RECOVER))
            return
        if state == State.CORRUPT:
            remedy = f"`relay queue show {queue_id}` says why; {_BRING_BACK.format(queue_id)}"
            yield Damage(queue_id, "it was set aside as corrupt", remedy)
            return
        complaint = ""
        if in_file:
            try:
                complaint = complaint_of_octets(self._spool / "content" / queue_id, size, crc32)
            except OSError as error:
                complaint = f"its content file cannot be read: {error.strerror}"
        elif octets is None:
            complaint = "its content is missing"
        else:
            complaint = complaint_of(octets, size, crc32)
        # A running relay may have sent it since.
        if complaint and connection.execute(_STILL, (entry,)).fetchone() is not None:
            yield Damage(queue_id, complaint, _BRING_BACK.format(queue_id))

    def _count_strays(self, connection: sqlite3.Connection) -> None:
        for path in (self._spool / "content").iterdir():
            if QUEUE_ID.fullmatch(path.name) is None:
                continue
            if connection.execute(_NAMED, (path.name,)).fetchone() is None:
                self.strays += 1

    def _say(self, remedy: str) -> str:
        return remedy.format(self._spool / SPOOL_DATABASE)
