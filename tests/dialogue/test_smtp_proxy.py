"""Clients behind a proxy: the PROXY header over real sockets, whole, in pieces, glued, and wrong."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from relay.policy.admission import Auth
from relay.smtp import preamble
from relay.smtp.settings import AuthWithoutTls, Deadlines, ListenerSettings, TlsMode
from tests.dialogue.house import (
    PATIENT,
    Caller,
    House,
    a_house,
    a_known_sender,
    a_listener,
    trusting,
    until,
)

LOOPBACK = ip_network("127.0.0.0/8")
TOO_MANY = b"421 4.3.2 Too many connections, try again later\r\n"

V1 = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 587\r\n"
V2_START = b"\r\n\r\n\0\r\nQUIT\n"
V2_ADDRESSES = bytes([192, 0, 2, 1, 198, 51, 100, 1]) + struct.pack("!HH", 56324, 587)
V2_TLV = b"\x05\x00\x04uuid"
V2 = V2_START + b"\x21\x11" + struct.pack("!H", 19) + V2_ADDRESSES + V2_TLV
V2_LOCAL = V2_START + b"\x20\x00\x00\x00"
HEADERS = {"v1": V1, "v2": V2}


def behind_a_proxy(
    tls: TlsMode = TlsMode.OFF, auth: Auth = Auth.OFF, max_connections: int = 1000
) -> ListenerSettings:
    return a_listener(tls, auth, max_connections=max_connections, trusted_proxies=(LOOPBACK,))


@pytest.fixture(name="waits")
def _waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """For how many octets the server went to sleep, each time it did."""
    waits: list[int] = []
    wake_at = preamble._wake_at

    def note(wire: socket.socket, octets: int) -> None:
        wake_at(wire, octets)
        waits.append(octets)

    monkeypatch.setattr(preamble, "_wake_at", note)
    return waits


@pytest.fixture(name="house")
async def _house() -> AsyncIterator[House]:
    """A house that knows its sender by the network behind the proxy, and by no other."""
    sender = replace(a_known_sender(), networks=(ip_network("192.0.2.0/24"),))
    async with a_house(sender, listener=behind_a_proxy()) as house:
        yield house


def peers(house: House) -> list[str]:
    return [peer for _, _, peer in house.told("session_opened")]


def refusals(house: House) -> list[str]:
    return [reason for *_, reason in house.told("connection_refused")]


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
async def test_the_client_is_who_the_header_says(header: bytes, house: House) -> None:
    async with await Caller.at(house.port) as caller:
        caller.writer.write(header + b"EHLO app.test\r\nMAIL FROM:<billing@example.com>\r\n")
        assert (await caller.hear()).startswith("220 ")
        assert (await caller.hear()).startswith("250-")
        assert (await caller.hear()).startswith("250 2.1.0 ")
    assert peers(house) == ["192.0.2.1"]


async def test_the_client_is_known_by_its_own_network(house: House) -> None:
    async with await Caller.at(house.port) as caller:
        caller.writer.write(b"PROXY TCP6 2001:db8::1 2001:db8::2 1 25\r\n")
        await caller.greet()
        assert (await caller.ask("MAIL FROM:<billing@example.com>")).startswith("550 5.7.1 ")
    assert peers(house) == ["2001:db8::1"]


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
async def test_a_header_may_be_cut_anywhere(header: bytes, house: House, waits: list[int]) -> None:
    for at in range(1, len(header)):
        waits.clear()
        async with await Caller.at(house.port) as caller:
            caller.writer.write(header[:at])
            await until(lambda: waits)
            # It sleeps for more than there is: what is there would wake it again and again.
            assert at < waits[0] <= len(header)
            caller.writer.write(header[at:] + b"EHLO app.test\r\n")
            assert (await caller.hear()).startswith("220 ")
            assert (await caller.hear()).startswith("250-")
    assert set(peers(house)) == {"192.0.2.1"}


@pytest.mark.P6
@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
async def test_a_header_may_come_octet_by_octet(
    header: bytes, house: House, waits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    peek = preamble._peek

    def look(wire: socket.socket) -> bytes | None:
        nonlocal looks
        looks += 1
        return peek(wire)

    monkeypatch.setattr(preamble, "_peek", look)
    async with await Caller.at(house.port) as caller:
        wire = caller.writer.get_extra_info("socket")
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in header:
            caller.writer.write(bytes([octet]))
            await asyncio.sleep(0)
        await caller.greet()
    # Each look that was not enough ended in a sleep for more; the last sleep is undone.
    assert looks <= len(waits) + 2
    assert peers(house) == ["192.0.2.1"]


@pytest.mark.parametrize(
    "header", [b"PROXY UNKNOWN\r\n", V2_LOCAL, V2_START + b"\x21\x00\x00\x00"], ids=repr
)
async def test_who_is_not_named_is_who_connects(header: bytes, house: House) -> None:
    async with await Caller.at(house.port) as caller:
        caller.writer.write(header)
        await caller.greet()
    assert peers(house) == ["127.0.0.1"]


async def shake_hands(caller: Caller, header: bytes, context: ssl.SSLContext) -> bytes:
    """Send the header and the ClientHello in one piece; return what is said first under TLS."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="relay.test")

    async def answered(attempt: Callable[[], bytes | None]) -> bytes | None:
        nonlocal header
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                return attempt()
            caller.writer.write(header + outgoing.read())
            header = b""
            incoming.write(await caller.reader.read(65536))

    await answered(tls.do_handshake)
    caller.writer.write(outgoing.read())
    return await answered(lambda: tls.read(1000)) or b""


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
async def test_a_header_may_be_glued_to_a_client_hello(header: bytes, certificate: Path) -> None:
    listener = behind_a_proxy(TlsMode.IMPLICIT)
    async with (
        a_house(listener=listener, certificate=certificate) as house,
        await Caller.at(house.port) as caller,
        asyncio.timeout(5),
    ):
        assert (await shake_hands(caller, header, trusting(certificate))).startswith(b"220 ")
        assert peers(house) == ["192.0.2.1"]
        caller.writer.transport.abort()


