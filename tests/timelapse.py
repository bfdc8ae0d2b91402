"""Hours in seconds: an event loop whose time passes when nothing happens, threads of the store included.

What waits for a timer waits no time at all, and what a thread does takes none: so a test measures
what was decided, not the machine. Knows the store's operations; a loop runs one store at a time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, TypeVarTuple, Unpack

import pytest

from relay.store.batch import Operation

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)


class _Selector(selectors.DefaultSelector):
    """Waits for threads; for timers it moves the time instead."""

    loop: LapsedLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        # Time passes between any two looks at a clock: a wait that is lost in rounding would be
        # waited for for ever.
        self.loop.now += 1e-7
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if self.loop.busy:
            return super().select(None)
        self.loop.now += timeout
        return super().select(0)


class LapsedLoop(asyncio.SelectorEventLoop):
    """The loop, and the clock of all that runs on it."""

    def __init__(self) -> None:
        selector = _Selector()
        super().__init__(selector)
        selector.loop = self
        self.now = 1000.0
        self.busy = 0
        """How much is being done in threads."""

    def time(self) -> float:
        return self.now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        self.busy += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._done)
        return future

    def _done(self, _: object) -> None:
        self.busy -= 1

    @contextmanager
    def counting(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Count the store's operations among what is being done in threads."""
        init, end = Operation.__init__, Operation.end

        def begun(operation: Operation[Any], *args: Any, **words: Any) -> None:
            self.busy += 1
            init(operation, *args, **words)

        def ended(operation: Operation[Any]) -> None:
            self.busy -= 1
            end(operation)

        with monkeypatch.context() as patch:
            patch.setattr(Operation, "__init__", begun)
            patch.setattr(Operation, "end", ended)
            yield


class LapsedClock:
    """The clock of the loop that is running."""

    def __init__(self, loop: LapsedLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self._loop.now)

    def monotonic(self) -> float:
        return self._loop.now


def lapse(
    work: Callable[[LapsedClock], Coroutine[Any, Any, T]], monkeypatch: pytest.MonkeyPatch
) -> T:
    """Run a coroutine, however long it sleeps."""
    loop = LapsedLoop()
    with (
        asyncio.Runner(loop_factory=lambda: loop) as runner,
        loop.counting(monkeypatch),
    ):
        return runner.run(work(LapsedClock(loop)))
