"""TLS without a socket: octets of the wire in, octets of the conversation out, and back.

Knows the handshake and the records. Does not know who carries them. That the connection does so
itself, rather than asyncio, is how it can tell when the last octet of a request has left.
"""

from __future__ import annotations

import ssl


class TlsChannel:
    """The client's end of one TLS connection. Every method may raise ssl.SSLError."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self.is_secured = False
        """The handshake is done and the peer's certificate verified."""
        self.has_ended = False
        """The peer said that it will say no more (close_notify)."""

    def begin(self) -> bytes:
        """Return the first octets of the handshake."""
        self._shake_hands()
        return self.pending()

    def receive(self, octets: bytes) -> bytes:
        """Take octets of the wire; return those of the conversation they hold, if any."""
        self._incoming.write(octets)
        if not self.is_secured:
            self._shake_hands()
            if not self.is_secured:
                return b""
        parts = []
        try:
            while part := self._object.read(65536):
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        else:
            self.has_ended = True
        return b"".join(parts)

    def seal(self, octets: bytes) -> bytes:
        """Return the octets of the wire that carry `octets`, all of them."""
        rest = memoryview(octets)
        while rest:
            rest = rest[self._object.write(rest) :]
        return self.pending()

    def pending(self) -> bytes:
        """Return what TLS itself has to say: handshake, alerts, new keys."""
        return self._outgoing.read()

    def _shake_hands(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        self.is_secured = True
