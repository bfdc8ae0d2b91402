"""The loop closed, end to end: from SMTP to SES and back to the application, in one process.

The way in is a signed post of SNS, or a queue of another SQS than ours; the judge of what the
application is told is the reference library of Standard Webhooks.
"""

from __future__ import annotations

import asyncio
import json
import smtplib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from aiohttp import web
from moto.server import ThreadedMotoServer
from standardwebhooks import Webhook

from relay.daemon import Daemon
from relay.simulator import DEMO_CREDENTIAL, Settings, Simulator
from relay.simulator.faults import LoseAnswer
from relay.simulator.settings import Fate
from tests.system.house import Relay, configuration, environment

MAIL = b"From: app@example.com\r\nMessage-ID: <1@erp.example.com>\r\nSubject: Hi\r\n\r\nHi\r\n"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwaWltZUpYUlQ="
GONE = "gone@example.net"


class Sns:
    """The simulator in place of SNS's own hosts."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def certificate(self, _url: str) -> bytes:
        return self._simulator.certificate_pem

    async def confirm(self, url: str) -> None:
        (token,) = parse_qs(urlsplit(url).query)["Token"]
        self._simulator.confirm(token)


@dataclass
class Heard:
    """What somebody has said so far, and how to wait for more of it."""

    said: list[dict[str, Any]] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, one: dict[str, Any]) -> None:
        self.said.append(one)
        self._news.set()

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            self._news.clear()
            for one in self.said:
                if holds(one):
                    return one
            await self._news.wait()


class House:
    """A relay in this process, the application it answers to, and a simulated SES."""

    def __init__(self, directory: Path, simulator: Simulator) -> None:
        self.directory = directory
        self.simulator = simulator
        self.log = Heard()
        self.callbacks = Heard()
        """What the application was told and could verify."""
        self.is_deaf = False
        self.daemon: Daemon
        self._stack = AsyncExitStack()

    async def open(self, feedback: str) -> None:
        app = web.Application()
        app.router.add_post("/events", self._be_told)
        runner = web.AppRunner(app)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        (self.directory / "secret").write_text(SECRET + "\n")
        callback = f"callback: {{url: 'http://127.0.0.1:{port}/events', secret_file: secret}}"
        path = self.directory / "relay.yaml"
        path.write_text(
            configuration(
                self.directory,
                self.simulator.url,
                sender=callback,
                feedback=feedback,
                webhook=', webhook: "127.0.0.1:0"' if "topics" in feedback else "",
            )
        )
        self.daemon = Daemon(path, gateway=Sns(self.simulator), render=self._hear)
        await self._stack.enter_async_context(self.daemon)

    async def close(self) -> None:
        await self._stack.aclose()
        (self.directory / "spool" / "reserve").unlink(missing_ok=True)

    def _hear(self, event: Any) -> str:
        self.log.hear(dict(event))
        return ""

    async def _be_told(self, request: web.Request) -> web.Response:
        body = await request.read()
        document = Webhook(SECRET).verify(body, dict(request.headers))
        if self.is_deaf:
            return web.Response(status=500)
        self.callbacks.hear({"id": request.headers["webhook-id"], **document})
        return web.Response()

    async def told(self, kind: str) -> dict[str, Any]:
        return await self.callbacks.until(lambda one: one["type"] == kind)

    async def logged(self, event: str) -> dict[str, Any]:
        return await self.log.until(lambda one: one["event"] == event)

    async def send(self, recipient: str) -> None:
        port = self.daemon.front_door.ports["legacy"]

        def talk() -> None:
            with smtplib.SMTP("127.0.0.1", port) as client:
                client.sendmail("app@example.com", [recipient], MAIL)

        await asyncio.to_thread(talk)

    async def cli(self, *words: str) -> tuple[int, list[dict[str, Any]], str]:
        relay = Relay(self.directory / "relay.yaml")
        code, out, said = await relay.cli(*words, "--json")
        return code, [json.loads(line) for line in out.splitlines()], said


@pytest.fixture(name="simulator")
async def _simulator() -> AsyncIterator[Simulator]:
    settings = Settings(
        identities=frozenset({"example.com"}),
        max_send_rate=10_000.0,
        daily_quota=-1,
        control_rate=None,
        fates={GONE: Fate.BOUNCED},
    )
    async with Simulator(settings) as running:
        yield running


@pytest.fixture(name="house")
async def _house(
    tmp_path: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    house = House(tmp_path, simulator)
    yield house
    await house.close()


async def by_webhook(house: House) -> None:
    """Subscribe the relay's webhook, as an operator does."""
    topic = house.simulator.settings.topic_arn
    await house.open(f'feedback: {{sns: {{topics: ["{topic}"], signature_versions: [2]}}}}')
    house.simulator.subscribe(f"http://127.0.0.1:{house.daemon.webhook_port}/sns")
    await house.simulator.settled()
    await house.logged("relay.topic_validated")


