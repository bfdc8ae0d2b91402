"""The SQS poller: deletes what is durable, leaves poison, and waits out trouble."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Sequence

import pytest

from relay.aftermath import Delivered
from relay.feedback import poller as module
from relay.feedback.poller import Poller
from tests.fakes import RecordingFacts


class Queue:
    """A queue of batches. Fails on cue, and blocks like SQS when it is empty."""

    def __init__(self, *batches: Sequence[Delivered] | Exception) -> None:
        self.batches = list(batches)
        self.deleted: list[str] = []
        self.is_closed = threading.Event()
        self.thread: set[str] = set()
        self.empty = threading.Event()

    def receive(self) -> Sequence[Delivered]:
        self.thread.add(threading.current_thread().name)
        if not self.batches:
            self.empty.set()
            self.is_closed.wait(20)
            return []
        batch = self.batches.pop(0)
        if isinstance(batch, Exception):
            raise batch
        return batch

    def delete(self, handles: Sequence[str]) -> None:
        self.deleted += handles

    def close(self) -> None:
        self.is_closed.set()


def a_message(name: str) -> Delivered:
    return Delivered(name, f"body of {name}", f"handle of {name}", 1)


async def poll(queue: Queue, facts: RecordingFacts) -> list[str]:
    """Run until the queue is empty; return what was taken in."""
    taken: list[str] = []

    async def take_in(body: str, name: str) -> bool:
        taken.append(name)
        assert body == f"body of {name}"
        return name != "poison"

    poller = Poller(lambda: queue, take_in, facts)
    running = asyncio.create_task(poller.run())
    await asyncio.to_thread(queue.empty.wait)
    poller.stop()
    await running
    return taken


async def test_only_what_is_durable_is_deleted() -> None:
    queue = Queue([a_message("a"), a_message("poison")], [], [a_message("b")])
    assert await poll(queue, RecordingFacts()) == ["a", "poison", "b"]
    assert queue.deleted == ["handle of a", "handle of b"]


@pytest.mark.P6
async def test_waiting_blocks_a_thread_of_its_own_and_not_the_stop() -> None:
    queue = Queue()
    # It waits twenty seconds for messages; the stop does not.
    async with asyncio.timeout(10):
        await poll(queue, RecordingFacts())
    assert all(name.startswith("sqs-wait") for name in queue.thread)
    await asyncio.to_thread(queue.is_closed.wait)


async def test_trouble_is_told_once_and_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_REST", 0.0)
    facts = RecordingFacts()
    trouble = ConnectionError("no way to SQS")
    queue = Queue(trouble, trouble, trouble, [a_message("a")])
    assert await poll(queue, facts) == ["a"]
    assert [args[0] for _, args in facts.told] == ["queue_not_polled", "queue_polled_again"]


# A queue that has no message for half a minute, in a process of its own: what matters is its end.
WAITING = """
import asyncio, threading
from relay.feedback.poller import Poller
from tests.unit.feedback.test_feedback_poller import Queue
from tests.fakes import RecordingFacts

class Silent(Queue):
    def receive(self):
        self.empty.set()
        threading.Event().wait(30)

async def main():
    queue = Silent()
    poller = Poller(lambda: queue, None, RecordingFacts())
    running = asyncio.create_task(poller.run())
    await asyncio.to_thread(queue.empty.wait)
    poller.stop()
    await running

asyncio.run(main())
"""


def test_the_process_ends_though_the_queue_is_waited_for() -> None:
    words = [sys.executable, "-c", WAITING]
    assert subprocess.run(words, check=False, timeout=20).returncode == 0
