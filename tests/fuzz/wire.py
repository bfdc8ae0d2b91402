"""A connection without a network: what the server says is kept, and the client may stop reading.

Behaves as asyncio's transports do where a session can tell: back-pressure, half-close, close that
waits for what is unread, abort that does not. Knows no SMTP.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

_ADDRESSES: Final = {"peername": ("127.0.0.1", 40000), "sockname": ("127.0.0.1", 25)}


class _Tls:
    """What a session asks of TLS: there is some, and the client has no certificate."""

    def version(self) -> str:
        return "TLSv1.3"

    def getpeercert(self) -> None:
        return None


class Wire(asyncio.Transport):
    """One connection, both ends of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._protocol: Any = None
        self.said = bytearray()
        """All the server wrote while the client was there."""
        self.is_secure = False
        self.is_lost = False
        """Whether the protocol was told that the connection is gone."""
        self.is_deaf = False
        self._unread = 0
        self._high = 65536
        self._is_paused = False
        self._is_ending = False
        self._is_gone = False
        self._is_reading = True
        # What arrived while nothing was to be read, and has not been delivered.
        self._held: bytearray | None = None
        self._has_eof = False

    def connect(self, protocol: asyncio.Protocol) -> None:
        """Join the protocol to the client."""
        self._protocol = protocol
        protocol.connection_made(self)

    # --- the client's end ---

    def arrive(self, octets: bytes) -> None:
        """Bring octets from the client, unless the server does not want any now."""
        if self._is_gone or self._has_eof:
            return
        if self._held is not None:
            self._held += octets
        elif octets and not self._is_ending:
            # In pieces as a socket gives them.
            for start in range(0, len(octets), 262144):
                self._protocol.data_received(octets[start : start + 262144])

    def arrive_eof(self) -> None:
        """Bring the end of what the client has to say."""
        if self._is_gone or self._has_eof:
            return
        self._has_eof = True
        if self._held is None and not self._protocol.eof_received():
            self.close()

    def reset(self) -> None:
        """Let the client be gone."""
        self._lose(ConnectionResetError())

    def deafen(self) -> None:
        """Let the client read no more."""
        self.is_deaf = True

    def hear(self) -> None:
        """Let the client read again all that waits for it."""
        self.is_deaf = False
        self._unread = 0
        if self._is_paused and not self._is_gone:
            self._is_paused = False
            self._protocol.resume_writing()
        if self._is_ending:
            self._lose(None)

    # --- the server's end ---

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return addresses, and something for TLS once there is any."""
        if name == "ssl_object":
            return _Tls() if self.is_secure else default
        return _ADDRESSES.get(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Take note of when to tell the server that nobody reads."""
        self._high = 65536 if high is None else high

    def get_write_buffer_size(self) -> int:
        """Return how much the client has not read."""
        return self._unread

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Say something to the client."""
        if self._is_gone or self._is_ending:
            return
        self.said += data
        if self.is_deaf:
            self._unread += len(data)
            if self._unread > self._high and not self._is_paused:
                self._is_paused = True
                self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        """Half-close is what sockets can do and TLS cannot."""
        return not self.is_secure

    def write_eof(self) -> None:
        """Say that nothing more will be said."""

    def pause_reading(self) -> None:
        """Keep what arrives."""
        self._is_reading = False
        if self._held is None:
            self._held = bytearray()

    def resume_reading(self) -> None:
        """Bring what was kept, later, as a socket would."""
        if not self._is_reading:
            self._is_reading = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        held = self._held
        if not self._is_reading or held is None:
            return
        self._held = None
        if not self._is_gone:
            if held and not self._is_ending:
                self._protocol.data_received(bytes(held))
            if self._has_eof and not self._protocol.eof_received():
                self.close()

    def is_reading(self) -> bool:
        """Whether octets are wanted."""
        return self._is_reading

    def is_closing(self) -> bool:
        """Whether the end has begun."""
        return self._is_ending or self._is_gone

    def close(self) -> None:
        """End it once the client has read everything."""
        if not self._is_ending:
            self._is_ending = True
            if not (self.is_deaf and self._unread):
                self._lose(None)

    def abort(self) -> None:
        """End it now."""
        self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if not self._is_gone:
            self._is_gone = True
            self._loop.call_soon(self._tell, error)

    def _tell(self, error: Exception | None) -> None:
        self.is_lost = True
        self._protocol.connection_lost(error)
        # Let go, as asyncio's transports do: a cycle here would be a leak of ours.
        self._protocol = None

    @property
    def is_gone(self) -> bool:
        """Whether nobody is at the other end."""
        return self._is_gone
