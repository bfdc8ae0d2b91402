"""What a crash left behind, put in order before anybody connects.

Knows the tables and the content directory. Runs under the spool lock, in pages, so that memory does
not grow with the queue.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final, NamedTuple

from relay.mail.entry import State, Turn
from relay.mail.envelope import QUEUE_ID
from relay.store.columns import milliseconds
from relay.store.content import complaint_of_file, set_aside
from relay.store.outbox import CUT_SHORT, OUTBOX
from relay.store.settling import give_back, turn
from relay.store.states import kept_after
from relay.store.view import count_by_state

_PAGE: Final = 500
_CLAIMED: Final = """
    SELECT entry, number, started_at, recipients,
        queue_id, sender, reverse_path, arrived_at, size
    FROM attempt JOIN entry ON entry.id = attempt.entry
    WHERE entry > ? ORDER BY entry LIMIT ?"""
_MARKED: Final = """
    UPDATE recipient SET state = ?, attempts = attempts + 1, doubts = doubts + 1, due_at = ?,
        reason = ?, detail = ?, settled_in = ?
    WHERE entry = ? AND address = ? AND settled_in <> ?"""
_UNMARKED: Final = """
    UPDATE recipient SET state = ?, due_at = ?
    WHERE entry = ? AND due_at <= ? AND settled_in <> ?"""
_IN_FILES: Final = """
    SELECT id, queue_id, size, state FROM entry WHERE in_file AND id > ? ORDER BY id LIMIT ?"""
_REASON: Final = "stopped"


class Recovered(NamedTuple):
    """What was found: entries in the spool, and what had to be put in order."""

    entries: int
    ambiguous: int
    strays: int
    corrupt: int


class Recovery:
    """One recovery of one spool directory."""

    def __init__(
        self, connection: Connection, spool: Path, *, now: datetime, ambiguous_wait: timedelta
    ) -> None:
        self._connection = connection
        self._content = spool / "content"
        self._corrupt = spool / "corrupt"
        self._now = now
        self._patience = now + ambiguous_wait

    def run(self) -> Recovered:
        """Put everything in order; to be run again from the start if it is interrupted."""
        ambiguous = self._end_claims()
        corrupt = self._check_files()
        strays = self._remove_strays()
        entries = sum(count_by_state(self._connection).values())
        return Recovered(entries, ambiguous, strays, corrupt)

    def _pages(self, question: str) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the answer by pages, each a transaction; its first column is the key."""
        last = 0
        while True:
            self._connection.execute("BEGIN IMMEDIATE")
            page = self._connection.execute(question, (last, _PAGE)).fetchall()
            if page:
                last = page[-1][0]
                yield page
            self._connection.execute("COMMIT")
            if not page:
                return

    def _end_claims(self) -> int:
        """End the claims of the process that is gone; return how many attempts are in doubt."""
        in_doubt = 0
        for page in self._pages(_CLAIMED):
            for row in page:
                in_doubt += self._end_claim(*row)
        return in_doubt

    def _end_claim(self, entry: int, number: int, started_at: int, marked: str, *mail: Any) -> int:
        """Marked recipients may have gone out; the others were not attempted, and are due."""
        connection, now = self._connection, milliseconds(self._now)
        doubtful = kept_after(State.IN_FLIGHT, Turn.CRASH)
        patience = milliseconds(self._patience)
        lines = []
        for address in marked.splitlines():
            connection.execute(
                _MARKED,
                (doubtful, patience, _REASON, CUT_SHORT, number, entry, address, number),
            )
            (attempts,) = connection.execute(
                "SELECT attempts FROM recipient WHERE entry = ? AND address = ?", (entry, address)
            ).fetchone()
            queue_id, *rest = mail
            lines.append((queue_id, address, attempts, "ambiguous", now, *rest, "", CUT_SHORT))
        OUTBOX.insert(connection, lines)
        unmarked = kept_after(State.IN_FLIGHT, Turn.RELEASED)
        connection.execute(_UNMARKED, (unmarked, now, entry, started_at, number))
        give_back(connection, entry, self._now)
        return len(lines)

    def _check_files(self) -> int:
        """Set aside entries whose file is missing or short; return how many."""
        corrupt = 0
        moving = []
        for page in self._pages(_IN_FILES):
            for entry, queue_id, size, state in page:
                path = self._content / queue_id
                if state != State.CORRUPT and (complaint := complaint_of_file(path, size)):
                    following = kept_after(State(state), Turn.DAMAGED)
                    turn(self._connection, entry, following, None, complaint, self._now)
                    corrupt += 1
                    state = following  # noqa: PLW2901 - what it is now
                # The move follows the commit, and the crash may have come between the two.
                if state == State.CORRUPT and path.exists():
                    moving.append(path)
        for path in moving:
            set_aside(path, self._corrupt)
        return corrupt

    def _remove_strays(self) -> int:
        """Remove content no row names: mail that was never acknowledged. Return how many."""
        strays = 0
        with os.scandir(self._content) as found:
            for item in found:
                # What does not bear a queue id is not ours, and not mail.
                if not QUEUE_ID.fullmatch(item.name) or not item.is_file(follow_symlinks=False):
                    continue
                known = self._connection.execute(
                    "SELECT 1 FROM entry WHERE queue_id = ? AND in_file", (item.name,)
                ).fetchone()
                if known is None:
                    Path(item.path).unlink()
                    strays += 1
        return strays
