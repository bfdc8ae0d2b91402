"""Threads that nobody waits for when the process ends: for what asks the network by the SDK.

The interpreter joins those of a ThreadPoolExecutor before it exits, however long STS takes to say
nothing, or SQS to have a message; the next process, and clients, would wait for that. Part of the
ports. Does not know what is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from threading import Lock, Thread
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class UnawaitedThreads(Executor):
    """So many threads, begun with the first work there is."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = Lock()
        self._has_begun = self._is_over = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have it done in one of the threads; raise RuntimeError once shut down."""
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - whoever waits for it is told
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._lock:
            if self._is_over:
                raise RuntimeError(f"the threads {self._name} have been shut down")
            if not self._has_begun:
                self._has_begun = True
                for number in range(self._count):
                    Thread(target=self._run, name=f"{self._name}_{number}", daemon=True).start()
            self._work.put(work)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Take no more work. What there is, is done, and never waited for."""
        with self._lock:
            self._is_over = True
            for _ in range(self._count):
                self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            # Or it, and what it holds, would live until the next.
            del work
