"""A proxy on the way: a tunnel through it, TLS with SES in the tunnel, and nothing sent without."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from relay.policy.verdict import Broken, Stage
from relay.ses.api import V1
from relay.ses.endpoint import Endpoint
from relay.ses.http1 import Response
from relay.ses.lines import Lines
from relay.ses.pool import Deadlines, Pool
from relay.ses.proxy import Proxy
from tests.unit.ses.service import Somewhere
from tests.unit.ses.test_ses_tls import answer_always, client_context, server_context
from tests.unit.ses.wire import SMALL, Peer, Slices, serving

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
async def test_a_proxy_carries_what_is_encrypted_and_nothing_else(scheme: str) -> None:
    class Proxied(Somewhere):
        def proxy(self, url: str) -> str:  # type: ignore[override]
            assert url == f"{scheme}://ses.example"
            return "http://proxy.example:3128"

    aws = Proxied(f"{scheme}://ses.example")
    with ThreadPoolExecutor(1) as threads:
        lines = Lines(lambda: aws, region="eu-west-1", deadlines=Deadlines(), threads=threads)
        line = await lines.to(V1)
    expected = Proxy("proxy.example", 3128) if scheme == "https" else None
    assert line.pool._proxy == expected
    await lines.close()
