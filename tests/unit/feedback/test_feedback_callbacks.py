"""Callbacks: signed, retried, given up, told again; and no endpoint that keeps up another's."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from relay.feedback.callbacks import PER_SENDER, Dispatcher, Endpoint
from relay.feedback.outcall import Answer, UnreachableError
from relay.feedback.signing import sign
from relay.mail.envelope import SenderName
from relay.policy.callback import KINDS, Notice, next_try
from relay.store import callbacks
from tests.unit.store.stores import BILLING, Opened, opened

NEWS = SenderName("news")
KEY = b"k" * 32
URL = "https://app.example/events"
_AT = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)


def a_notice(number: int = 1, sender: SenderName = BILLING, kind: str = "bounced") -> Notice:
    return Notice(
        sender=sender,
        kind=kind,
        at=_AT,
        queue_id="06H04YCY58GVCD1MB7KG",
        recipient="jané@example.net",
        number=f"{sender}-{number}",
        detail="Permanent/General",
    )


class Endpoints:
    """Applications that answer as they are told to, and remember what they were told."""

    def __init__(self) -> None:
        self.answers: dict[str, int | Exception] = {}
        self.told: list[tuple[str, Mapping[str, str], bytes]] = []
        self.news = asyncio.Event()
        self.hang: set[str] = set()
        self.hanging = 0

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if url in self.hang:
            self.hanging += 1
            self.news.set()
            await asyncio.Event().wait()
        self.told.append((url, headers, body))
        self.news.set()
        answer = self.answers.get(url, 204)
        if isinstance(answer, Exception):
            raise answer
        return Answer(answer)

    async def until(self, count: int) -> None:
        while len(self.told) < count:
            self.news.clear()
            await self.news.wait()


@asynccontextmanager
async def dispatching(
    spool: Opened, endpoints: Endpoints, **urls: str
) -> AsyncIterator[Dispatcher]:
    where = {SenderName(name): Endpoint(url, KEY) for name, url in urls.items()}
    dispatcher = Dispatcher(
        spool.store.callbacks,
        lambda: where,
        endpoints.post,
        facts=spool.facts,
        clock=spool.clock,
        jitter=lambda: 0.0,
    )
    spool.store.callbacks.on_made = dispatcher.wake
    running = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher
    finally:
        dispatcher.stop()
        await running


async def make(spool: Opened, *notices: Notice) -> None:
    now = spool.clock.now()
    await spool.record_writer.run(lambda connection: callbacks.make(connection, notices, now))
    spool.store.callbacks.made()


async def failed(spool: Opened, count: int) -> list[Any]:
    """Return what could not be told, waiting for so many."""
    while True:
        found = [args for name, args in spool.facts.told if name == "callback_failed"]
        if len(found) >= count:
            return found
        await spool.record_writer.run(lambda _: None)


@pytest.fixture(name="spool")
async def _spool(tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(tmp_path) as spool:
        yield spool


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_library_believes_the_signature_and_reads_the_body(kind: str) -> None:
    secret = "whsec_" + base64.b64encode(KEY).decode()
    notice, now = a_notice(kind=kind), int(datetime.now(UTC).timestamp())
    headers = {
        "webhook-id": notice.id,
        "webhook-timestamp": str(now),
        "webhook-signature": sign(KEY, notice.id, now, notice.body()),
    }
    document = Webhook(secret).verify(notice.body(), headers)
    assert document["type"] == f"mail.{kind}"
    assert document["data"]["recipient"] == "jané@example.net"
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(notice.body() + b" ", headers)


async def test_what_is_made_is_told_once_and_forgotten(spool: Opened) -> None:
    endpoints = Endpoints()
    async with dispatching(spool, endpoints, billing=URL):
        await make(spool, a_notice(), a_notice())
        await endpoints.until(1)
    assert [url for url, _, _ in endpoints.told] == [URL]
    assert await spool.store.callbacks.waiting() == {"pending": 0, "dead": 0}
    assert ("callback_told", (BILLING, "bounced", a_notice().id)) in spool.facts.told


async def test_it_is_tried_for_more_than_eight_hours_and_then_waits_to_be_replayed(
    spool: Opened,
) -> None:
    endpoints, began = Endpoints(), spool.clock.now()
    endpoints.answers[URL] = UnreachableError("no way")
    async with dispatching(spool, endpoints, billing=URL) as dispatcher:
        await make(spool, a_notice())
        count = 0
        while True:
            count += 1
            *_, due_at = (await failed(spool, count))[-1]
            if due_at is None:
                break
            spool.clock.advance(due_at - spool.clock.now())
            dispatcher.wake()
        assert spool.clock.now() - began > timedelta(hours=8)
        assert await spool.store.callbacks.waiting() == {"pending": 0, "dead": 1}
        (dead,) = await spool.store.callbacks.find("", 10, only_dead=True)
        assert (dead.complaint, dead.attempts) == ("no way", count)
        endpoints.answers.clear()
        before = len(endpoints.told)
        now = spool.clock.now()
        assert await spool.store.callbacks.replay([], BILLING, actor="op", now=now) == 1
        await endpoints.until(before + 1)
    assert await spool.store.callbacks.waiting() == {"pending": 0, "dead": 0}


async def test_who_says_gone_is_not_told_again_of_it(spool: Opened) -> None:
    endpoints = Endpoints()
    endpoints.answers[URL] = 410
    async with dispatching(spool, endpoints, billing=URL):
        await make(spool, a_notice())
        assert (await failed(spool, 1))[0][-1] is None


@pytest.mark.P6
async def test_an_endpoint_that_hangs_keeps_up_nobody_else_and_not_the_stop(
    spool: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.feedback.callbacks.LAST_WAIT", 0.0)
    endpoints = Endpoints()
    endpoints.hang.add(URL)
    other = "https://news.example/"
    async with dispatching(spool, endpoints, billing=URL, news=other):
        await make(spool, *(a_notice(n) for n in range(10)))
        await make(spool, *(a_notice(n, NEWS) for n in range(20)))
        await endpoints.until(20)
        while spool.facts.names().count("callback_told") < 20:
            await spool.record_writer.run(lambda _: None)
        assert {url for url, _, _ in endpoints.told} == {other}
        assert endpoints.hanging == PER_SENDER
    # Told or not, it is told by the next run.
    assert await spool.store.callbacks.waiting() == {"pending": 10, "dead": 0}


async def test_a_sender_without_an_endpoint_keeps_what_is_to_be_told(spool: Opened) -> None:
    endpoints = Endpoints()
    async with dispatching(spool, endpoints, news=URL):
        await make(spool, a_notice(), a_notice(1, NEWS))
        await endpoints.until(1)
    assert await spool.store.callbacks.waiting() == {"pending": 1, "dead": 0}


def test_the_schedule_is_spread_and_ends() -> None:
    waits = [next_try(n, 0.0) for n in range(1, 9)]
    assert waits[-1] is None
    assert sum((w for w in waits if w is not None), timedelta(0)) > timedelta(hours=8)
    assert next_try(1, 1.0) == timedelta(seconds=6)
