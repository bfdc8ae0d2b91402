"""Tells sending applications what became of their mail, until they have heard it.

Knows whom to tell and when again. A task of its own beside mail: an endpoint that hangs keeps up a
few posts of its own sender and nobody else. Does not know what is told, or how it is kept.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from relay.aftermath import Callback, CallbackBook
from relay.facts import Facts
from relay.feedback.outcall import Answer, UnreachableError
from relay.feedback.signing import sign
from relay.mail.envelope import SenderName
from relay.policy.callback import next_try
from relay.ports import Clock, SpoolError

PER_SENDER: Final = 4
"""Posts to one endpoint at a time."""
LONGEST_REST: Final = 60.0  # seconds
SPOOL_AGAIN: Final = 5.0
MOST_ASKED_FOR: Final = 3600.0
"""What an endpoint may ask us to wait, in seconds."""
# Of all in flight, when we stop.
LAST_WAIT: Final = 5.0
_GONE: Final = 410


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a sender's application is told; `key` are the octets that sign."""

    url: str
    key: bytes = field(repr=False)


Post = Callable[[str, Mapping[str, str], bytes], Awaitable[Answer]]


class Dispatcher:
    """Posts callbacks until it is stopped."""

    def __init__(
        self,
        book: CallbackBook,
        endpoints: Callable[[], Mapping[SenderName, Endpoint]],
        post: Post,
        *,
        facts: Facts,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        """`jitter` draws from [0, 1)."""
        self._book = book
        self._endpoints = endpoints
        self._post = post
        self._facts = facts
        self._clock = clock
        self._jitter = jitter
        self._woken = asyncio.Event()
        self._stopping = False
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._busy: Counter[SenderName] = Counter()

    def wake(self) -> None:
        """Note that there may be something to tell."""
        self._woken.set()

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping = True
        self._woken.set()

    async def run(self) -> None:
        """Tell until `stop` is called; what is under way then has a moment to end."""
        while not self._stopping:
            self._woken.clear()
            try:
                rest = await self._round()
            except SpoolError:
                rest = SPOOL_AGAIN
            try:
                async with asyncio.timeout(rest):
                    await self._woken.wait()
            except TimeoutError:
                pass
        if self._under_way:
            _, late = await asyncio.wait(self._under_way.values(), timeout=LAST_WAIT)
            for task in late:
                # Told or not, it is told again: the receiver knows it by its id.
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _round(self) -> float:
        """Begin what is due and has room; return how long there is nothing to do."""
        endpoints, now = self._endpoints(), self._clock.now()
        for sender, endpoint in endpoints.items():
            room = PER_SENDER - self._busy[sender]
            if room <= 0:
                continue
            for one in await self._book.due(sender, now, room, but=list(self._under_way)):
                self._begin(one, endpoint)
        # Whoever is at the limit is looked at again when a post of theirs ends.
        free = [sender for sender in endpoints if self._busy[sender] < PER_SENDER]
        due = await self._book.next_due(free) if free else None
        if due is None:
            return LONGEST_REST
        wait = (due - self._clock.now()).total_seconds()
        # What is due and under way is due still; its end wakes us.
        return min(max(wait, 1.0), LONGEST_REST)

    def _begin(self, callback: Callback, endpoint: Endpoint) -> None:
        self._busy[callback.sender] += 1
        task = asyncio.create_task(self._tell(callback, endpoint))
        self._under_way[callback.id] = task

        def ended(done: asyncio.Task[None]) -> None:
            self._busy[callback.sender] -= 1
            self._under_way.pop(callback.id, None)
            self._woken.set()
            if not done.cancelled() and (error := done.exception()) is not None:
                self._facts.fault("callbacks", error)

        task.add_done_callback(ended)

    async def _tell(self, callback: Callback, endpoint: Endpoint) -> None:
        attempts = callback.attempts + 1
        asked = 0.0
        try:
            answer = await self._post(
                endpoint.url, self._headers(callback, endpoint), callback.body
            )
        except UnreachableError as error:
            complaint, is_gone = str(error), False
        else:
            if 200 <= answer.status < 300:  # noqa: PLR2004 - the HTTP class
                await self._book.told(callback)
                self._facts.callback_told(callback.sender, callback.kind, callback.id)
                return
            complaint, is_gone = f"it answered {answer.status}", answer.status == _GONE
            asked = min(answer.retry_after, MOST_ASKED_FOR)
        wait = None if is_gone else next_try(attempts, self._jitter())
        if wait is not None:
            wait = max(wait, timedelta(seconds=asked))
        due_at = None if wait is None else self._clock.now() + wait
        await self._book.put_off(callback, due_at, complaint)
        self._facts.callback_failed(callback.sender, callback.kind, callback.id, complaint, due_at)

    def _headers(self, callback: Callback, endpoint: Endpoint) -> dict[str, str]:
        """Return the fields of Standard Webhooks 1.0, "Webhook headers"."""
        timestamp = int(self._clock.now().timestamp())
        return {
            "Content-Type": "application/json",
            "User-Agent": "ses-relay",
            "webhook-id": callback.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(endpoint.key, callback.id, timestamp, callback.body),
        }
