"""What a relay that is gone has left on disk, read without any of its code but its table names.

Looks at a copy: who opens a database after a crash repairs it, and that is the relay's to do.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

Pair = tuple[str, str]
"""A queue id and a recipient: what is sent once."""

_KEPT: Final = """
    SELECT queue_id, address FROM recipient JOIN entry ON entry.id = recipient.entry"""
_LEDGER: Final = "SELECT queue_id, recipient, fact, ses_message_id FROM ledger"


class Line(NamedTuple):
    """What the ledger says of one attempt at one recipient."""

    queue_id: str
    recipient: str
    fact: str
    ses_message_id: str


def kept(spool: Path) -> set[Pair]:
    """Return what the spool still has to send."""
    return set(_ask(spool, "spool.db", _KEPT))


def outbox(spool: Path) -> int:
    """Return how many lines wait to be carried over to the ledger."""
    ((count,),) = _ask(spool, "spool.db", "SELECT count(*) FROM outbox")
    return int(count)


def ledger(spool: Path) -> list[Line]:
    """Return what is remembered of mail that went."""
    return [Line(*row) for row in _ask(spool, "record.db", _LEDGER)]


def complaints(spool: Path) -> list[str]:
    """Say what is wrong with the databases of a spool, as SQLite sees it."""
    found = []
    for name in ("spool.db", "record.db"):
        for (said,) in _ask(spool, name, "PRAGMA integrity_check"):
            if said != "ok":
                found.append(f"{name}: {said}")
    return found


def _ask(spool: Path, name: str, question: str) -> Iterable[tuple[Any, ...]]:
    if not (spool / name).exists():
        return []
    with tempfile.TemporaryDirectory(prefix="crash-disk-") as directory:
        for suffix in ("", "-wal"):
            if (spool / f"{name}{suffix}").exists():
                shutil.copyfile(spool / f"{name}{suffix}", Path(directory, f"{name}{suffix}"))
        with closing(sqlite3.connect(Path(directory, name))) as connection:
            try:
                return connection.execute(question).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []  # it was killed before there was any
                raise
