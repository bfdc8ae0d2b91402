"""However much a client sends, or leaves unread, the relay's memory does not grow with it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from relay.simulator import Simulator
from tests.system.conftest import StartRelay
from tests.system.house import Relay
from tests.system.resources import MIB, descriptors, forget_peak, peak, resident, settled

T = TypeVar("T")

FLOOD = 150 * 1000 * 1000
BLOCK = b"x" * MIB
GROWTH = 5 * MIB
# What a system holds for a client that does not read is not the relay's; this keeps it small.
NARROW = 4096


@pytest.fixture
async def relay(start_relay: StartRelay, tmp_path: Path) -> Relay:
    return await start_relay(alone=True, sender="limits: {message_size: 1MiB}")


@contextmanager
def connected(relay: Relay, *, narrow: bool = False) -> Iterator[socket.socket]:
    with socket.socket() as wire:
        if narrow:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
        wire.settimeout(20)
        wire.connect(("127.0.0.1", relay.ports["legacy"]))
        yield wire


def hear(wire: socket.socket, code: bytes) -> None:
    said = b""
    while not said.endswith(b"\r\n"):
        said += wire.recv(4096)
    assert said.splitlines()[-1].startswith(code + b" "), said


def reach_data(wire: socket.socket, start: bytes = b"DATA\r\n") -> None:
    hear(wire, b"220")
    for line, code in (
        (b"EHLO app.test\r\n", b"250"),
        (b"MAIL FROM:<app@example.com>\r\n", b"250"),
        (b"RCPT TO:<jane@example.net>\r\n", b"250"),
    ):
        wire.sendall(line)
        hear(wire, code)
    wire.sendall(start)
    if start.startswith(b"DATA"):
        hear(wire, b"354")


def send_mail(relay: Relay) -> None:
    """Send an ordinary mail, large enough to go through a file."""
    with connected(relay) as wire:
        reach_data(wire)
        wire.sendall(b"From: app@example.com\r\n\r\n" + (b"x" * 76 + b"\r\n") * 10_000 + b".\r\n")
        hear(wire, b"250")


def flood(wire: socket.socket) -> bytes:
    """Send 150 MB without a CRLF, as much as is taken; return the last thing said."""
    with contextlib.suppress(ConnectionError):
        for _ in range(FLOOD // len(BLOCK)):
            wire.sendall(BLOCK)
    # A reset may have come before we looked, and taken the reply with it.
    with contextlib.suppress(ConnectionError):
        return wire.recv(4096)
    return b"reset"


def as_content(relay: Relay) -> bytes:
    with connected(relay) as wire:
        reach_data(wire)
        return flood(wire)


def as_body(relay: Relay) -> bytes:
    with connected(relay) as wire:
        reach_data(wire)
        wire.sendall(b"From: app@example.com\r\n\r\n")
        return flood(wire)


def as_command(relay: Relay) -> bytes:
    with connected(relay) as wire:
        hear(wire, b"220")
        return flood(wire)


def as_argument(relay: Relay) -> bytes:
    with connected(relay) as wire:
        hear(wire, b"220")
        wire.sendall(b"EHLO ")
        return flood(wire)


def as_chunk(relay: Relay) -> bytes:
    with connected(relay) as wire:
        reach_data(wire, b"BDAT 999999999 LAST\r\n")
        return flood(wire)


async def grown(
    relay: Relay, attack: Callable[[Relay], T], usual: Callable[[Relay], object]
) -> tuple[int, T]:
    """Return by how many octets memory was larger at any time of an attack, and what it returned.

    More than for the usual, that is: code that has never run takes memory the first time, and so
    do the first so many connections, whoever makes them.
    """
    await asyncio.to_thread(usual, relay)
    forget_peak(relay.pid)
    before = resident(relay.pid)
    came_of_it = await asyncio.to_thread(attack, relay)
    growth = peak(relay.pid) - before
    print(f"{attack.__name__}: memory grew by {growth / MIB:.2f} MiB; {came_of_it!r}")
    return growth, came_of_it


@pytest.mark.P6
async def test_150_megabytes_without_a_line_end_take_no_memory(relay: Relay) -> None:
    for attack, codes in (
        (as_content, (b"550", b"552")),
        (as_body, (b"552",)),
        (as_command, (b"500",)),
        (as_argument, (b"500",)),
        (as_chunk, (b"500", b"552")),
    ):
        growth, said = await grown(relay, attack, send_mail)
        assert growth < GROWTH, f"{attack.__name__}: memory grew by {growth / MIB:.1f} MiB"
        assert said[:3] in (*codes, b"res"), f"{attack.__name__}: {said!r}"


RECIPIENTS = b"".join(b"RCPT TO:<jane%d@example.net>\r\n" % n for n in range(100))
TRANSACTION = b"MAIL FROM:<app@example.com>\r\n" + RECIPIENTS + b"DATA\r\n"
ACCEPTED = TRANSACTION + b"From: app@example.com\r\n\r\n.\r\n"
# Costs no disk; one in fifty is accepted, which forgives the others.
REFUSED = TRANSACTION + b"From: evil@evil.example\r\n\r\n.\r\n"


def pipelines_and_reads(relay: Relay) -> None:
    """Send as many transactions as the relay's replies to them would fill its windows with."""
    with connected(relay) as wire:
        wire.sendall(b"EHLO app.test\r\n" + ACCEPTED * 50 + b"QUIT\r\n")
        while wire.recv(65536):
            pass


def pipelines_and_never_reads(relay: Relay) -> int:
    """Send transactions until nothing more is taken; return how many octets were."""
    sent = 0
    with connected(relay, narrow=True) as wire:
        wire.sendall(b"EHLO app.test\r\n")
        # Nothing is taken for so long: the relay does not read any more.
        wire.settimeout(0.7)
        with contextlib.suppress(TimeoutError):
            while sent < FLOOD:
                sent += wire.send(REFUSED * 49 + ACCEPTED)
    return sent


@pytest.mark.P6
async def test_a_client_that_pipelines_and_never_reads_takes_no_memory(relay: Relay) -> None:
    growth, sent = await grown(relay, pipelines_and_never_reads, pipelines_and_reads)
    assert growth < GROWTH, f"memory grew by {growth / MIB:.1f} MiB"
    assert sent < FLOOD, "all of it was read, although no reply was"


@pytest.mark.P6
async def test_200_unfinished_headers_take_their_windows_and_give_them_back(
    relay: Relay, simulator: Simulator
) -> None:
    clients, header = 200, b"Subject: " + b"x" * 16000 + b"\r\n"

    def send_at_once(relay: Relay) -> None:
        all_at_once(relay, b"From: app@example.com\r\n\r\n")

    def all_at_once(relay: Relay, octets: bytes = header) -> None:
        with contextlib.ExitStack() as stack:
            wires = [stack.enter_context(connected(relay)) for _ in range(clients)]
            for wire in wires:
                reach_data(wire)
                wire.sendall(octets)
            # Whoever is answered after them: all they sent was read before.
            with connected(relay) as other:
                reach_data(other)

    open_before = descriptors(relay.pid)
    growth, _ = await grown(relay, all_at_once, send_at_once)
    kept = clients * len(header)
    assert growth < kept + GROWTH, f"{kept / MIB:.1f} MiB of headers took {growth / MIB:.1f} MiB"
    assert growth < 2 * GROWTH
    assert await settled(relay.pid, open_before + 3) <= open_before + 3
    assert simulator.taken == 0
