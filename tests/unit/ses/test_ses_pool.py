"""One request against peers that misbehave in every way, and how far it came."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from relay.policy.verdict import Broken, Stage
from relay.ses.connection import Connection, Request
from relay.ses.endpoint import Endpoint
from relay.ses.http1 import HEAD_LIMIT, Response
from relay.ses.pool import Deadlines, Pool
from tests.unit.ses.wire import OK, SMALL, Peer, Script, Server, Slices, serving

SOON = timedelta(seconds=0.05)
LARGE = 256  # slices: 16 MiB, more than the kernel takes for a peer that does not read


@asynccontextmanager
async def pooled(
    script: Script,
    deadlines: Deadlines = Deadlines(),  # noqa: B008 - frozen
    *,
    window: int | None = None,
    limit: int = 8,
) -> AsyncIterator[tuple[Pool, Server]]:
    async with serving(script, window=window) as server:
        pool = Pool(
            Endpoint.parse(f"http://127.0.0.1:{server.port}"),
            None,
            deadlines=deadlines,
            limit=limit,
        )
        try:
            yield pool, server
        finally:
            await pool.close()


async def ask(pool: Pool, request: Request = SMALL) -> Response | Broken:
    return await pool.exchange(request, 0)


def stage(outcome: Response | Broken) -> Stage:
    assert isinstance(outcome, Broken), outcome
    assert outcome.what
    assert outcome.what.isprintable()
    return outcome.stage


async def answer_always(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.say(OK)


# --- what works -----------------------------------------------------------------------------------


async def test_a_connection_is_kept_and_used_again() -> None:
    async with pooled(answer_always) as (pool, server):
        for _ in range(5):
            outcome = await ask(pool)
            assert isinstance(outcome, Response)
            assert (outcome.status, outcome.body) == (200, b"hi")
        assert server.connections == 1


async def test_calls_at_once_have_a_connection_each() -> None:
    everyone = asyncio.Barrier(4)

    async def script(peer: Peer) -> None:
        await peer.request()
        await everyone.wait()
        await peer.say(OK)
        await peer.request()

    async with pooled(script) as (pool, server):
        outcomes = await asyncio.gather(*[ask(pool) for _ in range(4)])
        assert all(isinstance(outcome, Response) for outcome in outcomes)
        assert server.connections == 4


@pytest.mark.P2
@pytest.mark.parametrize("window", [None, 65536], ids=["taken at once", "taken slowly"])
async def test_a_large_body_arrives_whole(window: int | None) -> None:
    octets = bytes(range(256)) * 512
    got = bytearray()

    async def script(peer: Peer) -> None:
        got.extend(await peer.request())
        await peer.say(OK)

    async with pooled(script, window=window) as (pool, _):
        assert isinstance(await ask(pool, Slices(40, octets).request()), Response)
    assert got == octets * 40


async def test_an_answer_may_come_octet_by_octet() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        for octet in b"HTTP/1.1 100 Continue\r\n\r\n" + OK:
            await peer.say(bytes([octet]))
            await asyncio.sleep(0)
        await peer.request()

    async with pooled(script) as (pool, _):
        assert isinstance(await ask(pool), Response)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * (HEAD_LIMIT - 39) + b"\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    ],
    ids=["chunked", "64 KiB of header", "close", "until the end", "HTTP/1.0"],
)
async def test_an_answer_is_taken_in_any_form(answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(answer)

    async with pooled(script) as (pool, server):
        for number in (1, 2):
            outcome = await ask(pool)
            assert isinstance(outcome, Response)
            assert outcome.body == b"hi"
            assert server.connections == number


# --- before the last octet: not sent --------------------------------------------------------------


@pytest.mark.P3
async def test_a_refused_connection_is_not_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    pool = Pool(Endpoint.parse(f"http://127.0.0.1:{port}"), None, deadlines=Deadlines())
    outcome = await ask(pool)
    assert stage(outcome) is Stage.NOT_SENT
    assert f"no connection to 127.0.0.1:{port}" in str(outcome)
    await pool.close()


@pytest.mark.P3
async def test_a_name_that_does_not_resolve_is_not_sent() -> None:
    pool = Pool(Endpoint.parse("http://relay.invalid"), None, deadlines=Deadlines())
    assert stage(await ask(pool)) is Stage.NOT_SENT
    await pool.close()


@pytest.mark.P3
async def test_a_connection_that_is_never_made_is_not_sent() -> None:
    # A full backlog: the kernel lets the next caller wait for ever.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        first = socket.create_connection(("127.0.0.1", port))
        deadlines = Deadlines(connect=SOON)
        pool = Pool(Endpoint.parse(f"http://127.0.0.1:{port}"), None, deadlines=deadlines)
        outcome = await ask(pool)
        first.close()
        await pool.close()
    assert outcome == Broken(
        Stage.NOT_SENT, f"no connection to 127.0.0.1:{port}: none within 0.05 s"
    )


@pytest.mark.P3
async def test_a_peer_that_hangs_up_before_reading_it_all_is_not_sent() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(1000)
        peer.reset()

    async with pooled(script, window=4096) as (pool, _):
        assert stage(await ask(pool, Slices(LARGE).request())) is Stage.NOT_SENT
        whole = Request(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"x" * 2**24)
        assert stage(await ask(pool, whole)) is Stage.NOT_SENT


@pytest.mark.P3
async def test_a_peer_that_stops_reading_is_not_sent() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(1000)
        await asyncio.Event().wait()

    async with pooled(script, Deadlines(answer=SOON), window=4096) as (pool, _):
        body = Slices(LARGE)
        outcome = await ask(pool, body.request())
        assert outcome == Broken(Stage.NOT_SENT, "the request was not taken within 0.05 s")
        assert body.asked < LARGE, "it was read without being written"
        whole = Request(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"x" * 2**24)
        assert stage(await ask(pool, whole)) is Stage.NOT_SENT


@pytest.mark.P3
async def test_a_body_that_cannot_be_read_is_not_sent() -> None:
    ended: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def script(peer: Peer) -> None:
        ended.set_result(await peer.reader.read(-1))

    async def unreadable(number: int) -> None:
        if number == 2:
            raise OSError(5, "Input/output error")

    async with pooled(script) as (pool, _):
        body = Slices(4, before=unreadable)
        with pytest.raises(OSError, match="Input/output"):
            await ask(pool, body.request())
        assert len(await ended) < 4 * 65536


@pytest.mark.P3
async def test_one_connection_too_many_is_not_sent() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await asyncio.Event().wait()

    async with pooled(script, limit=2) as (pool, server):
        calls = [asyncio.create_task(ask(pool)) for _ in range(2)]
        await asyncio.sleep(0)
        assert stage(await ask(pool)) is Stage.NOT_SENT
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert server.connections <= 2


# --- after the last octet: no answer --------------------------------------------------------------


@pytest.mark.P3
@pytest.mark.parametrize("size", [5, 300_000], ids=["small", "large"])
async def test_a_peer_that_never_answers_is_no_answer(size: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await asyncio.Event().wait()

    request = Request(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size, b"x" * size)
    async with pooled(script, Deadlines(answer=timedelta(seconds=0.5))) as (pool, _):
        outcome = await ask(pool, request)
        assert stage(outcome) is Stage.NO_ANSWER
        assert isinstance(outcome, Broken)
        assert outcome.what == "no answer within 0.5 s"


@pytest.mark.P3
async def test_a_peer_that_hangs_up_without_reading_is_no_answer() -> None:
    # The kernel took all of it; whether anyone read it cannot be known from here.
    async def script(peer: Peer) -> None:
        peer.hang_up()

    async with pooled(script) as (pool, _):
        assert stage(await ask(pool)) is Stage.NO_ANSWER


@pytest.mark.P3
@pytest.mark.parametrize("how", [Peer.hang_up, Peer.reset])
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 2",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
    ],
    ids=["nothing", "interim", "half a line", "half a body", "half a refusal", "half of chunks"],
)
async def test_a_peer_that_hangs_up_before_its_answer_is_whole_is_no_answer(
    said: bytes, how: Callable[[Peer], None]
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(said)
        how(peer)

    async with pooled(script) as (pool, server):
        assert stage(await ask(pool)) is Stage.NO_ANSWER
        assert server.connections == 1, "it was tried again"


@pytest.mark.P3
@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * HEAD_LIMIT,
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n",
        b"\0" * 100,
    ],
    ids=["another protocol", "endless header", "endless body", "zeros"],
)
async def test_an_answer_that_is_not_http_is_no_answer(said: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(said)
        await peer.reader.read(1)

    async with pooled(script) as (pool, _):
        outcome = await ask(pool)
        assert stage(outcome) is Stage.NO_ANSWER
        assert "not HTTP" in str(outcome)


@pytest.mark.P3
@pytest.mark.parametrize("how", [Peer.hang_up, Peer.reset])
async def test_a_large_body_that_was_taken_at_last_is_no_answer(
    how: Callable[[Peer], None],
) -> None:
    # The transport had to hold the end of it for a while; then the kernel took that too.
    async def script(peer: Peer) -> None:
        await peer.request()
        how(peer)

    size = 2**23
    whole = Request(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size, b"x" * size)
    async with pooled(script, window=65536) as (pool, _):
        assert stage(await ask(pool, Slices(size // 65536).request())) is Stage.NO_ANSWER
        assert stage(await ask(pool, whole)) is Stage.NO_ANSWER


# --- answers that come early ----------------------------------------------------------------------


async def test_a_refusal_that_comes_before_the_request_is_written_is_taken() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(1000)
        await peer.say(b"HTTP/1.1 413 Too Large\r\n")
        await peer.say(b"Content-Length: 2\r\n\r\n")
        await asyncio.sleep(0)
        await peer.say(b"no")
        await peer.reader.read(-1)

    async with pooled(script, window=4096) as (pool, server):
        for number in (1, 2):
            body = Slices(80)  # 5 MiB
            outcome = await ask(pool, body.request())
            assert isinstance(outcome, Response), outcome
            assert (outcome.status, outcome.body) == (413, b"no")
            assert body.asked < 80, "it wrote on"
            assert server.connections == number, "a half-written connection was used again"


@pytest.mark.P3
async def test_once_an_answer_has_begun_no_more_is_written() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(1000)
        await peer.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n")
        await asyncio.Event().wait()

    deadlines = Deadlines(answer=timedelta(seconds=0.5))
    async with pooled(script, deadlines, window=4096) as (pool, _):
        body = Slices(LARGE)
        assert stage(await ask(pool, body.request())) is Stage.NOT_SENT
        assert body.asked < LARGE


async def test_a_refusal_of_a_request_written_at_once_is_taken_early_too() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(1000)
        await peer.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await asyncio.Event().wait()

    async with pooled(script, window=4096) as (pool, _):
        outcome = await ask(pool, Request(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"x" * 2**24))
        assert isinstance(outcome, Response)
        assert outcome.status == 413


# --- connections kept -----------------------------------------------------------------------------


@pytest.mark.P3
@pytest.mark.parametrize("how", [Peer.hang_up, Peer.reset])
async def test_a_kept_connection_that_was_closed_is_replaced(how: Callable[[Peer], None]) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        how(peer)

    async with pooled(script) as (pool, server):
        for number in range(1, 6):
            assert isinstance(await ask(pool), Response)
            assert server.connections == number


@pytest.mark.P3
@pytest.mark.parametrize(
    "last_words", [b"", b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"]
)
async def test_a_kept_connection_that_ends_while_the_body_is_read_is_replaced_at_once(
    monkeypatch: pytest.MonkeyPatch, last_words: bytes
) -> None:
    hang_up, lost = asyncio.Event(), asyncio.Event()
    forget = Pool._lost

    def noted(pool: Pool, connection: Connection) -> None:
        forget(pool, connection)
        lost.set()

    monkeypatch.setattr(Pool, "_lost", noted)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        if not hang_up.is_set():
            await hang_up.wait()
            await peer.say(last_words)
            return
        await peer.request()
        await peer.say(OK)

    async with pooled(script) as (pool, server):
        assert isinstance(await ask(pool), Response)

        async def closed(number: int) -> None:
            if number == 0 and server.connections == 1:
                hang_up.set()
                await lost.wait()

        outcome = await ask(pool, Slices(3, before=closed).request())
        assert isinstance(outcome, Response)
        assert outcome.status == 200, "an answer to nothing was taken for one to this"
        assert server.connections == 2


@pytest.mark.P3
async def test_what_the_kernel_would_not_take_was_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The connection is reset in the moment between looking at it and writing.
    monkeypatch.setattr(Connection, "is_quiet", lambda _: True)
    loop = asyncio.get_running_loop()

    def answer_one() -> socket.socket:
        accepted, _ = listener.accept()
        accepted.recv(1000)
        accepted.sendall(OK)
        return accepted

    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = Endpoint.parse(f"http://127.0.0.1:{listener.getsockname()[1]}")
        pool = Pool(endpoint, None, deadlines=Deadlines())
        first = loop.run_in_executor(None, answer_one)
        assert isinstance(await ask(pool), Response)
        with await first as kept:
            second = loop.run_in_executor(None, answer_one)
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            kept.close()
            assert isinstance(await ask(pool), Response), "it was not tried again"
        (await second).close()
        await pool.close()


@pytest.mark.P3
async def test_a_kept_connection_that_breaks_after_the_request_is_not_tried_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        await peer.request()
        peer.hang_up()

    async with pooled(script) as (pool, server):
        assert isinstance(await ask(pool), Response)
        assert stage(await ask(pool)) is Stage.NO_ANSWER
        assert server.connections == 1


@pytest.mark.P3
async def test_what_is_said_between_requests_ends_the_connection() -> None:
    said = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        await peer.say(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        said.set()
        await peer.reader.read(1)

    async with pooled(script) as (pool, server):
        for number in (1, 2, 3):
            outcome = await ask(pool)
            assert isinstance(outcome, Response)
            assert outcome.status == 200, "an answer to nothing was taken for one to this"
            assert server.connections == number
            await said.wait()
            said.clear()


async def test_what_is_said_while_nothing_is_asked_ends_the_connection_at_once() -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        await asyncio.sleep(0)
        await peer.say(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        assert not await peer.reader.read(1)
        gone.set()

    async with pooled(script) as (pool, _):
        assert isinstance(await ask(pool), Response)
        await gone.wait()


@pytest.mark.P3
async def test_two_answers_at_once_are_one_answer_and_the_end_of_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK + OK)
        await peer.reader.read(1)

    async with pooled(script) as (pool, server):
        for number in (1, 2):
            assert isinstance(await ask(pool), Response)
            assert server.connections == number


async def test_a_connection_idle_for_too_long_is_not_used_again() -> None:
    async with pooled(answer_always, Deadlines(idle=timedelta(0))) as (pool, server):
        for number in (1, 2):
            assert isinstance(await ask(pool), Response)
            assert server.connections == number


async def test_connections_nobody_needs_are_closed() -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        assert not await peer.reader.read(1)
        gone.set()

    async with pooled(script, Deadlines(idle=SOON)) as (pool, _):
        assert isinstance(await ask(pool), Response)
        await gone.wait()


async def test_only_connections_idle_for_too_long_are_closed() -> None:
    async with pooled(answer_always, Deadlines(idle=timedelta(hours=1))) as (pool, server):
        await asyncio.gather(ask(pool), ask(pool))
        older, newer = pool._idle
        older.idle_since -= 3600
        pool._sweep_now()
        assert pool._idle == [newer]
        assert isinstance(await ask(pool), Response)
        assert server.connections == 2


# --- ends -----------------------------------------------------------------------------------------


async def test_a_cancelled_call_closes_its_connection() -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        assert not await peer.reader.read(1)
        gone.set()

    async with pooled(script) as (pool, _):
        call = asyncio.create_task(ask(pool))
        await asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await gone.wait()


async def test_a_call_cancelled_as_its_answer_comes_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = asyncio.Event()
    calls: list[asyncio.Task[Response | Broken]] = []
    answered = Connection._answered

    def answered_and_cancelled(connection: Connection, response: Response) -> None:
        answered(connection, response)
        calls[0].cancel()

    monkeypatch.setattr(Connection, "_answered", answered_and_cancelled)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(OK)
        assert not await peer.reader.read(1)
        gone.set()

    async with pooled(script) as (pool, _):
        calls.append(asyncio.create_task(ask(pool)))
        with pytest.raises(asyncio.CancelledError):
            await calls[0]
        await gone.wait()


async def test_a_call_cancelled_while_it_connects_leaves_nothing_open() -> None:
    async with pooled(answer_always) as (pool, _):
        call = asyncio.create_task(ask(pool))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert isinstance(await ask(pool), Response)


@pytest.mark.P3
async def test_a_pool_that_closes_breaks_what_is_under_way() -> None:
    asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await peer.reader.read(1)

    async with pooled(script) as (pool, _):
        call = asyncio.create_task(ask(pool))
        await asked.wait()
        await pool.close()
        assert stage(await call) is Stage.NO_ANSWER
        assert stage(await ask(pool)) is Stage.NOT_SENT


@pytest.mark.P3
async def test_a_pool_that_closes_while_it_connects_sends_nothing() -> None:
    async with pooled(answer_always) as (pool, _):
        call = asyncio.create_task(ask(pool))
        await asyncio.sleep(0)
        await pool.close()
        assert stage(await call) is Stage.NOT_SENT
