"""Subscribing and confirming over HTTP, as a relay in another process does it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from relay.simulator import Settings, Simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Webhook:
    """An endpoint that remembers what it was posted."""

    def __init__(self) -> None:
        self.url = ""
        self.envelopes: list[dict[str, str]] = []

    async def receive(self, request: web.Request) -> web.Response:
        self.envelopes.append(json.loads(await request.read()))
        return web.Response(status=202)

    @property
    def types(self) -> list[str]:
        return [envelope["Type"] for envelope in self.envelopes]


@pytest.fixture(name="webhook")
async def _webhook() -> AsyncIterator[Webhook]:
    webhook = Webhook()
    app = web.Application()
    app.add_routes([web.post("/events", webhook.receive)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    webhook.url = f"http://127.0.0.1:{runner.addresses[0][1]}/events"
    yield webhook
    await runner.cleanup()


@pytest.fixture(name="simulator")
async def _simulator(webhook: Webhook) -> AsyncIterator[Simulator]:
    """A simulator that subscribes the webhook at its start."""
    async with Simulator(Settings(webhook=webhook.url)) as simulator:
        await simulator.settled()
        yield simulator


class Browser:
    """Plain requests to a simulator."""

    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession) -> None:
        self._simulator = simulator
        self._session = session

    async def get(self, path: str) -> tuple[int, Any]:
        async with self._session.get(f"{self._simulator.url}{path}") as answer:
            return answer.status, await answer.json()

    async def post(self, path: str, given: object) -> tuple[int, Any]:
        async with self._session.post(f"{self._simulator.url}{path}", json=given) as answer:
            return answer.status, await answer.json()


@pytest.fixture(name="browser")
async def _browser(simulator: Simulator) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession() as session:
        yield Browser(simulator, session)


async def test_the_webhook_of_the_settings_is_subscribed_at_the_start(
    simulator: Simulator, webhook: Webhook, browser: Browser
) -> None:
    assert webhook.types == ["SubscriptionConfirmation"]
    (subscription,) = simulator.subscriptions
    assert await browser.get("/_simulator/subscriptions") == (
        200,
        [
            {
                "arn": subscription.arn,
                "topic": "arn:aws:sns:eu-west-1:123456789012:ses-feedback",
                "endpoint": webhook.url,
                "token": webhook.envelopes[0]["Token"],
                "confirmed": False,
            }
        ],
    )


async def test_a_token_confirms(simulator: Simulator, webhook: Webhook, browser: Browser) -> None:
    token = webhook.envelopes[0]["Token"]
    status, answer = await browser.get(f"/_simulator/confirm?token={token}")
    assert (status, answer) == (200, {"subscription_arn": simulator.subscriptions[0].arn})
    await simulator.settled()
    assert webhook.types == ["SubscriptionConfirmation", "Notification"]


async def test_the_subscribe_url_confirms_whatever_its_host(
    simulator: Simulator, webhook: Webhook, browser: Browser
) -> None:
    url = urlsplit(webhook.envelopes[0]["SubscribeURL"])
    status, _ = await browser.get(f"{url.path}?{url.query}")
    assert status == 200
    assert simulator.subscriptions[0].confirmed


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/_simulator/confirm", 400),
        ("/_simulator/confirm?token=other", 400),
        ("/?Action=ConfirmSubscription&TopicArn=arn:other&Token=other", 404),
        ("/?Action=Unsubscribe", 404),
    ],
)
async def test_a_wrong_token_confirms_nothing(
    simulator: Simulator, browser: Browser, path: str, expected: int
) -> None:
    status, answer = await browser.get(path)
    assert status == expected
    assert answer["error"]
    assert not simulator.subscriptions[0].confirmed


async def test_another_topic_can_be_subscribed_to(
    simulator: Simulator, webhook: Webhook, browser: Browser
) -> None:
    other = "arn:aws:sns:eu-west-1:123456789012:other"
    status, subscription = await browser.post(
        "/_simulator/subscriptions", {"endpoint": webhook.url, "topic": other}
    )
    assert (status, subscription["topic"]) == (201, other)
    await simulator.settled()
    simulator.confirm(subscription["token"])
    (attempt,) = await simulator.publish({"eventType": "Send"}, topic_arn=other)
    assert attempt.envelope["TopicArn"] == other
    assert await simulator.publish({"eventType": "Send"}) == ()
    await simulator.settled()


async def test_what_was_posted_can_be_seen(
    simulator: Simulator, webhook: Webhook, browser: Browser
) -> None:
    status, (attempt,) = await browser.get("/_simulator/attempts")
    assert status == 200
    assert attempt["envelope"] == webhook.envelopes[0]
    assert (attempt["endpoint"], attempt["number"]) == (webhook.url, 1)
    assert (attempt["status"], attempt["problem"]) == (202, None)
    assert simulator.attempts[0].is_final


async def test_a_subscription_can_be_ended_and_restored(
    simulator: Simulator, webhook: Webhook
) -> None:
    (subscription,) = simulator.subscriptions
    simulator.confirm(subscription.token)
    await simulator.settled()
    assert simulator.unsubscribe(subscription.arn) is not None
    await simulator.settled()
    assert webhook.types[-1] == "UnsubscribeConfirmation"
    assert await simulator.publish("x") == ()
    simulator.confirm(webhook.envelopes[-1]["Token"])
    await simulator.settled()
    assert len(await simulator.publish("x")) == 1


async def test_held_events_are_let_go(simulator: Simulator, webhook: Webhook) -> None:
    (subscription,) = simulator.subscriptions
    simulator.confirm(subscription.token)
    await simulator.settled()
    before = len(webhook.types)
    simulator.hold_events()
    simulator._publisher.publish_later(
        lambda _: [{"eventType": "Send"}], simulator.settings.topic_arn, after=0
    )
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(webhook.types) == before, "an event went out that was held"
    simulator.resume_events()
    await simulator.settled()
    assert len(webhook.types) == before + 1
