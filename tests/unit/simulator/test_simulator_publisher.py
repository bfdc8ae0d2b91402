"""SNS at work: confirmations, events in order, retries."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from relay.simulator.errors import ApiError
from relay.simulator.publisher import Publisher
from relay.simulator.settings import Settings
from relay.simulator.sns import EVENT_SUBJECT, VALIDATION_TEXT, Signer
from relay.simulator.watch import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOW = datetime(2026, 3, 2, 9, 15, 4, tzinfo=UTC)
TOPIC = Settings().topic_arn
SIGNER = Signer.generate(NOW)


class Endpoint:
    """A webhook that answers from a script and remembers what it was posted."""

    def __init__(self) -> None:
        self.url = ""
        #: Statuses to answer with; 200 when there are no more. 0 hangs up.
        self.script: list[int] = []
        self.posts: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.answering = asyncio.Event()
        self.answering.set()

    async def receive(self, request: web.Request) -> web.Response:
        self.posts.append((dict(request.headers), json.loads(await request.read())))
        status = self.script.pop(0) if self.script else 200
        if status == 0 and request.transport is not None:
            request.transport.abort()
        await self.answering.wait()
        return web.Response(status=status or 200)

    @property
    def texts(self) -> list[str]:
        return [str(envelope["Message"]) for _, envelope in self.posts]


@pytest.fixture(name="endpoint")
async def _endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    app = web.Application()
    app.add_routes([web.post("/events", endpoint.receive)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}/events"
    yield endpoint
    await runner.cleanup()


class Bench:
    """A publisher whose pauses take no time but are remembered."""

    def __init__(self, settings: Settings) -> None:
        self.pauses: list[float] = []
        self.now = NOW
        self.watch = Watch()
        self.publisher = Publisher(
            settings=lambda: settings,
            keep_attempts=settings.keep_attempts,
            clock=lambda: self.now,
            watch=self.watch,
            sleep=self._pause,
        )
        self.publisher.signer = SIGNER

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += timedelta(seconds=seconds)

    async def settled(self) -> None:
        await self.watch.until(lambda: self.publisher.is_settled)


@asynccontextmanager
async def running(settings: Settings | None = None) -> AsyncIterator[Bench]:
    bench = Bench(settings or Settings())
    async with bench.publisher:
        yield bench


async def subscribed(bench: Bench, endpoint: Endpoint) -> str:
    """Subscribe and confirm, and forget what that posted."""
    subscription = bench.publisher.subscribe(endpoint.url, TOPIC)
    bench.publisher.confirm(subscription.token, TOPIC)
    await bench.settled()
    endpoint.posts.clear()
    return subscription.arn


async def test_a_subscription_is_asked_to_confirm_and_then_validated(endpoint: Endpoint) -> None:
    async with running() as bench:
        subscription = bench.publisher.subscribe(endpoint.url, TOPIC)
        await bench.settled()
        ((headers, confirmation),) = endpoint.posts
        assert headers["x-amz-sns-message-type"] == "SubscriptionConfirmation"
        assert "x-amz-sns-subscription-arn" not in headers
        assert confirmation["Token"] == subscription.token
        confirmed = bench.publisher.confirm(str(confirmation["Token"]), TOPIC)
        assert not isinstance(confirmed, ApiError)
        await bench.settled()
        headers, validation = endpoint.posts[1]
        assert validation["Message"] == VALIDATION_TEXT
        assert headers["x-amz-sns-subscription-arn"] == subscription.arn
        assert headers["Content-Type"] == "text/plain; charset=UTF-8"
        assert headers["User-Agent"] == "Amazon Simple Notification Service Agent"
        bench.publisher.confirm(subscription.token, TOPIC)
        await bench.settled()
        assert len(endpoint.posts) == 2


async def test_nothing_is_published_before_the_confirmation(endpoint: Endpoint) -> None:
    async with running() as bench:
        bench.publisher.subscribe(endpoint.url, TOPIC)
        assert await bench.publisher.publish("x", TOPIC, subject=None) == ()
        bench.publisher.publish_later(lambda _: [{"a": 1}], TOPIC, after=0)
        await bench.settled()
        assert len(endpoint.posts) == 1
        assert isinstance(bench.publisher.confirm("other", None), ApiError)


async def test_events_are_built_when_due_and_posted_in_order(endpoint: Endpoint) -> None:
    async with running() as bench:
        await subscribed(bench, endpoint)
        bench.publisher.publish_later(
            lambda at: [{"n": n, "at": at.isoformat()} for n in range(3)], TOPIC, after=5
        )
        await bench.settled()
        assert bench.pauses == [5]
        assert [json.loads(text) for text in endpoint.texts] == [
            {"n": n, "at": "2026-03-02T09:15:09+00:00"} for n in range(3)
        ]
        assert {envelope["Subject"] for _, envelope in endpoint.posts} == {EVENT_SUBJECT}


async def test_held_events_wait(endpoint: Endpoint) -> None:
    async with running() as bench:
        await subscribed(bench, endpoint)
        bench.publisher.hold()
        bench.publisher.publish_later(lambda _: [{"n": 1}], TOPIC, after=0)
        await bench.publisher.publish("at once", TOPIC, subject=None)
        assert endpoint.texts == ["at once"]
        assert not bench.publisher.is_settled
        bench.publisher.resume()
        await bench.settled()
        assert endpoint.texts == ["at once", '{"n": 1}']


@pytest.mark.parametrize("status", [200, 202, 301, 400, 403, 404, 429])
async def test_any_answer_below_500_is_final(endpoint: Endpoint, status: int) -> None:
    async with running() as bench:
        await subscribed(bench, endpoint)
        endpoint.script = [status]
        (attempt,) = await bench.publisher.publish("x", TOPIC, subject=None)
        assert (attempt.status, attempt.number) == (status, 1)
        assert attempt.is_final


@pytest.mark.parametrize("failure", [500, 503, 0])
async def test_a_failure_is_tried_again_three_times(endpoint: Endpoint, failure: int) -> None:
    async with running() as bench:
        await subscribed(bench, endpoint)
        endpoint.script = [failure, failure, failure, failure]
        (attempt,) = await bench.publisher.publish("x", TOPIC, subject=None)
        assert attempt.number == 4
        assert attempt.status == (failure or None)
        assert (attempt.problem is None) == bool(failure)
        assert bench.pauses == [20, 20, 20]
        ids = {headers["x-amz-sns-message-id"] for headers, _ in endpoint.posts}
        assert len(ids) == 1
        assert [tried.number for tried in bench.publisher.attempts][-4:] == [1, 2, 3, 4]


async def test_a_retry_ends_with_success_and_holds_up_no_other_event(endpoint: Endpoint) -> None:
    async with running() as bench:
        await subscribed(bench, endpoint)
        endpoint.script = [500, 200, 200]
        bench.publisher.publish_later(lambda _: [{"n": 1}, {"n": 2}], TOPIC, after=0)
        await bench.settled()
        assert sorted(endpoint.texts) == ['{"n": 1}', '{"n": 1}', '{"n": 2}']


async def test_an_endpoint_that_does_not_answer_in_time_failed(endpoint: Endpoint) -> None:
    settings = Settings(post_timeout=timedelta(milliseconds=50), retries=0)
    async with running(settings) as bench:
        await subscribed(bench, endpoint)
        endpoint.answering.clear()
        (attempt,) = await bench.publisher.publish("x", TOPIC, subject=None)
        assert (attempt.status, attempt.problem) == (None, "TimeoutError")
        endpoint.answering.set()


async def test_an_endpoint_that_is_not_there_failed() -> None:
    async with running() as bench:
        attempt = await bench.publisher.post_once(
            {"Type": "Notification", "MessageId": "1", "TopicArn": TOPIC}, "http://127.0.0.1:1/"
        )
        assert (attempt.status, attempt.is_final) == (None, False)
        assert attempt.problem


async def test_a_subscription_can_be_ended(endpoint: Endpoint) -> None:
    async with running() as bench:
        arn = await subscribed(bench, endpoint)
        assert bench.publisher.unsubscribe("arn:other") is None
        bench.publisher.unsubscribe(arn)
        await bench.settled()
        ((headers, envelope),) = endpoint.posts
        assert headers["x-amz-sns-message-type"] == "UnsubscribeConfirmation"
        assert envelope["Type"] == "UnsubscribeConfirmation"
        assert await bench.publisher.publish("x", TOPIC, subject=None) == ()


async def test_too_many_posts_are_dropped_and_counted(endpoint: Endpoint) -> None:
    async with running(Settings(max_pending_posts=1)) as bench:
        await subscribed_slowly(bench, endpoint)
        bench.publisher.hold()
        for _ in range(3):
            bench.publisher.publish_later(lambda _: [{"n": 1}], TOPIC, after=0)
        assert bench.publisher.dropped == 2
        bench.publisher.resume()
        await bench.settled()
        assert endpoint.texts == ['{"n": 1}']


async def subscribed_slowly(bench: Bench, endpoint: Endpoint) -> None:
    subscription = bench.publisher.subscribe(endpoint.url, TOPIC)
    await bench.settled()
    bench.publisher.confirm(subscription.token, TOPIC)
    await bench.settled()
    endpoint.posts.clear()


async def test_stopping_ends_what_is_still_to_be_posted(endpoint: Endpoint) -> None:
    async with running() as bench:
        await subscribed(bench, endpoint)
        bench.publisher.hold()
        bench.publisher.publish_later(lambda _: [{"n": 1}], TOPIC, after=0)
    assert bench.publisher.is_settled
    assert endpoint.posts == []


async def test_a_bug_in_building_events_is_not_lost(endpoint: Endpoint) -> None:
    bench = Bench(Settings())
    await bench.publisher.__aenter__()
    await subscribed(bench, endpoint)
    bench.publisher.publish_later(lambda _: [{"n": 1 // 0}], TOPIC, after=0)
    await bench.settled()
    with pytest.raises(ZeroDivisionError):
        await bench.publisher.__aexit__(None, None, None)


async def test_a_publisher_that_does_not_run_posts_nothing() -> None:
    with pytest.raises(RuntimeError):
        await Bench(Settings()).publisher.post_once({"Type": "Notification"}, "http://127.0.0.1:1/")
