"""A second opinion: what a SES not written by us gets from the relay."""

from __future__ import annotations

import asyncio
import base64
import json
import smtplib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from moto.sts.models import sts_backends

from tests.system.conftest import StartRelay
from tests.system.house import Relay, configuration, environment
from tests.system.test_system_real_clients import DOTS, TEXT, TRACE, with_attachment

SEVEN_BIT = {"text": TEXT, "html with attachment": with_attachment(), "dot lines": DOTS}


@pytest.fixture
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    try:
        url = f"http://{host}:{port}"
        # Its memory is the process's: what an earlier test sent is still there.
        urllib.request.urlopen(f"{url}/moto-api/reset", data=b"").close()
        ses = boto3.client(
            "ses",
            region_name="eu-west-1",
            endpoint_url=url,
            aws_access_key_id="x",
            aws_secret_access_key="x",
        )
        ses.verify_domain_identity(Domain="example.com")
        ses.close()
        yield url
    finally:
        server.stop()


def sent(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{url}/moto-api/data.json") as answer:
        found: list[dict[str, Any]] = json.load(answer)["ses"]["RawMessage"]
    return found


@pytest.mark.P2
@pytest.mark.parametrize("mail", SEVEN_BIT.values(), ids=SEVEN_BIT.keys())
async def test_what_moto_gets_is_what_was_sent(
    start_relay: StartRelay, moto: str, mail: bytes
) -> None:
    relay = await start_relay(ses=moto)

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", relay.ports["legacy"]) as client:
            client.sendmail("app@example.com", ["jane@example.net"], mail)

    await asyncio.to_thread(send)
    relayed = await relay.logged("mail.relayed")
    (message,) = await asyncio.to_thread(sent, moto)
    assert message["id"] == relayed["ses_message_id"]
    assert message["source"] == "app@example.com"
    # moto adds the addresses of the To header, which SES does not when it is given destinations.
    assert "jane@example.net" in message["destinations"]
    raw = message["raw_data"].encode()
    if b"\r\n" not in raw[:200]:
        raw = base64.b64decode(raw)
    match = TRACE.match(raw)
    assert match is not None, raw[:300]
    assert raw[match.end() :] == mail


ROLE = "arn:aws:iam::123456789012:role/relay"


@pytest.mark.P8
async def test_the_session_of_a_role_is_limited_to_from_and_anew_by_a_reload(
    moto: str, tmp_path: Path
) -> None:
    config = tmp_path / "relay.yaml"
    text = configuration(tmp_path, moto, rate=f'auto, role_arn: "{ROLE}"')
    config.write_text(text)
    relay = Relay(config, env=environment(AWS_ENDPOINT_URL_STS=moto))

    def addresses(access_key: str) -> list[str]:
        sessions = sts_backends["123456789012"]["global"].assumed_roles
        (policy,) = (json.loads(one.policy) for one in sessions if one.access_key_id == access_key)
        (condition,) = (one["Condition"] for one in policy["Statement"] if "Condition" in one)
        found: list[str] = condition["StringLike"]["ses:FromAddress"]
        return found

    await relay.start()
    try:
        first = await relay.logged("relay.credentials_found")
        assert addresses(first["access_key"]) == ["*@example.com"]
        config.write_text(text.replace('from: ["@example.com"]', 'from: ["@.example.com"]'))
        code, _, said = await relay.cli("reload")
        assert code == 0, said
        second = await relay.logged("relay.credentials_found", count=2)
        assert addresses(second["access_key"]) == ["*@*.example.com"]
        # What changes nothing of it takes no new session.
        config.write_text(config.read_text() + "trace_headers: none\n")
        code, _, said = await relay.cli("reload")
        assert code == 0, said
    finally:
        await relay.end()
    assert len([one for one in relay.lines if one["event"] == "relay.credentials_found"]) == 2