async def test_who_arrives_while_the_listener_is_taken_away_is_told(certificate: Path) -> None:
    listener = behind_a_proxy(TlsMode.IMPLICIT)
    async with (
        a_house(listener=listener, certificate=certificate) as house,
        await Caller.at(house.port) as caller,
        asyncio.timeout(5),
    ):
        await until(lambda: not house.door.listeners[0].is_deserted)
        # As a reload does.
        change = await house.door.prepare([replace(a_listener(), name="other")])
        house.tls.clear()
        change.enact()
        assert (await shake_hands(caller, V1, trusting(certificate))).startswith(b"220 ")
        # And told to go, as those who were there before.
        await caller.rest()


async def test_starttls_behind_a_proxy_keeps_the_client(certificate: Path) -> None:
    listener = behind_a_proxy(TlsMode.STARTTLS)
    sender = replace(a_known_sender(), networks=(ip_network("192.0.2.0/24"),))
    async with (
        a_house(sender, listener=listener, certificate=certificate) as house,
        await Caller.at(house.port) as caller,
    ):
        caller.writer.write(V2)
        await caller.greet()
        await caller.ask("STARTTLS")
        await caller.start_tls(trusting(certificate))
        await caller.ask("EHLO app.test")
        assert (await caller.ask("MAIL FROM:<billing@example.com>")).startswith("250 ")


@pytest.mark.P7
@pytest.mark.parametrize(
    "octets",
    [
        b"EHLO app.test\r\n",
        b"PROXY TCP4 192.0.2.1\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 1 25\nEHLO app.test\r\n",
        b"PROXY " + b"x" * 102,
        V2_START + b"\x11\x11\x00\x0c" + V2_ADDRESSES,
        V2_START + b"\x21\x11\x00\x0b" + V2_ADDRESSES,
        V2_START + b"\x21\x11\xff\xff" + bytes(65535),
    ],
    ids=lambda octets: repr(octets[:20]),
)
async def test_without_a_header_nobody_is_served(octets: bytes, house: House) -> None:
    async with await Caller.at(house.port) as caller:
        caller.writer.write(octets)
        with contextlib.suppress(ConnectionResetError):
            assert await caller.rest() == b""
    assert refusals(house) == ["proxy_header"]
    assert not house.told("session_opened")
    assert not house.door.listeners[0].places


@pytest.mark.P7
async def test_only_a_proxy_may_say_who_the_client_is() -> None:
    listener = a_listener(trusted_proxies=(ip_network("192.0.2.0/24"), ip_network("::/1")))
    async with a_house(listener=listener) as house:
        async with await Caller.at(house.port) as caller:
            with contextlib.suppress(ConnectionResetError):
                assert await caller.rest() == b""
        assert house.told("connection_refused") == [("legacy", "127.0.0.1", "proxy")]
        assert not house.told("session_opened")


