"""What a crash left behind, put in order before anybody connects.

Knows the tables and the content directory. Runs under the spool lock, in pages, so that memory does
not grow with the queue. What is damaged is set aside or left alone: it never keeps the relay down.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from relay.mail.entry import State, Turn
from relay.mail.envelope import QUEUE_ID
from relay.store.census import Suspects, sums_of
from relay.store.columns import milliseconds, text
from relay.store.content import complaint_of_file, set_aside
from relay.store.due import unreadable
from relay.store.lifetime import Instant
from relay.store.outbox import CUT_SHORT, OUTBOX
from relay.store.settling import give_back, turn
from relay.store.states import kept_after, known
from relay.store.trouble import is_damage
from relay.store.view import count_by_state

_PAGE: Final = 500
_CLAIMED: Final = """
    SELECT entry, number, started_at, recipients,
        queue_id, message_id, sender, reverse_path, arrived_at, size
    FROM attempt JOIN entry ON entry.id = attempt.entry
    WHERE entry > ? ORDER BY entry LIMIT ?"""
_CLAIMED_IDS: Final = "SELECT entry FROM attempt WHERE entry > ? ORDER BY entry LIMIT ?"
_MARKED: Final = """
    UPDATE recipient SET state = ?, attempts = attempts + 1, doubts = doubts + 1, due_at = ?,
        reason = ?, detail = ?, settled_in = ?
    WHERE entry = ? AND address = ? AND settled_in <> ?"""
_ATTEMPTS: Final = "SELECT attempts FROM recipient WHERE entry = ? AND address = ?"
_UNMARKED: Final = """
    UPDATE recipient SET state = ?, due_at = ?
    WHERE entry = ? AND due_at <= ? AND settled_in <> ?"""
_IN_FILES: Final = """
    SELECT id, queue_id, size, state FROM entry WHERE in_file AND id > ? ORDER BY id LIMIT ?"""
_IN_FILE_IDS: Final = "SELECT id FROM entry WHERE in_file AND id > ? ORDER BY id LIMIT ?"
# From the index alone.
_NAMES: Final = """
    SELECT queue_id, id FROM entry WHERE in_file AND queue_id > CAST(? AS TEXT)
    ORDER BY queue_id LIMIT ?"""
_MORE_THAN: Final = "SELECT 1 FROM entry WHERE in_file LIMIT 1 OFFSET ?"
_NAMED_AT_ONCE: Final = 5000
# Each file is looked at while they are no more than these, which takes some tenths of a second.
# Of more, those are that are missing on one side; a length is looked at again before mail is sent.
_FEW: Final = 5000
_REASON: Final = "stopped"
_CORRUPT: Final = kept_after(State.READY, Turn.DAMAGED)


class Recovered(NamedTuple):
    """What was found: entries in the spool, and what had to be put in order."""

    entries: int
    ambiguous: int
    strays: int
    corrupt: int


class Recovery:
    """One recovery of one spool directory."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        spool: Path,
        *,
        now: Instant,
        ambiguous_wait: timedelta,
    ) -> None:
        self._connection = connection
        self._content = spool / "content"
        self._aside = spool / "corrupt"
        self._now = now
        self._patience = now.wall + ambiguous_wait
        self._corrupt = 0
        # Some row's file is nowhere, or some row cannot be read: then a file without a row may be
        # accepted mail.
        self._misses_files = False
        self._moving: set[Path] = set()
        # Where very many files are, those that need to be looked at.
        self._suspects: Suspects | None = None
        self.trouble: list[OSError] = []
        """Why files could not be looked at or moved; their entries are as they were."""

    def run(self) -> Recovered:
        """Put everything in order; to be run again from the start if it is interrupted."""
        ambiguous = self._each(
            _CLAIMED, _CLAIMED_IDS, self._end_claim, "its claim could not be ended"
        )
        self._check_files()
        strays = self._clear_strays()
        entries = sum(count_by_state(self._connection).values())
        return Recovered(entries, ambiguous, strays, self._corrupt)

    def _each(self, question: str, ids: str, turn_one: Callable[..., int], complaint: str) -> int:
        """Let a turn happen to each row of an answer, by pages; return the sum of what it returns.

        The first column is the key, and `ids` asks for the keys alone. Entries that cannot be read
        or written are set aside, if they can be.
        """
        total, last = 0, 0
        while keys := [key for (key,) in self._connection.execute(ids, (last, _PAGE))]:
            last = keys[-1]
            total += self._turn_all(self._read(question, keys), turn_one, complaint)
        return total

    def _turn_all(
        self, page: list[tuple[Any, ...]], turn_one: Callable[..., int], complaint: str
    ) -> int:
        done = self._transact(partial(_sum, turn_one, page))
        if done is not None:
            return done
        total = 0
        for row in page:
            done = self._transact(partial(turn_one, *row))
            if done is None:
                self._set_aside(row[0], complaint)
            else:
                total += done
        return total

    def _read(self, question: str, keys: list[int]) -> list[tuple[Any, ...]]:
        try:
            rows = self._connection.execute(question, (keys[0] - 1, len(keys))).fetchall()
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
        else:
            return [row for row in rows if row[0] <= keys[-1]]
        return self._read_singly(question, keys)

    def _read_singly(self, question: str, keys: Iterable[int]) -> list[tuple[Any, ...]]:
        rows = []
        for key in keys:
            try:
                found = self._connection.execute(question, (key - 1, 1)).fetchall()
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
                self._misses_files = True
                self._set_aside(key, unreadable(error))
            else:
                # Of a key that joins nothing, the answer is about a later one.
                rows += [row for row in found if row[0] == key]
        return rows

    def _transact(self, work: Callable[[], int]) -> int | None:
        """Do a piece of work in one transaction; None where damage undid it."""
        connection, before = self._connection, self._corrupt
        connection.execute("BEGIN IMMEDIATE")
        try:
            done = work()
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if not is_damage(error):
                raise
            self._corrupt = before
            return None
        return done

    def _set_aside(self, entry: int, complaint: str) -> None:
        """Have an entry corrupt; one that cannot even be written stays as it is."""
        self._transact(partial(self._turn_corrupt, entry, complaint))

    def _turn_corrupt(self, entry: int, complaint: str) -> int:
        turn(self._connection, entry, _CORRUPT, None, complaint, self._now)
        self._corrupt += 1
        return 0

    def _end_claim(self, entry: int, number: int, started_at: int, marked: str, *mail: Any) -> int:
        """End the claim of the process that is gone; return how many attempts are in doubt.

        Marked recipients may have gone out; the others were not attempted, and are due.
        """
        connection, now = self._connection, milliseconds(self._now.wall)
        doubtful = kept_after(State.IN_FLIGHT, Turn.CRASH)
        patience = milliseconds(self._patience)
        lines = []
        for address in marked.splitlines():
            connection.execute(
                _MARKED,
                (doubtful, patience, _REASON, CUT_SHORT, number, entry, address, number),
            )
            # A damaged mark names nobody.
            for (attempts,) in connection.execute(_ATTEMPTS, (entry, address)).fetchall():
                queue_id, message_id, *rest = mail
                line = (queue_id, address, attempts, "ambiguous", now, *rest, "", CUT_SHORT)
                lines.append((*line, message_id))
        OUTBOX.insert(connection, lines)
        unmarked = kept_after(State.IN_FLIGHT, Turn.RELEASED)
        connection.execute(_UNMARKED, (unmarked, now, entry, started_at, number))
        if give_back(connection, entry, self._now) is _CORRUPT:
            self._corrupt += 1
        return len(lines)

    def _check_files(self) -> None:
        """Set aside entries whose file is missing or short."""
        unwritable = "it cannot be written"
        self._suspects = self._narrowed_down()
        if self._suspects is None:
            self._each(_IN_FILES, _IN_FILE_IDS, self._check_file, unwritable)
        elif self._suspects:
            keys = (key for page in self._names() for key in self._suspects.among(page))
            while some := list(islice(keys, _PAGE)):
                self._turn_all(self._read_singly(_IN_FILES, some), self._check_file, unwritable)
        for path in self._moving:
            with self._told():
                set_aside(path, self._aside)

    def _narrowed_down(self) -> Suspects | None:
        """Return what needs to be looked at; None where that is all, because it is little."""
        if self._connection.execute(_MORE_THAN, (_FEW,)).fetchone() is None:
            return None
        try:
            of_rows = sums_of([name for name, _ in page] for page in self._names())
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            return None
        with os.scandir(os.fsencode(self._content)) as found:
            names = (item.name for item in found)
            of_files = sums_of(iter(lambda: list(islice(names, _NAMED_AT_ONCE)), []))
        return Suspects(of_rows, of_files)

    def _names(self) -> Iterator[list[tuple[bytes, int]]]:
        """Yield name and number of each entry in a file, by pages."""
        last, connection = b"", self._connection
        while True:
            connection.text_factory = bytes
            try:
                page = connection.execute(_NAMES, (last, _NAMED_AT_ONCE)).fetchall()
            finally:
                connection.text_factory = text
            if not page:
                return
            yield page
            last = page[-1][0]

    def _check_file(self, entry: int, queue_id: str, size: int, name: str) -> int:
        state = known(name)
        complaint = self._complaint_of(queue_id, size, state)
        # The move follows the commit, and a crash may have come between the two.
        if (complaint or state is State.CORRUPT) and QUEUE_ID.fullmatch(queue_id):
            self._moving.add(self._content / queue_id)
        return self._turn_corrupt(entry, complaint) if complaint else 0

    def _complaint_of(self, queue_id: str, size: int, state: State | None) -> str:
        """Return what is wrong with an entry in a file, or nothing where that is known already."""
        # A damaged name could lead anywhere.
        if QUEUE_ID.fullmatch(queue_id) is None:
            self._misses_files = True
            return "" if state is State.CORRUPT else "its queue id is none"
        complaint = ""
        with self._told():
            path = self._content / queue_id
            complaint = complaint_of_file(path, size)
            if complaint and not path.exists() and not (self._aside / queue_id).exists():
                self._misses_files = True
        if state is State.CORRUPT:
            return ""
        return complaint if state is not None else "its state is unknown"

    def _clear_strays(self) -> int:
        """Remove content no row names: mail that was never acknowledged. Return how many.

        Set aside instead while rows miss their files: one of these may be such a file.
        """
        strays, suspects = 0, self._suspects
        if suspects is not None and not suspects:
            return 0
        with os.scandir(self._content) as found:
            for item in found:
                if suspects is not None and os.fsencode(item.name) not in suspects:
                    continue
                # What does not bear a queue id is not ours, and not mail.
                if not QUEUE_ID.fullmatch(item.name) or not item.is_file(follow_symlinks=False):
                    continue
                if self._is_known(item.name):
                    continue
                strays += 1
                with self._told():
                    if self._misses_files:
                        set_aside(Path(item.path), self._aside)
                    else:
                        Path(item.path).unlink()
        return strays

    def _is_known(self, queue_id: str) -> bool:
        try:
            row = self._connection.execute(
                "SELECT 1 FROM entry WHERE queue_id = ? AND in_file", (queue_id,)
            ).fetchone()
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            return True
        return row is not None

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Go on after trouble with a file: it is told of, and no word on what is in it."""
        try:
            yield
        except OSError as error:
            self.trouble.append(error)


def _sum(turn_one: Callable[..., int], page: list[tuple[Any, ...]]) -> int:
    return sum(turn_one(*row) for row in page)
