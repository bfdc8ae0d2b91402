"""Getting between two statements of a program: functions wrapped where they are looked up.

Knows functions, passages and the end of a process. Does not know the relay.
"""

from __future__ import annotations

import functools
import inspect
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

# How long after the beginning of something a trap in it springs, at most: about as long as an fsync
# takes. What is over sooner is tried again at the next passage.
_WITHIN: Final = 0.003  # seconds


class Trap:
    """Kills its own process, without any goodbye, at the n-th passage."""

    def __init__(self, name: str, at: int) -> None:
        self._name = name
        self._left = at
        self._lock = threading.Lock()

    def passed(self) -> None:
        """Take note of a passage."""
        with self._lock:
            self._left -= 1
            is_now = self._left == 0
        if is_now:
            self._spring()

    @contextmanager
    def during(self, is_time: Callable[[], bool] | None = None) -> Iterator[None]:
        """Take note of a passage that takes a while; from the n-th on it is killed within.

        At a random moment, or as soon as `is_time`: a thread of its own looks, so what is done
        within must let other threads run.
        """
        with self._lock:
            self._left -= 1
            is_armed = self._left <= 0
        if not is_armed:
            yield
            return
        over = threading.Event()
        begun = threading.Event()
        lurking = threading.Thread(target=self._lurk, args=(begun, over, is_time), daemon=True)
        lurking.start()
        begun.wait()
        try:
            yield
        finally:
            # Whoever holds the lock kills while it is certain that we are within.
            with self._lock:
                over.set()

    def _lurk(
        self, begun: threading.Event, over: threading.Event, is_time: Callable[[], bool] | None
    ) -> None:
        moment = time.monotonic() + random.random() * _WITHIN  # noqa: S311 - any moment will do
        begun.set()
        while not over.is_set():
            if time.monotonic() >= moment if is_time is None else is_time():
                with self._lock:
                    if not over.is_set():
                        self._spring()

    def _spring(self) -> None:
        # Nothing else tells the parent that it was here and not somewhere else.
        os.write(2, f"killed at: {self._name}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


def before(owner: object, name: str, act: Callable[..., object]) -> None:
    """Have `act` called before each call of a function, with the same arguments."""

    def wrapper(function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def first_async(*args: Any, **words: Any) -> Any:
                act(*args, **words)
                return await function(*args, **words)

            return first_async

        @functools.wraps(function)
        def first(*args: Any, **words: Any) -> Any:
            act(*args, **words)
            return function(*args, **words)

        return first

    replace(owner, name, wrapper)


def after(owner: object, name: str, act: Callable[..., object]) -> None:
    """Have `act` called after each call of a function, with the result before the arguments."""

    def wrapper(function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def then_async(*args: Any, **words: Any) -> Any:
                result = await function(*args, **words)
                act(result, *args, **words)
                return result

            return then_async

        @functools.wraps(function)
        def then(*args: Any, **words: Any) -> Any:
            result = function(*args, **words)
            act(result, *args, **words)
            return result

        return then

    replace(owner, name, wrapper)


def replace(owner: object, name: str, wrapper: Callable[[Callable[..., Any]], Any]) -> None:
    """Put what `wrapper` makes of a function in its place; a name that is not there fails."""
    put(owner, name, wrapper(getattr(owner, name)))


def put(owner: object, name: str, value: object) -> None:
    """Put a value in the place of another; a name that is not there fails."""
    getattr(owner, name)
    setattr(owner, name, value)


class Stand:
    """A module in which some names mean something else."""

    def __init__(self, module: object, **names: object) -> None:
        self._module = module
        self.__dict__.update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


Execution = Callable[[sqlite3.Connection, str, Callable[[], Any]], Any]
"""Called in place of the execution of a statement; the last argument executes it."""


class Watched(sqlite3.Connection):
    """A connection whose statements are seen one by one."""

    seen_by: Execution | None = None

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Execute a statement, or what is put in its place."""
        execute = functools.partial(super().execute, sql, *parameters)
        if Watched.seen_by is None:
            return execute()
        result: sqlite3.Cursor = Watched.seen_by(self, sql, execute)
        return result


def watch(owner: object, see: Execution) -> None:
    """Have the statements of all connections that `owner` opens seen."""
    connect = functools.partial(sqlite3.connect, factory=Watched)
    put(owner, "sqlite3", Stand(sqlite3, connect=connect))
    earlier = Watched.seen_by

    def both(connection: sqlite3.Connection, sql: str, execute: Callable[[], Any]) -> Any:
        if earlier is None:
            return see(connection, sql, execute)
        return earlier(connection, sql, lambda: see(connection, sql, execute))

    Watched.seen_by = both