@pytest.mark.P6
@pytest.mark.parametrize("part", [b"", b"P", V1[:-1], V2[:20]])
async def test_a_header_has_a_deadline(part: bytes) -> None:
    deadlines = Deadlines(proxy_header=0.05)
    async with (
        a_house(listener=behind_a_proxy(), deadlines=deadlines) as house,
        await Caller.at(house.port) as caller,
    ):
        caller.writer.write(part)
        with contextlib.suppress(ConnectionResetError):
            assert await caller.rest() == b""
        assert refusals(house) == ["proxy_header"]
        assert not house.door.listeners[0].places


async def test_a_proxy_that_goes_within_the_header_is_not_waited_for(house: House) -> None:
    for part in (b"P", V1[:-1], V2[:20]):
        async with asyncio.timeout(5), await Caller.at(house.port) as caller:
            caller.writer.write(part)
            caller.writer.write_eof()
            with contextlib.suppress(ConnectionResetError):
                assert await caller.rest() == b""
        async with await Caller.at(house.port) as caller:
            caller.writer.write(part)
            caller.reset()
    await house.told_of("connection_refused", times=6)
    assert not house.door.listeners[0].places


async def test_a_proxy_that_only_looks_is_nobody(house: House) -> None:
    async with await Caller.at(house.port) as caller:
        caller.writer.write_eof()
        assert await caller.rest() == b""
    await until(lambda: not house.door.listeners[0].places)
    assert not house.facts.told


@pytest.mark.P7
async def test_a_client_behind_a_proxy_is_never_on_this_host() -> None:
    listener = replace(behind_a_proxy(auth=Auth.OPTIONAL), auth_without_tls=AuthWithoutTls.LOOPBACK)
    async with a_house(listener=listener) as house:
        for header in (b"PROXY TCP4 127.0.0.1 127.0.0.1 1 25\r\n", V2_LOCAL):
            async with await Caller.at(house.port) as caller:
                caller.writer.write(header)
                assert "AUTH" not in await caller.greet()
                reply = await caller.ask("AUTH PLAIN AGJpbGxpbmcAc3dvcmRmaXNo")
                assert reply.startswith("538 5.7.11 ")


@pytest.mark.P6
async def test_a_share_is_that_of_the_client_and_not_of_the_proxy() -> None:
    async with a_house(listener=behind_a_proxy(max_connections=84)) as house:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(21):
                caller = await stack.enter_async_context(await Caller.at(house.port))
                caller.writer.write(V1)
                assert (await caller.hear()).startswith("220 ")
            async with await Caller.at(house.port) as one_more:
                one_more.writer.write(V2)
                assert await one_more.rest() == TOO_MANY
            async with await Caller.at(house.port) as another:
                another.writer.write(V1.replace(b"192.0.2.1", b"192.0.2.2"))
                assert (await another.hear()).startswith("220 ")
        assert house.told("connection_refused") == [("legacy", "192.0.2.1", "limit")]


@pytest.mark.P6
async def test_headers_that_are_waited_for_take_up_places() -> None:
    async with a_house(listener=behind_a_proxy(max_connections=2)) as house:
        async with (
            await Caller.at(house.port),
            await Caller.at(house.port),
            await Caller.at(house.port) as third,
        ):
            assert await third.rest() == TOO_MANY
        await until(lambda: not house.door.listeners[0].places)


async def test_a_drain_does_not_wait_for_a_header(house: House) -> None:
    async with await Caller.at(house.port) as caller:
        caller.writer.write(V1[:10])
        await until(lambda: house.door.listeners[0].places)
        async with asyncio.timeout(5):
            await house.door.drain(30)
        with contextlib.suppress(ConnectionResetError):
            assert await caller.rest() == b""
    assert not house.door.listeners[0].places


async def test_a_header_on_a_listener_without_a_proxy_is_an_error() -> None:
    async with a_house(deadlines=PATIENT) as house:
        for header in HEADERS.values():
            async with await Caller.at(house.port) as caller:
                await caller.hear()
                caller.writer.write(header)
                assert (await caller.hear())[:1] in "45"
        assert peers(house) == ["127.0.0.1"] * 2
