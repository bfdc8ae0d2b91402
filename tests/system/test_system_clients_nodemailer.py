"""Nodemailer, as Node.js applications send mail: one by one and through a pool of connections."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relay.simulator import Simulator
from tests.system.clients import (
    LOGIN,
    MAIL,
    PASSWORD,
    addressed,
    as_sent,
    certificate,
    configured,
    protocol,
)
from tests.system.conftest import StartRelay
from tests.system.house import Relay

HERE = Path(__file__).parent / "nodemailer"
POOLED = 40


@pytest.fixture
async def relay(start_relay: StartRelay, tmp_path: Path) -> Relay:
    return await start_relay(**configured(tmp_path))


@pytest.fixture
def node(needs: Callable[[str], str]) -> str:
    program = needs("node")
    if not (HERE / "node_modules").is_dir():
        pytest.skip(f"Nodemailer is not installed: npm ci --prefix {HERE}")
    return program


async def send(node: str, relay: Relay, transport: dict[str, Any], *mails: bytes) -> dict[str, Any]:
    """Have Nodemailer send mails, each to its own recipient; return what it says of it."""
    plan = {
        "transport": {"host": "127.0.0.1", **transport},
        "mails": [
            {
                "from": "billing@example.com",
                "to": [f"jane{n}@example.net"],
                "raw": base64.b64encode(mail).decode(),
            }
            for n, mail in enumerate(mails)
        ],
    }
    process = await asyncio.create_subprocess_exec(
        node,
        str(HERE / "send.mjs"),
        env={"NODE_EXTRA_CA_CERTS": certificate(relay)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(json.dumps(plan).encode())
    assert out, f"node: {err.decode()[-2000:]}"
    told: dict[str, Any] = json.loads(out)
    return told


TRANSPORTS = {
    "STARTTLS": ("submission", {"requireTLS": True}),
    "implicit": ("smtps", {"secure": True}),
    "if offered": ("either", {}),
    "clear": ("either", {"ignoreTLS": True}),
}


@pytest.mark.P2
@pytest.mark.P7
async def test_nodemailer_in_every_mode(relay: Relay, simulator: Simulator, node: str) -> None:
    for tls, (listener, how) in TRANSPORTS.items():
        for mechanism in ("PLAIN", "LOGIN"):
            auth = {"user": LOGIN, "pass": PASSWORD}
            transport = {
                **how,
                "port": relay.ports[listener],
                "auth": auth,
                "authMethod": mechanism,
            }
            told = await send(node, relay, transport, MAIL)
            assert "taken" in told, f"{tls}, {mechanism}: {told}"
            assert told["taken"][0].startswith("250 2.0.0 Ok queued as ")
    messages = await simulator.received(2 * len(TRANSPORTS))
    assert {as_sent(message) for message in messages} == {MAIL}
    assert sorted(protocol(message) for message in messages) == [b"ESMTPA"] * 2 + [b"ESMTPSA"] * 6


@pytest.mark.P2
@pytest.mark.P6
async def test_nodemailer_sends_through_a_pool(
    relay: Relay, simulator: Simulator, node: str
) -> None:
    mails = [MAIL + b"number %d\r\n" % n for n in range(POOLED)]
    transport = {
        "port": relay.ports["submission"],
        "requireTLS": True,
        "auth": {"user": LOGIN, "pass": PASSWORD},
        "pool": True,
        "maxConnections": 3,
        # Less than its share: it has to connect again.
        "maxMessages": 7,
    }
    told = await send(node, relay, transport, *mails)
    assert len(told.get("taken", ())) == POOLED, told
    messages = await simulator.received(POOLED)
    got = {addressed(message)[1][0]: as_sent(message) for message in messages}
    assert got == {f"jane{n}@example.net": mail for n, mail in enumerate(mails)}


@pytest.mark.P7
async def test_nodemailer_hears_why_it_is_refused(
    relay: Relay, simulator: Simulator, node: str
) -> None:
    transport = {
        "port": relay.ports["submission"],
        "requireTLS": True,
        "auth": {"user": LOGIN, "pass": "wrong"},
    }
    told = await send(node, relay, transport, MAIL)
    assert told.get("code") == "EAUTH", told
    assert told["refused"].startswith("535 5.7.8")
    assert simulator.taken == 0
