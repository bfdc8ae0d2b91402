"""Durability the two plain ways: `python -m bench.store_plain HOW LIFE DIRECTORY N P SIZE`.

HOW is `files` (each message a file: written, fsynced, renamed, its directory fsynced; removed when
sent, with no mark and no record of the outcome) or `sqlite` (each step of each message a commit of
its own, WAL and synchronous=FULL). Producers are threads: cheaper than an event loop before them.
Prints one line of JSON, like bench.store_ours.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Final

from bench.store_life import Lap, content_of

_SCHEMA: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 4000",
    """CREATE TABLE entry (id INTEGER PRIMARY KEY, sender TEXT, reverse_path TEXT,
        recipient TEXT, arrived_at INTEGER, state TEXT, due_at INTEGER, octets BLOB)""",
    "CREATE INDEX due ON entry (sender, due_at) WHERE due_at IS NOT NULL",
    "CREATE TABLE outcome (entry INTEGER, recipient TEXT, at INTEGER, ses_message_id TEXT)",
)

Life = Callable[[bytes, list[float]], None]
"""Takes one message through its life; notes how long the accept took."""


def in_files(directory: Path, *, whole: bool) -> Life:
    """Return the life of a message that is a file."""
    numbers = count()
    (directory / "new").mkdir()

    def live(content: bytes, took: list[float]) -> None:
        name = f"{next(numbers):09d}"
        draft, kept = directory / f".{name}", directory / "new" / name
        began = time.perf_counter()
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, content)
        os.fsync(fd)
        os.close(fd)
        draft.rename(kept)
        parent = os.open(directory / "new", os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(parent)
        os.close(parent)
        took.append(time.perf_counter() - began)
        if whole:
            kept.unlink()

    return live


def in_sqlite(directory: Path, *, whole: bool) -> Life:
    """Return the life of a message whose every step is a commit."""
    connection = sqlite3.connect(
        directory / "plain.db", isolation_level=None, check_same_thread=False
    )
    for statement in _SCHEMA:
        connection.execute(statement).fetchall()
    turn = threading.Lock()

    def commit(*statements: tuple[str, tuple[object, ...]]) -> int:
        with turn:
            connection.execute("BEGIN IMMEDIATE")
            for statement, values in statements:
                found = connection.execute(statement, values)
            connection.execute("COMMIT")
            return found.lastrowid or 0

    def live(content: bytes, took: list[float]) -> None:
        began = time.perf_counter()
        at = int(time.time() * 1000)
        values = ("bench", "bench@example.com", "someone@example.net", at, "ready", at, content)
        entry = commit(("INSERT INTO entry VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", values))
        took.append(time.perf_counter() - began)
        if whole:
            mark = "UPDATE entry SET state = 'in-flight', due_at = NULL WHERE id = ?"
            commit((mark, (entry,)))
            outcome = (entry, "someone@example.net", at, "0100-bench-000000")
            commit(
                ("INSERT INTO outcome VALUES (?, ?, ?, ?)", outcome),
                ("DELETE FROM entry WHERE id = ?", (entry,)),
            )

    return live


def main() -> None:
    """Run one life and print what it cost."""
    how, life, directory, messages, producers, size = sys.argv[1:]
    make = {"files": in_files, "sqlite": in_sqlite}[how]
    live = make(Path(directory), whole=life == "whole")
    content, took = content_of(int(size)), list[float]()

    def produce(messages: int, took: list[float]) -> None:
        for _ in range(messages):
            live(content, took)

    def run(messages: int, took: list[float]) -> None:
        threads = [
            threading.Thread(target=produce, args=(messages // int(producers), took))
            for _ in range(int(producers))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    run(int(producers), [])
    lap = Lap.begin()
    run(int(messages), took)
    print(json.dumps(lap.end(len(took), took).told()))


if __name__ == "__main__":
    main()
