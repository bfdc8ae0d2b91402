"""By which API of SES a mail leaves, and that all of it arrives, whichever it is."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import smtplib
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from relay.simulator import Message, Simulator
from relay.simulator.submission import Api
from tests.system.conftest import StartRelay
from tests.system.house import run
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


HEEDED = "ses_headers: [X-SES-CONFIGURATION-SET, X-SES-MESSAGE-TAGS, X-SES-TENANT]"


@pytest.mark.P2
@pytest.mark.P8
async def test_a_mail_chooses_by_x_ses_fields_what_its_sender_lets_it(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    simulator.change(
        replace(
            simulator.settings,
            configuration_sets=frozenset({"default", "bulk"}),
            tenants={"acme": frozenset({"example.com", "bulk"})},
        )
    )
    relay = await start_relay(sender=f"{HEEDED}\n    ses: {{tags: {{app: shop, team: a}}}}")

    def send(asking: bytes) -> tuple[int, bytes]:
        with smtplib.SMTP("127.0.0.1", relay.ports["legacy"]) as client:
            client.ehlo()
            client.mail("app@example.com")
            client.rcpt("jane@example.net")
            return client.data(asking + a_mail(2000))

    assert (await asyncio.to_thread(send, b"X-SES-Message-Tags: app=crm, run=7\r\n"))[0] == 250
    assert (
        await asyncio.to_thread(
            send, b"x-ses-tenant: acme\r\nX-SES-ANY: x\r\nX-SES-Configuration-Set: bulk\r\n"
        )
    )[0] == 250
    await simulator.received(2)
    tagged, of_acme = sorted(simulator.messages, key=lambda message: message.api is Api.V2)
    assert dict(tagged.tags).items() >= {"app": "crm", "team": "a", "run": "7"}.items()
    assert (tagged.api, tagged.configuration_set) == (Api.V1, "default")
    assert dict(of_acme.tags).items() >= {"app": "shop", "team": "a"}.items()
    assert (of_acme.api, of_acme.tenant, of_acme.configuration_set) == (Api.V2, "acme", "bulk")
    for message in simulator.messages:
        assert content(message) == a_mail(2000)

    code, said = await asyncio.to_thread(send, b"X-SES-Message-Tags: app=c r m\r\n")
    assert (code, said.partition(b":")[0]) == (550, b"5.6.0 Not understood")
    assert b"X-SES-MESSAGE-TAGS, tag 1: the value holds letters, digits" in said

    # What is missing by the mail's own fault fails it; the same by ours would hold it.
    assert (await asyncio.to_thread(send, b"X-SES-Configuration-Set: nowhere\r\n"))[0] == 250
    failed = await relay.logged("mail.failed")
    assert failed["reason"] == "rejected"
    _, shown, _ = await relay.cli("queue", "show", failed["queue_id"])
    assert "asks SES:     X-SES-CONFIGURATION-SET: nowhere" in shown
    assert "SES ConfigurationSetDoesNotExist" in shown


class Taker:
    """A SES that reads no more than the first of any mail until all are on their way at once.

    It keeps no mail: what it was sent is compared as it comes.
    """

    def __init__(self, at_once: int, digests: set[bytes]) -> None:
        self.taken: Counter[bytes] = Counter()
        self._begun = 0
        self._at_once = at_once
        self._digests = digests
        self._all_begun = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await self._take(head, reader)
                is_v2 = b" /v2/" in head.partition(b"\r\n")[0]
                body = b'{"MessageId": "m"}' if is_v2 else b"<MessageId>m</MessageId>"
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        except asyncio.IncompleteReadError:
            writer.close()

    async def _take(self, head: bytes, reader: asyncio.StreamReader) -> None:
        left = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        if left < MIB:
            if b" GET " not in head:
                await reader.readexactly(left)
            return
        marker = b'"Data": "' if b" /v2/" in head else b"RawMessage.Data="
        before = await reader.readuntil(marker)
        left -= len(before)
        self._begun += 1
        if self._begun > len(self._digests):  # the first of each goes alone
            if self._begun == self._at_once + len(self._digests):
                self._all_begun.set()
            await self._all_begun.wait()
        digest = hashlib.sha256()
        while left:
            octets = await reader.readexactly(min(left, MIB))
            left -= len(octets)
            digest.update(octets)
        assert digest.digest() in self._digests, "what came is not what was sent"
        self.taken[digest.digest()] += 1


@pytest.mark.P6
async def test_large_mails_at_once_take_no_more_memory_than_their_windows(tmp_path: Path) -> None:
    # Half of them by v1, half by v2; the first 16 MiB are kept encoded, all else is read twice.
    half = 20
    files, digests = [], set[bytes]()
    for size in (9 * MIB, 11 * MIB):
        mail = a_mail(size)
        files.append(tmp_path / str(size))
        await asyncio.to_thread(files[-1].write_bytes, mail)
        encoded = base64.b64encode(mail)
        # As v1 has it in a form, and v2 in JSON.
        sent = quote(encoded, safe="").encode() if size < 10 * MIB else encoded + b'"}}}'
        digests.add(hashlib.sha256(sent).digest())
    taker = Taker(2 * half, digests)
    server = await asyncio.start_server(taker.serve, "127.0.0.1", 0, limit=MIB)
    port = server.sockets[0].getsockname()[1]
    code, said = await run(
        sys.executable,
        "-m",
        "tests.system.many_large",
        f"http://127.0.0.1:{port}",
        *(f"{path}:{half}" for path in files),
    )
    server.close()
    assert code == 0, said
    grown = int(said.split()[-1])
    assert taker.taken == dict.fromkeys(digests, half + 1)
    # The budget of design.md: a hundred MiB above idle, whatever is under way.
    assert grown < 100 * MIB, f"memory grew by {grown / MIB:.1f} MiB"


async def test_an_account_of_v2_asks_nothing_by_v1(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start_relay(rate="auto, api: v2")

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", relay.ports["legacy"]) as client:
            client.sendmail("app@example.com", ["jane@example.net"], a_mail(2000))

    await asyncio.to_thread(send)
    await relay.logged("mail.relayed")
    read = await relay.logged("account.quota")
    assert read["rate"] == simulator.settings.max_send_rate
    assert {call.action for call in simulator.calls} == {"GetAccount", "SendEmail"}
