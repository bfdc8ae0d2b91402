"""A proxy on the way: a tunnel through it, TLS with SES in the tunnel, and nothing sent without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from relay.policy.verdict import Broken, Stage
from relay.ses.api import V1
from relay.ses.connection import Request
from relay.ses.endpoint import Endpoint
from relay.ses.http1 import Response
from relay.ses.lines import Line, Lines
from relay.ses.pool import Deadlines, Pool
from relay.ses.proxy import Proxy
from relay.ses.signer import Keys
from tests.unit.ses.service import TAKEN, Somewhere, Teller, http, is_valid
from tests.unit.ses.test_ses_tls import answer_always, client_context, server_context
from tests.unit.ses.wire import SMALL, Peer, Slices, serving

KEYS, NOW = Keys("AKIDEXAMPLE", "secret"), datetime(2026, 3, 1, 12, tzinfo=UTC)
SOON = Deadlines(connect=timedelta(seconds=0.05))
OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"


@dataclass
class Tunnels:
    """A proxy: says `answer` to CONNECT, and joins both ends if that is a success."""

    answer: bytes = OPEN
    asked: list[bytes] = field(default_factory=list)

    async def __call__(self, peer: Peer) -> None:
        head = await peer.reader.readuntil(b"\r\n\r\n")
        self.asked.append(head)
        await peer.say(self.answer)
        if b" 200 " not in self.answer:
            await peer.reader.read()
            return
        host, _, port = head.split(b" ")[1].decode().rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        there = Peer(reader, writer)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_carry(peer, there))
                both.create_task(_carry(there, peer))
        finally:
            writer.transport.abort()


async def _carry(source: Peer, target: Peer) -> None:
    while octets := await source.reader.read(65536):
        await target.say(octets)
    target.hang_up()


@asynccontextmanager
async def behind(
    tunnels: Tunnels,
    directory: Path,
    deadlines: Deadlines = Deadlines(),  # noqa: B008 - frozen
    *,
    trusted: str = "localhost",
    login: str = "",
) -> AsyncIterator[Pool]:
    async with (
        serving(answer_always, server_context(directory)) as server,
        serving(tunnels) as proxy,
    ):
        pool = Pool(
            Endpoint.parse(f"https://localhost:{server.port}"),
            client_context(trusted),
            deadlines=deadlines,
            proxy=Proxy.parse(f"http://{login}127.0.0.1:{proxy.port}"),
        )
        try:
            yield pool
        finally:
            await pool.close()


@pytest.mark.parametrize(
    "answer",
    [
        OPEN,
        b"HTTP/1.0 200 Connection established\r\nProxy-agent: tinyproxy/1.11\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 500\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_requests_of_any_size_go_through_one_tunnel(tmp_path: Path, answer: bytes) -> None:
    tunnels = Tunnels(answer)
    async with behind(tunnels, tmp_path, login="me%40here:p%3Aw@") as pool:
        for request in (SMALL, Slices(20).request(), SMALL):
            outcome = await pool.exchange(request, 0)
            assert isinstance(outcome, Response), outcome
            assert outcome.body == b"hi"
    (head,) = tunnels.asked
    request_line, *fields = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert request_line.startswith(b"CONNECT localhost:")
    assert fields[0] == b"Host: " + request_line.split(b" ")[1]
    assert fields[2] == b"Proxy-Authorization: Basic bWVAaGVyZTpwOnc="


@pytest.mark.P3
@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"HTTP/1.1 407 Authenticate\r\nContent-Length: 2\r\n\r\nno", "HTTP 407"),
        (b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n", "HTTP 503"),
        (b"SSH-2.0-x\r\n", "the answer is not HTTP: it has no status line"),
        (b"", "no answer within 0.05 s"),
        (OPEN + b"surplus", "HTTP 200"),
    ],
)
async def test_without_a_tunnel_nothing_is_sent(
    tmp_path: Path, answer: bytes, complaint: str
) -> None:
    tunnels = Tunnels(answer)
    deadlines = SOON if not answer else Deadlines()
    async with behind(tunnels, tmp_path, deadlines) as pool:
        outcome = await pool.exchange(SMALL, 0)
        assert isinstance(outcome, Broken), outcome
        assert outcome.stage is Stage.NOT_SENT
        assert outcome.what.startswith("no tunnel to localhost:")
        assert outcome.what.endswith(complaint)
    assert b"hello" not in b"".join(tunnels.asked)


async def test_a_proxy_that_is_not_there_is_named() -> None:
    async with serving(answer_always) as server:
        port = server.port
    pool = Pool(
        Endpoint.parse("https://localhost:1"),
        client_context(),
        deadlines=Deadlines(),
        proxy=Proxy.parse(f"127.0.0.1:{port}"),
    )
    outcome = await pool.exchange(SMALL, 0)
    assert isinstance(outcome, Broken)
    assert outcome.stage is Stage.NOT_SENT
    assert outcome.what.startswith(f"no connection to the proxy 127.0.0.1:{port}: ")
    await pool.close()


@pytest.mark.P3
async def test_a_proxy_that_pretends_to_be_ses_gets_nothing(tmp_path: Path) -> None:
    async with behind(Tunnels(), tmp_path, trusted="elsewhere.example") as pool:
        outcome = await pool.exchange(SMALL, 0)
        assert isinstance(outcome, Broken)
        assert outcome.stage is Stage.NOT_SENT
        assert "self-signed certificate" in outcome.what


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://proxy.example:3128", Proxy("proxy.example", 3128)),
        ("proxy.example:3128/", Proxy("proxy.example", 3128)),
        ("http://proxy.example", Proxy("proxy.example", 80)),
        ("http://[::1]:3128", Proxy("::1", 3128)),
        ("http://me:pw@proxy:1", Proxy("proxy", 1, "bWU6cHc=")),
        ("http://me@proxy:1", Proxy("proxy", 1, "bWU6")),
    ],
)
def test_a_proxy_is_read(url: str, proxy: Proxy) -> None:
    assert Proxy.parse(url) == proxy


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2@proxy:3128",
        "socks5://me:hunter2@proxy",
        "http://me:hunter2@",
        "http://me:hunter2@proxy/path",
        "http://me:hunter2@pro xy",
        "http://me:hunter2@proxy:99999",
    ],
)
def test_a_proxy_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"proxy|endpoint|Port") as refused:
        Proxy.parse(url)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_the_proxy_is_asked_for_by_the_url_of_the_endpoint(scheme: str) -> None:
    aws = Proxied(f"{scheme}://ses.example", "http://proxy.example:3128")
    assert drawn(aws).pool._proxy == Proxy("proxy.example", 3128)
    assert aws.asked == f"{scheme}://ses.example"


# --- a plain endpoint -----------------------------------------------------------------------------


class Proxied(Somewhere):
    """An AWS configuration with a proxy for everything."""

    def __init__(self, url: str, proxy: str) -> None:
        super().__init__(url)
        self._proxy = proxy
        self.asked = ""

    def proxy(self, url: str) -> str:  # type: ignore[override]
        self.asked = url
        return self._proxy


def drawn(aws: Proxied) -> Line:
    with ThreadPoolExecutor(1) as threads:
        lines = Lines(lambda: aws, region="eu-west-1", deadlines=Deadlines(), threads=threads)
        return lines.draw(V1)


async def test_a_request_to_a_plain_endpoint_is_handed_to_the_proxy() -> None:
    teller = Teller(http(200, TAKEN.format("m-1")))
    async with serving(teller) as proxy:
        line = drawn(Proxied("http://ses.internal:8005", f"http://u:p@127.0.0.1:{proxy.port}"))
        head = line.signer.head(KEYS, NOW, digest=sha256(b"hi").hexdigest(), length=2)
        answer = await line.pool.exchange(Request(head, b"hi"), 2)
        await line.pool.close()
    assert isinstance(answer, Response)
    (asked,) = teller.heads
    request_line, *fields = asked.decode().split("\r\n")
    assert request_line == "POST http://ses.internal:8005/ HTTP/1.1"
    assert "Host: ses.internal:8005" in fields
    assert "Proxy-Authorization: Basic dTpw" in fields
    # What is signed is the path at SES, whoever is asked to go there.
    as_ses_sees_it = asked.replace(b"http://ses.internal:8005/", b"/", 1)
    assert is_valid(as_ses_sees_it, b"hi", KEYS.secret_key)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_a_plain_endpoint_on_this_machine_is_reached_by_no_proxy(host: str) -> None:
    line = drawn(Proxied(f"http://{host}:8005", "http://proxy:3128"))
    assert line.pool._proxy is None
    assert line.signer.head(KEYS, NOW, digest="", length=0).startswith(b"POST / HTTP/1.1\r\n")


def test_a_proxy_that_cannot_be_used_is_told_with_its_variable() -> None:
    with pytest.raises(ValueError, match="the proxy in HTTP_PROXY is reached by http://"):
        drawn(Proxied("http://ses.internal", "socks5://proxy:1080"))
