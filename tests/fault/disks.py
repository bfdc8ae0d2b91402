"""Disks that fail for real, and connections that fail on cue where a real one cannot be had.

A small file system of its own (needs root, as CI has), limits of the process, and a seam in front
of SQLite. Knows no store.
"""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

MIB = 1024 * 1024


@contextmanager
def small_disk(path: Path, mebibytes: int) -> Iterator[Path]:
    """Mount a file system of so many MiB there; what is on it is gone afterwards."""
    if os.geteuid():
        pytest.skip("only root may mount a file system")
    path.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(path))
    subprocess.run(mount, check=True)
    try:
        yield path
    finally:
        subprocess.run(("umount", "--lazy", str(path)), check=True)


class Filler:
    """A file of somebody else's that takes all the space a disk has left."""

    def __init__(self, disk: Path) -> None:
        self._path = disk / "somebody else's"

    def fill(self, *, leave: int = 0) -> None:
        """Take everything but so many octets."""
        with self._path.open("ab", buffering=0) as file:
            for piece in (64 * 1024, 4096, 1):
                try:
                    while file.write(b"x" * piece):
                        pass
                except OSError:
                    continue
            file.truncate(file.tell() - leave)

    def go(self) -> None:
        """Leave all of it to others again."""
        self._path.unlink()


@contextmanager
def limited(which: int, limit: int) -> Iterator[None]:
    """Bound what this process may have (setrlimit(2)), for as long as the context lasts."""
    soft, hard = resource.getrlimit(which)
    resource.setrlimit(which, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(which, (soft, hard))


def sqlite_error(code: int) -> sqlite3.OperationalError:
    """Return the error as the sqlite3 module raises it."""
    error = sqlite3.OperationalError(f"injected {code}")
    error.sqlite_errorcode = code
    error.sqlite_errorname = next(
        name
        for name in dir(sqlite3)
        if name.startswith("SQLITE_") and getattr(sqlite3, name) == code
    )
    return error


class Seam:
    """What stands before a connection: fails the statements that it is told to."""

    def __init__(self) -> None:
        self._fails: Callable[[str], sqlite3.Error | None] = lambda _: None
        self._failed = 0

    def fail(self, at: str, code: int, *, while_: Callable[[], bool] = lambda: True) -> None:
        """Fail every statement that begins so, until healed; and only while that holds."""

        def fails(statement: str) -> sqlite3.Error | None:
            hit = statement.lstrip().startswith(at) and while_()
            return sqlite_error(code) if hit else None

        self._fails = fails

    def healed(self) -> int:
        """Fail nothing more; return how many statements have failed since it was told to."""
        failed, self._failed = self._failed, 0
        self._fails = lambda _: None
        return failed

    def connect(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Return the connection with this seam before it."""
        seam = self

        class Seamed:
            def __getattr__(self, name: str) -> Any:
                return getattr(connection, name)

            def __setattr__(self, name: str, value: Any) -> None:
                setattr(connection, name, value)

            def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
                error = seam._fails(statement)
                if error is not None:
                    seam._failed += 1
                    raise error
                return connection.execute(statement, *values)

        return Seamed()  # type: ignore[return-value]
