"""Postfix with the relay as its smarthost: pipelined, authenticated, over TLS."""

from __future__ import annotations

import asyncio
import re
import smtplib
from collections.abc import Callable
from pathlib import Path

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
from tests.system.postfix import may_run, smarthosted

RECEIVED = re.compile(rb"Received: from .*?\r\n(?:[ \t].*?\r\n)*")
LONG = MAIL + b"".join(b"%06d " % n + b"y" * 900 + b"\r\n" for n in range(1200))


@pytest.mark.P2
@pytest.mark.P6
@pytest.mark.parametrize(
    ("listener", "mechanism"),
    [("submission", "plain"), ("smtps", "login")],
)
async def test_postfix_hands_its_mail_to_the_relay(
    start_relay: StartRelay,
    simulator: Simulator,
    needs: Callable[[str], str],
    tmp_path: Path,
    listener: str,
    mechanism: str,
) -> None:
    postfix = needs("postfix")
    if not may_run():
        pytest.skip("Postfix is started by root only")
    relay = await start_relay(**configured(tmp_path))
    everyone = [f"jane{n}@example.net" for n in range(20)]

    def submit(port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.sendmail("billing@example.com", ["jane@example.net"], MAIL, ["BODY=8BITMIME"])
            client.sendmail("billing@example.com", everyone, LONG, ["BODY=8BITMIME"])

    root = tmp_path / "postfix"
    with smarthosted(
        postfix,
        root,
        port=relay.ports[listener],
        login=LOGIN,
        password=PASSWORD,
        mechanism=mechanism,
        certificate=certificate(relay),
        wrapped=listener == "smtps",
    ) as port:
        await asyncio.to_thread(submit, port)
        try:
            async with asyncio.timeout(30):
                messages = await simulator.received(2)
        except TimeoutError:
            pytest.fail(f"the mail did not come; Postfix: {(root / 'log').read_text()[-3000:]}")
        log = (root / "log").read_text()
    by_size = sorted(messages, key=lambda message: len(message.raw))
    for message, sent, recipients in zip(
        by_size, (MAIL, LONG), (["jane@example.net"], everyone), strict=True
    ):
        came = as_sent(message)
        added = RECEIVED.match(came)
        assert added is not None, f"Postfix adds its own Received field: {came[:200]!r}"
        assert came[added.end() :] == sent
        source, got = addressed(message)
        assert (source, sorted(got)) == ("billing@example.com", sorted(recipients))
        assert protocol(message) == b"ESMTPSA"
    # Its server takes chunks; its client, so far, sends none.
    offered = re.findall(r"< [^\n]*: 250[ -](\w+)", log)
    assert "PIPELINING" in offered
    used = re.findall(r"> [^\n]*: (DATA|BDAT) ?", log)
    assert used
    assert set(used) == {"DATA"}, "Postfix has learnt to send chunks; see that it does so right"
