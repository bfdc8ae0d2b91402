"""Takes feedback from an SQS queue: the way without an inbound HTTP port.

Knows when a message may be deleted, and how to wait while the queue cannot be asked. Waiting for
messages blocks a thread of its own, never the loop. Does not know the SDK, or what messages say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final

from relay.aftermath import Delivered, MessageQueue
from relay.facts import Facts
from relay.unawaited import UnawaitedThreads

FIRST_REST: Final = 1.0  # seconds
LONGEST_REST: Final = 60.0

TakeIn = Callable[[str, str], Awaitable[bool]]
"""Takes in the body of a message and its id; whether it may be deleted."""


class Poller:
    """Polls a queue until it is stopped."""

    def __init__(
        self, open_queue: Callable[[], MessageQueue], take_in: TakeIn, facts: Facts
    ) -> None:
        """`open_queue` is called in a thread, and may be slow."""
        self._open = open_queue
        self._take_in = take_in
        self._facts = facts
        self._queue: MessageQueue | None = None
        # One waits for messages; the other deletes, and closes.
        self._waiting = UnawaitedThreads(1, "sqs-wait")
        self._doing = ThreadPoolExecutor(1, thread_name_prefix="sqs-delete")
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End; a wait under way is not waited for, and what it brings is handed out again."""
        self._stopping.set()

    async def run(self) -> None:
        """Poll until `stop` is called. Trouble is told once, and waited out."""
        rest = FIRST_REST
        is_sick = False
        try:
            while not self._stopping.is_set():
                try:
                    if await self._round() and is_sick:
                        is_sick = False
                        self._facts.service("queue_polled_again")
                    rest = FIRST_REST
                except Exception as error:  # noqa: BLE001 - the SDK raises what it likes
                    if not is_sick:
                        is_sick = True
                        self._facts.service("queue_not_polled", complaint=_words(error))
                    with suppress(TimeoutError):
                        async with asyncio.timeout(rest):
                            await self._stopping.wait()
                    rest = min(rest * 2, LONGEST_REST)
        finally:
            self._close()

    async def _round(self) -> bool:
        """Wait for messages once and take them in; False if it was broken off by the stop."""
        loop = asyncio.get_running_loop()
        receiving = loop.run_in_executor(self._waiting, self._receive)
        stopping = asyncio.create_task(self._stopping.wait())
        waits: set[asyncio.Future[Any]] = {receiving, stopping}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        if not receiving.done():
            receiving.add_done_callback(_heard)
            return False
        await self._take_all(receiving.result())
        return True

    async def _take_all(self, delivered: list[Delivered]) -> None:
        """Take messages in, and delete those that are durable by then."""
        done = [one.handle for one in delivered if await self._take_in(one.body, one.id)]
        if done:
            queue = self._queue
            assert queue is not None  # noqa: S101 - it has just handed them out
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._doing, queue.delete, done)

    # In threads.

    def _receive(self) -> list[Delivered]:
        if self._queue is None:
            self._queue = self._open()
        return list(self._queue.receive())

    def _close(self) -> None:
        if self._queue is not None:
            # Nobody waits for it: a wait under way ends by its own deadline.
            self._doing.submit(self._queue.close)
        self._doing.shutdown(wait=False)
        self._waiting.shutdown(wait=False)


def _heard(receiving: asyncio.Future[list[Delivered]]) -> None:
    if not receiving.cancelled():
        receiving.exception()


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
