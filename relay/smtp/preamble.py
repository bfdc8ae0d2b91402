"""Takes the PROXY header from a connection, and not one octet of what follows it.

What follows may be a TLS handshake that the event loop must read from the socket itself: octets
taken too many could not be put back. Does not know what a header says.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from relay.smtp.proxy import HEADER_LIMIT, ProxyHeaderError, length

# Octets the system has before it calls a socket readable (socket(7)).
_READABLE: Final = 1


async def take_header(
    loop: asyncio.AbstractEventLoop, wire: socket.socket, seconds: float
) -> bytes:
    """Return the header that a connection begins with; empty when it ended without an octet.

    Raises ProxyHeaderError when there is none within so many seconds, and OSError.
    """
    needed = _READABLE
    try:
        async with asyncio.timeout(seconds):
            while True:
                seen = _peek(wire)
                if seen is not None:
                    if not seen:
                        return b""
                    if len(seen) < needed:
                        # Woken without what was waited for: the client has ended.
                        raise ProxyHeaderError
                    needed = length(seen)
                    if needed <= len(seen):
                        break
                    # A part of a header stays where it is, and so the socket readable: without
                    # this, waiting for the rest would be a loop that never rests.
                    _wake_at(wire, needed)
                await _readable(loop, wire)
    except TimeoutError:
        raise ProxyHeaderError from None
    _wake_at(wire, _READABLE)
    return wire.recv(needed)


def _peek(wire: socket.socket) -> bytes | None:
    """Look at what has arrived; None while nothing has."""
    try:
        return wire.recv(HEADER_LIMIT, socket.MSG_PEEK)
    except BlockingIOError:
        return None


def _wake_at(wire: socket.socket, octets: int) -> None:
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, octets)


async def _readable(loop: asyncio.AbstractEventLoop, wire: socket.socket) -> None:
    """Return once there is something to read, or the end."""
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(wire, _done, readable)
    try:
        await readable
    finally:
        loop.remove_reader(wire)


def _done(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)
