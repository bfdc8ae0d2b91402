"""The simulator over HTTP: what it does wrong on purpose, and its own API for looking in."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import aiohttp
import pytest

from relay.simulator import (
    DEMO_CREDENTIAL,
    CutAnswer,
    Delay,
    Garble,
    Hang,
    LoseAnswer,
    Refuse,
    ResetUnread,
    Settings,
    Simulator,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RAW = b"From: billing@example.com\r\nTo: jane@example.net\r\n\r\nhello\r\n"
LOST = (aiohttp.ClientError, ConnectionError)


@dataclass(frozen=True)
class Reply:
    status: int
    text: str
    content_type: str


class Client:
    """A small SES client: signs by itself and hides nothing of what came back."""

    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession) -> None:
        self._simulator = simulator
        self._session = session

    async def call(self, service: str = "ses", **fields: str) -> Reply:
        body = urlencode({"Version": "2010-12-01", **fields}).encode()
        async with self._session.post(
            self._simulator.url, data=body, headers=self._signed(body, service)
        ) as answer:
            return Reply(answer.status, await answer.text(), answer.content_type)

    async def send(
        self,
        raw: bytes = RAW,
        *,
        to: str = "jane@example.net",
        tag: tuple[str, str] | None = None,
        configuration_set: str | None = None,
    ) -> Reply:
        fields = {
            "RawMessage.Data": base64.b64encode(raw).decode(),
            "Destinations.member.1": to,
        }
        if tag is not None:
            fields["Tags.member.1.Name"], fields["Tags.member.1.Value"] = tag
        if configuration_set is not None:
            fields["ConfigurationSetName"] = configuration_set
        return await self.call(Action="SendRawEmail", **fields)

    async def look(self, method: str, path: str, **options: Any) -> Reply:
        url = f"{self._simulator.url}{path}"
        async with self._session.request(method, url, **options) as answer:
            return Reply(answer.status, await answer.text(), answer.content_type)

    async def json(self, path: str) -> Any:
        async with self._session.get(f"{self._simulator.url}{path}") as answer:
            return await answer.json()

    def _signed(self, body: bytes, service: str) -> dict[str, str]:
        now = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        host = self._simulator.url.removeprefix("http://")
        scope = f"{now[:8]}/eu-west-1/{service}/aws4_request"
        canonical = (
            f"POST\n/\n\nhost:{host}\nx-amz-date:{now}\n\nhost;x-amz-date\n"
            f"{hashlib.sha256(body).hexdigest()}"
        )
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{DEMO_CREDENTIAL.secret_key}".encode()
        for step in scope.split("/"):
            key = hmac.new(key, step.encode(), "sha256").digest()
        signature = hmac.new(key, text.encode(), "sha256").hexdigest()
        return {
            "X-Amz-Date": now,
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={DEMO_CREDENTIAL.access_key}/{scope}, "
            f"SignedHeaders=host;x-amz-date, Signature={signature}",
        }


@pytest.fixture(name="simulator")
async def _simulator() -> AsyncIterator[Simulator]:
    async with Simulator(Settings(configuration_sets=frozenset({"default"}))) as simulator:
        yield simulator


@pytest.fixture(name="client")
async def _client(simulator: Simulator) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(simulator, session)


async def test_a_message_is_taken_and_kept(simulator: Simulator, client: Client) -> None:
    sending = asyncio.create_task(client.send())
    (message,) = await simulator.received(1)
    reply = await sending
    assert reply.status == 200
    assert reply.content_type == "text/xml"
    assert f"<MessageId>{message.id}</MessageId>" in reply.text
    assert message.raw == RAW
    assert message.access_key == DEMO_CREDENTIAL.access_key
    assert simulator.message(message.id) is message
    assert simulator.tally == {"OK": 1}


async def test_a_refusal_is_answered_as_asked(simulator: Simulator, client: Client) -> None:
    simulator.fail(Refuse("InternalFailure", "Sorry <&>", 500))
    reply = await client.send()
    assert reply.status == 500
    assert "<Type>Receiver</Type><Code>InternalFailure</Code>" in reply.text
    assert "<Message>Sorry &lt;&amp;&gt;</Message>" in reply.text
    assert simulator.messages == ()
    assert simulator.tally == {"InternalFailure": 1}
    assert (await client.send()).status == 200


async def test_an_answer_may_be_no_xml_at_all(simulator: Simulator, client: Client) -> None:
    simulator.fail(Garble())
    reply = await client.send()
    assert (reply.status, reply.content_type) == (503, "text/html")
    assert reply.text.startswith("<html>")
    assert simulator.taken == 0


async def test_a_lost_answer_leaves_the_message_taken(simulator: Simulator, client: Client) -> None:
    simulator.fail(LoseAnswer())
    with pytest.raises(LOST):
        await client.send()
    assert simulator.taken == 1


async def test_a_reset_before_the_body_takes_nothing(simulator: Simulator, client: Client) -> None:
    simulator.fail(ResetUnread())
    with pytest.raises(LOST):
        await client.send()
    assert simulator.taken == 0
    assert simulator.calls[0].code == "reset-unread"


async def test_a_cut_answer_ends_too_early(simulator: Simulator, client: Client) -> None:
    simulator.fail(CutAnswer(keep=40))
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.send()
    assert simulator.taken == 1


@pytest.mark.parametrize("accepted", [True, False])
async def test_a_call_hangs_until_released(
    simulator: Simulator,
    client: Client,
    accepted: bool,
) -> None:
    simulator.fail(Hang(accepted=accepted))
    sending = asyncio.create_task(client.send())
    await simulator.wait_for(lambda: simulator.hung == 1)
    assert simulator.taken == (1 if accepted else 0)
    simulator.release()
    assert (await sending).status == 200
    assert (simulator.taken, simulator.hung) == (1, 0)


async def test_a_client_that_hangs_up_ends_its_call(simulator: Simulator, client: Client) -> None:
    simulator.fail(Hang())
    sending = asyncio.create_task(client.send())
    await simulator.wait_for(lambda: simulator.hung == 1)
    sending.cancel()
    await simulator.wait_for(lambda: simulator.hung == 0)
    assert simulator.taken == 0


@pytest.mark.parametrize("accepted", [True, False])
async def test_closing_ends_the_calls_that_hang(accepted: bool) -> None:
    async with aiohttp.ClientSession() as session:
        async with Simulator() as simulator:
            simulator.fail(Hang(accepted=accepted))
            sending = asyncio.create_task(Client(simulator, session).send())
            await simulator.wait_for(lambda: simulator.hung == 1)
        with pytest.raises(LOST):
            await sending
        assert simulator.taken == (1 if accepted else 0)


async def test_an_outage_ends_on_the_same_port(simulator: Simulator, client: Client) -> None:
    await client.send()
    url = simulator.url
    simulator.fail(Hang())
    hanging = asyncio.create_task(client.send())
    await simulator.wait_for(lambda: simulator.hung == 1)
    async with simulator.unreachable():
        with pytest.raises(LOST):
            await hanging
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.send()
    assert simulator.url == url
    assert (await client.send()).status == 200
    assert simulator.taken == 2


async def test_a_delayed_call_goes_on_as_usual(simulator: Simulator, client: Client) -> None:
    simulator.change(replace(simulator.settings, latency=timedelta(milliseconds=1)))
    simulator.fail(Delay(timedelta(milliseconds=1)))
    assert (await client.send()).status == 200
    assert simulator.taken == 1


async def test_faults_find_the_calls_they_are_meant_for(
    simulator: Simulator, client: Client
) -> None:
    simulator.fail(Refuse("Throttling", "slow"), action="GetSendQuota")
    simulator.fail(Refuse("MessageRejected", "no"), recipient="@bad.example")
    assert (await client.send()).status == 200
    assert "MessageRejected" in (await client.send(to="joe@bad.example")).text
    assert "Throttling" in (await client.call(Action="GetSendQuota")).text
    assert simulator.faults == ()


async def test_a_call_that_is_too_large_is_refused_by_its_size() -> None:
    async with (
        Simulator(Settings(max_request_bytes=1000)) as simulator,
        aiohttp.ClientSession() as session,
    ):
        reply = await Client(simulator, session).send(RAW + b"x" * 2000)
    assert reply.status == 413
    assert "<Code>RequestEntityTooLargeException</Code>" in reply.text


async def test_a_large_message_is_byte_identical(simulator: Simulator, client: Client) -> None:
    raw = RAW + bytes(range(256)) * 2000
    assert (await client.send(raw)).status == 200
    assert simulator.messages[0].raw == raw


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "InvalidAction"),
        ({"Action": "DeleteIdentity"}, "InvalidAction"),
        ({"Action": "SendRawEmail", "Version": "2019-09-27"}, "InvalidAction"),
        ({"Action": "SendRawEmail"}, "ValidationError"),
    ],
)
async def test_calls_that_mean_nothing_are_refused(
    client: Client, fields: dict[str, str], code: str
) -> None:
    reply = await client.call(**fields)
    assert reply.status == 400
    assert f"<Code>{code}</Code>" in reply.text


async def test_a_control_character_does_not_break_the_answer(client: Client) -> None:
    reply = await client.send(tag=("a\x00\x1fb", "c"))
    assert "Invalid tag name &lt;a??b&gt;" in reply.text


async def test_the_account_can_be_changed_while_it_runs(
    simulator: Simulator, client: Client
) -> None:
    simulator.change(replace(simulator.settings, identities=frozenset()))
    assert "MessageRejected" in (await client.send()).text
    simulator.change(replace(simulator.settings, identities=frozenset({"example.com"})))
    assert (await client.send()).status == 200
    simulator.forget()
    assert (simulator.messages, simulator.calls, simulator.taken) == ((), (), 0)


# Looking in.


async def test_messages_can_be_listed_read_and_forgotten(
    simulator: Simulator, client: Client
) -> None:
    await client.send(tag=("app", "erp"), configuration_set="default")
    (listed,) = await client.json("/_simulator/messages")
    received_at = listed.pop("received_at")
    assert received_at.endswith("Z")
    assert listed == {
        "id": simulator.messages[0].id,
        "api": "v1",
        "source": None,
        "destinations": ["jane@example.net"],
        "recipients": ["jane@example.net"],
        "tags": [{"name": "app", "value": "erp"}],
        "configuration_set": "default",
        "tenant": None,
        "access_key": DEMO_CREDENTIAL.access_key,
        "size": len(RAW),
    }
    shown = await client.look("GET", f"/_simulator/messages/{listed['id']}")
    assert (shown.text.encode(), shown.content_type) == (RAW, "message/rfc822")
    assert (await client.look("GET", "/_simulator/messages/other")).status == 404
    assert (await client.look("DELETE", "/_simulator/messages")).status == 204
    assert await client.json("/_simulator/messages") == []


async def test_faults_can_be_set_listed_and_cleared(simulator: Simulator, client: Client) -> None:
    fault = {"kind": "refuse", "code": "Throttling", "text": "slow", "status": 400, "times": 2}
    assert (await client.look("POST", "/_simulator/faults", json=fault)).status == 201
    assert "Throttling" in (await client.send()).text
    assert await client.json("/_simulator/faults") == [{**fault, "times": 1}]
    await client.look("POST", "/_simulator/faults", json={"kind": "hang"})
    assert "Throttling" in (await client.send()).text
    sending = asyncio.create_task(client.send())
    await simulator.wait_for(lambda: simulator.hung == 1)
    assert (await client.look("DELETE", "/_simulator/faults")).status == 204
    assert (await sending).status == 200
    assert await client.json("/_simulator/faults") == []


@pytest.mark.parametrize("path", ["/_simulator/faults", "/_simulator/subscriptions"])
@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"kind": 5}', b'{"endpoint": 5}'])
async def test_what_is_not_understood_is_complained_of(
    client: Client, path: str, body: bytes
) -> None:
    reply = await client.look("POST", path, data=body)
    assert reply.status == 400
    assert "error" in reply.text


async def test_a_get_of_the_root_says_what_this_is(client: Client) -> None:
    reply = await client.look("GET", "/")
    assert reply.status == 404
    assert "simulator" in reply.text


async def test_the_certificate_can_be_had_by_its_own_path(
    simulator: Simulator, client: Client
) -> None:
    path = simulator.certificate_url.removeprefix("https://sns.eu-west-1.amazonaws.com")
    for place in (path, "/_simulator/certificate"):
        assert (await client.look("GET", place)).text.encode() == simulator.certificate_pem


def test_a_simulator_that_does_not_run_has_no_url() -> None:
    with pytest.raises(RuntimeError):
        _ = Simulator().url


async def test_an_address_of_version_six_is_bracketed() -> None:
    async with Simulator(Settings(host="::1")) as simulator:
        assert simulator.url.startswith("http://[::1]:")


async def test_a_port_in_use_leaves_nothing_behind(simulator: Simulator) -> None:
    port = int(simulator.url.rpartition(":")[2])
    with pytest.raises(OSError, match="address already in use"):
        await Simulator(Settings(port=port)).__aenter__()
