"""By which API of SES a mail leaves, and that all of it arrives, whichever it is."""

from __future__ import annotations

import asyncio
import smtplib
from dataclasses import replace

import pytest

from relay.simulator import Message, Simulator
from relay.simulator.submission import Api
from tests.system.conftest import StartRelay
from tests.system.resources import MIB
from tests.system.test_system_real_clients import TRACE

ARN = "arn:aws:ses:eu-west-1:999999999999:identity/partner.example"
SENDERS = f"""\
  - name: acme
    networks: [127.0.0.2/32]
    from: ["@example.com"]
    ses: {{tenant: acme, tags: {{app: shop}}}}
  - name: partner
    networks: [127.0.0.3/32]
    from: ["@partner.example"]
    ses: {{from_arn: "{ARN}", source_arn: "{ARN}", tags: {{app: crm}}}}
"""
HEADER = b"From: {}\r\nTo: list@example.org\r\nSubject: large\r\n\r\n"


def a_mail(size: int, author: str = "app@example.com") -> bytes:
    """Return a mail of so many octets, no two of whose lines are alike."""
    header = HEADER.replace(b"{}", author.encode())
    lines = b"".join(b"%062d\xe9\xff\r\n" % number for number in range(size // 66 + 1))
    return (header + lines)[: size - 2] + b"\r\n"


def content(message: Message) -> bytes:
    """Return what the client sent of a message: all but our trace fields."""
    match = TRACE.match(message.raw)
    assert match is not None, message.raw[:300]
    return message.raw[match.end() :]


@pytest.mark.P2
async def test_mail_leaves_by_the_api_that_takes_it_octet_for_octet(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    simulator.change(
        replace(
            simulator.settings,
            tenants={"acme": frozenset({"example.com", "default"})},
            shared_identities=frozenset({ARN}),
        )
    )
    relay = await start_relay(sender="limits: {message_size: 26MiB}", senders=SENDERS)
    small = a_mail(4096)
    cases = {
        "9 MiB": ("127.0.0.1", "app@example.com", a_mail(9 * MIB), Api.V1),
        "25 MiB": ("127.0.0.1", "app@example.com", a_mail(25 * MIB), Api.V2),
        "small": ("127.0.0.1", "app@example.com", small, Api.V1),
        "tenant": ("127.0.0.2", "app@example.com", small, Api.V2),
        "partner": (
            "127.0.0.3",
            "a@partner.example",
            a_mail(4096, "a@partner.example"),
            Api.V1,
        ),
    }

    def send(host: str, author: str, mail: bytes) -> None:
        with smtplib.SMTP("127.0.0.1", relay.ports["legacy"], source_address=(host, 0)) as client:
            # What the header says of recipients is nobody's business but the reader's.
            client.sendmail(author, ["jane@example.net", "joe@example.net"], mail)

    for number, (name, (host, author, mail, api)) in enumerate(cases.items(), 1):
        await asyncio.to_thread(send, host, author, mail)
        await simulator.received(number)
        message = simulator.messages[-1]
        assert message.api is api, name
        assert content(message) == mail, name
        assert message.source == author, name
        assert message.destinations == ("jane@example.net", "joe@example.net"), name
        assert message.configuration_set == "default", name
        line = await relay.logged("mail.relayed", count=2 * number)
        tags = dict(message.tags)
        assert tags["relay-id"] == line["queue_id"], name
        assert tags["relay-sender"] == line["sender"], name
        assert tags["relay-node"], name
        if name in ("tenant", "partner"):
            assert tags["app"] == {"tenant": "shop", "partner": "crm"}[name]
            assert message.tenant == {"tenant": "acme", "partner": None}[name]
    sent = [call for call in simulator.calls if call.recipients]
    assert [call.action for call in sent] == [
        "SendRawEmail",
        "SendEmail",
        "SendRawEmail",
        "SendEmail",
        "SendRawEmail",
    ]
    assert {call.code for call in sent} == {None}