async def the_story_of_a_bounce(house: House) -> None:
    """Send twice to an address that bounces; look at every end of it."""
    await house.send(GONE)
    bounced = await house.told("mail.bounced")
    data = bounced["data"]
    assert (data["recipient"], data["sender"]) == (GONE, "app")
    assert data["message_id"] == "<1@erp.example.com>"
    assert "550 5.1.1 user unknown" in data["detail"]
    with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
        await house.send(GONE)
    code, text = refused.value.recipients[GONE]
    today = house.daemon._clock.now()
    assert code == 550
    assert text.decode().startswith(f"5.1.1 Suppressed since {today:%Y-%m-%d}: hard bounce (smtp; ")
    code, lines, said = await house.cli("trace", data["queue_id"])
    assert code == 0, said
    facts = [line["fact"] for line in lines if line["type"] == "fact"]
    assert sorted(facts) == ["accepted", "bounced", "relayed", "sent"]
    (standing,) = [line for line in lines if line["type"] == "standing"]
    assert (standing["recipient"], standing["standing"]) == (GONE, "bounced")
    code, (entry,), _ = await house.cli("suppression", "show", GONE)
    assert (entry["reason"], entry["until"], entry["scope"]) == ("bounce", None, "")
    await house.daemon.vitals.circuits.look()  # type: ignore[union-attr]
    _, (app,), _ = await house.cli("sender", "show", "app")
    assert (app["24h"]["sent"], app["24h"]["bounced"], app["1h"]["delivered"]) == (1, 1, 0)


@pytest.mark.P4
async def test_a_bounce_travels_the_whole_loop(house: House) -> None:
    await by_webhook(house)
    await the_story_of_a_bounce(house)
    await house.send("jane@example.net")
    delivered = await house.told("mail.delivered")
    assert delivered["data"]["recipient"] == "jane@example.net"


@pytest.fixture(name="sqs")
async def _sqs() -> AsyncIterator[Any]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    await asyncio.to_thread(server.start)
    host, port = server.get_host_and_port()
    client = boto3.client(
        "sqs",
        endpoint_url=f"http://{host}:{port}",
        region_name="eu-west-1",
        aws_access_key_id=DEMO_CREDENTIAL.access_key,
        aws_secret_access_key=DEMO_CREDENTIAL.secret_key,
    )
    yield client
    client.close()
    await asyncio.to_thread(server.stop)


async def test_a_bounce_travels_the_whole_loop_by_a_queue(house: House, sqs: Any) -> None:
    """SNS delivers to a queue what it would post: the envelope, word for word."""
    made = await asyncio.to_thread(sqs.create_queue, QueueName="ses-feedback")
    url = made["QueueUrl"]

    async def take(request: web.Request) -> web.Response:
        document = json.loads(await request.text())
        if document["Type"] == "SubscriptionConfirmation":
            house.simulator.confirm(document["Token"])
        else:
            await asyncio.to_thread(
                sqs.send_message, QueueUrl=url, MessageBody=json.dumps(document)
            )
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        await asyncio.to_thread(sqs.send_message, QueueUrl=url, MessageBody="poison")
        await house.open(f'feedback: {{sqs: {{queue_url: "{url}"}}}}')
        house.simulator.subscribe(f"http://127.0.0.1:{runner.addresses[0][1]}/")
        await house.logged("relay.topic_validated")
        await the_story_of_a_bounce(house)
        await house.simulator.settled()
        # What was understood is gone, and what was not stays for the redrive policy.
        refused = await house.logged("feedback.refused")
        assert refused["reason"] == "malformed"
    finally:
        await runner.cleanup()


@pytest.mark.P3
async def test_mail_that_ses_took_before_the_connection_broke_is_settled_by_its_event(
    house: House,
) -> None:
    await by_webhook(house)
    house.simulator.hold_events()
    house.simulator.fail(LoseAnswer())
    await house.send("jane@example.net")
    deferred = await house.logged("mail.deferred")
    assert deferred["ambiguous"] is True
    house.simulator.resume_events()
    settled = await house.logged("relay.settled_by_event")
    assert (settled["queue_id"], settled["recipients"]) == (deferred["queue_id"], 1)
    await house.told("mail.delivered")
    code, entries, _ = await house.cli("queue", "list")
    assert (code, entries) == (0, [])
    # Nor would an operator's order send it again.
    assert (await house.cli("queue", "retry", deferred["queue_id"]))[0] == 1
    assert house.simulator.taken == 1
    _, lines, _ = await house.cli("trace", deferred["queue_id"])
    facts = [line["fact"] for line in lines if line["type"] == "fact"]
    assert sorted(facts) == ["accepted", "ambiguous", "delivered", "relayed", "sent"]
    (standing,) = [line for line in lines if line["type"] == "standing"]
    assert standing["standing"] == "delivered"


async def test_an_application_is_told_again_until_it_has_heard(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.policy.callback._WAITS", (timedelta(milliseconds=50),) * 10_000)
    await by_webhook(house)
    house.is_deaf = True
    await house.send(GONE)
    failed = await house.logged("callback.failed")
    assert (failed["kind"], failed["complaint"]) == ("bounced", "it answered 500")
    code, (waiting,), _ = await house.cli("callback", "list")
    assert (code, waiting["id"]) == (0, failed["webhook_id"])
    assert waiting["due_at"] is not None
    house.is_deaf = False
    told = await house.told("mail.bounced")
    assert told["id"] == failed["webhook_id"]
