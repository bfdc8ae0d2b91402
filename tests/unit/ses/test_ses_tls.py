"""TLS: who is trusted, and that it changes nothing about how far a request is said to have come."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from relay.policy.verdict import Broken, Stage
from relay.ses.connection import Request
from relay.ses.endpoint import Endpoint
from relay.ses.http1 import Response
from relay.ses.pool import Deadlines, Pool
from relay.ses.tls import TlsChannel
from tests.unit.ses.wire import OK, SMALL, Peer, Script, Server, Slices, certificate, serving

SOON = timedelta(seconds=0.05)


def server_context(directory: Path, host: str = "localhost") -> ssl.SSLContext:
    made, key = certificate(host)
    path = directory / f"{host}.pem"
    path.write_bytes(key + made)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def client_context(host: str = "localhost") -> ssl.SSLContext:
    return ssl.create_default_context(cadata=certificate(host)[0].decode())


@asynccontextmanager
async def pooled(
    script: Script,
    server_tls: ssl.SSLContext | None,
    client_tls: ssl.SSLContext,
    deadlines: Deadlines = Deadlines(),  # noqa: B008 - frozen
    *,
    window: int | None = None,
) -> AsyncIterator[tuple[Pool, Server]]:
    async with serving(script, server_tls, window=window) as server:
        endpoint = Endpoint.parse(f"https://localhost:{server.port}")
        pool = Pool(endpoint, client_tls, deadlines=deadlines)
        try:
            yield pool, server
        finally:
            await pool.close()


async def answer_always(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.say(OK)


async def never(_: Peer) -> None:
    raise AssertionError("a peer that is not trusted was spoken to")


async def test_requests_of_any_size_go_through_one_connection(tmp_path: Path) -> None:
    async with pooled(answer_always, server_context(tmp_path), client_context()) as (pool, server):
        for request in (SMALL, Slices(60).request(), SMALL):
            outcome = await pool.exchange(request, 0)
            assert isinstance(outcome, Response), outcome
            assert outcome.body == b"hi"
        assert server.connections == 1


async def test_tls_of_the_day_before_yesterday_works_too(tmp_path: Path) -> None:
    client = client_context()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    async with pooled(answer_always, server_context(tmp_path), client) as (pool, _):
        for _ in range(2):
            assert isinstance(await pool.exchange(SMALL, 0), Response)


@pytest.mark.P3
@pytest.mark.parametrize(
    ("server_host", "trusted_host", "complaint"),
    [
        ("localhost", "elsewhere.example", "self-signed certificate"),
        ("elsewhere.example", "elsewhere.example", "not valid for 'localhost'"),
    ],
)
async def test_who_is_not_trusted_is_told_nothing(
    tmp_path: Path, server_host: str, trusted_host: str, complaint: str
) -> None:
    server_tls = server_context(tmp_path, server_host)
    async with pooled(never, server_tls, client_context(trusted_host)) as (pool, server):
        outcome = await pool.exchange(SMALL, 0)
        assert isinstance(outcome, Broken)
        assert outcome.stage is Stage.NOT_SENT
        assert f"no TLS with localhost:{server.port}: " in outcome.what
        assert complaint in outcome.what


@pytest.mark.P3
async def test_a_peer_without_tls_is_not_sent() -> None:
    async def script(peer: Peer) -> None:
        await peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with pooled(script, None, client_context()) as (pool, _):
        outcome = await pool.exchange(SMALL, 0)
        assert isinstance(outcome, Broken)
        assert outcome.stage is Stage.NOT_SENT


@pytest.mark.P3
async def test_a_peer_that_hangs_up_in_the_handshake_is_not_sent() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(100)
        peer.reset()

    async with pooled(script, None, client_context()) as (pool, _):
        outcome = await pool.exchange(SMALL, 0)
        assert isinstance(outcome, Broken)
        assert outcome.stage is Stage.NOT_SENT


@pytest.mark.P3
async def test_a_peer_that_never_shakes_hands_is_not_sent() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(-1)

    async with pooled(script, None, client_context(), Deadlines(tls=SOON)) as (pool, server):
        outcome = await pool.exchange(SMALL, 0)
        what = f"no TLS with localhost:{server.port}: none within 0.05 s"
        assert outcome == Broken(Stage.NOT_SENT, what)


async def test_a_call_cancelled_in_the_handshake_closes_its_connection() -> None:
    begun, gone = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.reader.read(100)
        begun.set()
        await peer.reader.read(-1)
        gone.set()

    async with pooled(script, None, client_context()) as (pool, _):
        call = asyncio.create_task(pool.exchange(SMALL, 0))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await gone.wait()


@pytest.mark.P3
async def test_a_peer_that_stops_reading_is_not_sent(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(100)
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    deadlines = Deadlines(answer=timedelta(seconds=0.5))
    async with pooled(
        script, server_context(tmp_path), client_context(), deadlines, window=4096
    ) as (pool, _):
        for request in (
            Slices(256).request(),
            Request(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"x" * 2**24),
        ):
            outcome = await pool.exchange(request, 0)
            assert isinstance(outcome, Broken)
            assert outcome.stage is Stage.NOT_SENT


@pytest.mark.P3
async def test_a_peer_that_hangs_up_without_an_answer_is_no_answer(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.hang_up()
        await peer.writer.wait_closed()

    async with pooled(script, server_context(tmp_path), client_context()) as (pool, server):
        outcome = await pool.exchange(SMALL, 0)
        assert isinstance(outcome, Broken)
        assert outcome.stage is Stage.NO_ANSWER
        assert server.connections == 1


@pytest.mark.P3
async def test_a_kept_connection_that_was_closed_is_replaced(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        peer.hang_up()
        await peer.writer.wait_closed()

    async with pooled(script, server_context(tmp_path), client_context()) as (pool, server):
        for number in (1, 2, 3):
            assert isinstance(await pool.exchange(SMALL, 0), Response)
            assert server.connections == number


async def test_an_answer_may_end_with_the_conversation(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\n\r\nhi")
        peer.hang_up()
        await peer.writer.wait_closed()

    async with pooled(script, server_context(tmp_path), client_context()) as (pool, server):
        for number in (1, 2):
            outcome = await pool.exchange(SMALL, 0)
            assert isinstance(outcome, Response)
            assert outcome.body == b"hi"
            assert server.connections == number


@pytest.mark.P3
@pytest.mark.parametrize("written", [False, True], ids=["before", "after"])
async def test_records_that_do_not_verify_end_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)

    def damaged(channel: TlsChannel, octets: bytes) -> bytes:
        if channel.is_secured:
            octets = b"\x17\x03\x03\x00\x20" + b"x" * 32
        return receive(channel, octets)

    def unsealable(channel: TlsChannel, octets: bytes) -> bytes:
        raise ssl.SSLError(1, "cannot")

    receive = TlsChannel.receive
    monkeypatch.setattr(TlsChannel, "receive", damaged)
    if not written:
        monkeypatch.setattr(TlsChannel, "seal", unsealable)
    async with pooled(script, server_context(tmp_path), client_context()) as (pool, _):
        outcome = await pool.exchange(SMALL, 0)
        assert isinstance(outcome, Broken)
        assert outcome.stage is (Stage.NO_ANSWER if written else Stage.NOT_SENT)
        assert "TLS failed" in outcome.what


def test_a_channel_needs_no_socket(tmp_path: Path) -> None:
    """Both ends in memory, a few octets at a time."""
    client = TlsChannel(client_context(), "localhost")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context(tmp_path).wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(client.begin())
    while not client.is_secured:
        with suppress(ssl.SSLWantReadError):
            server.do_handshake()
        while octets := outgoing.read(7):
            assert client.receive(octets) == b""
        incoming.write(client.pending())
    server.do_handshake()

    large = bytes(range(256)) * 1000
    incoming.write(client.seal(large))
    got = b""
    while len(got) < len(large):
        got += server.read(2**20)
    assert got == large

    server.write(b"answer")
    assert client.receive(outgoing.read()) == b"answer"
    assert not client.has_ended
    with pytest.raises(ssl.SSLWantReadError):
        server.unwrap()
    assert client.receive(outgoing.read()) == b""
    assert client.has_ended
