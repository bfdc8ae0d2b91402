"""The wire under one SMTP session: what the event loop does to it, and TLS put in between.

Keeps what has come and not been read. Does not know lines: a subclass hears and says them.
"""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from typing import Final, cast

from aiosmtpd.smtp import SMTP

from relay.smtp.conversation import Conversation
from relay.smtp.settings import Deadlines

READ_AHEAD: Final = 32768
"""Octets kept before the client is stopped, twice over; and the longest line that is looked for."""
# Replies written but not yet taken by the client.
_UNREAD: Final = 65536


class Wire(SMTP, ABC):
    """What is left of aiosmtpd's SMTP: a protocol with a session and a transport."""

    # SMTP's own constructor inspects every attribute of itself and of a handler, 0.3 ms for each
    # connection, for hooks and mechanisms we do not use. Its reader and writer, which are asyncio's
    # streams, cost as much for each line as all we do with it.
    def __init__(self, loop: asyncio.AbstractEventLoop, deadlines: Deadlines) -> None:
        self.loop = loop
        self.session = None
        self.deadlines = deadlines
        self._wire = cast("asyncio.Transport", None)
        self._conversation: Conversation | None = None
        # What has come, and up to where it has been read: always less than all, or it is let go.
        self._come = b""
        self._at = 0
        self._has_ended = False  # the client has said all it will say
        self._is_held_back = False  # the client is not listened to until more has been read
        self._is_stalled = False  # the client does not read our replies
        self._taken: asyncio.Future[None] | None = None  # until the client reads them
        self._is_lost = False
        self._is_idle = False  # nothing is under way that should be finished

    @abstractmethod
    def distrusted(self) -> None:
        """Take note that the client has shown a certificate that does not verify."""

    @property
    def is_lost(self) -> bool:
        """Whether there is nobody left to answer."""
        return self._is_lost

    @property
    def has_more(self) -> bool:
        """Whether the client has sent something that has not been read."""
        return bool(self._come)

    def abort(self) -> None:
        """Cut the connection. What a transport still brings, or has brought, is not heard."""
        self._wire.abort()
        # The end of what the client says, which is no fault; that it is lost we are told later.
        self.interrupt(EOFError())

    @abstractmethod
    def interrupt(self, error: Exception) -> None:
        """Hear nothing more: whoever listens, now or later, has this error raised instead."""

    @abstractmethod
    def go_on(self) -> None:
        """Answer what has come; called when there is more while nothing is awaited."""

    # --- hearing ---

    def listen(self) -> None:
        """Let the client go on, now that what it has sent has been read."""
        if len(self._come) - self._at <= READ_AHEAD:
            self._is_held_back = False
            self._wire.resume_reading()

    def take(self, limit: int) -> bytes:
        """Return what has come, at most so many octets of it."""
        come, at = self._come, self._at
        left = len(come) - at - limit
        if left > 0:
            self._at = at + limit
            return come[at : at + limit]
        self._come, self._at = b"", 0
        return come[at:] if at else come

    def give_back(self, octets: bytes) -> None:
        """Put back what was read too much: it is the next to be heard."""
        self._come = octets + self._come[self._at :]
        self._at = 0

    def withdraw(self) -> None:
        """Cancel what is awaited, if that is not the client."""
        if self._conversation is not None:
            self._conversation.cancel()

    # --- TLS ---

    async def encrypt(self, context: ssl.SSLContext) -> None:
        """Put TLS between us and the client, who was told to begin its handshake."""
        wire = self._wire
        try:
            upgraded = await self.loop.start_tls(
                wire,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=self.deadlines.handshake,
                ssl_shutdown_timeout=self.deadlines.linger,
            )
        except OSError as error:
            upgraded = None
            if isinstance(error, ssl.SSLCertVerificationError):
                self.distrusted()
        # When the client goes during the handshake, asyncio returns nothing and uvloop a transport
        # that leads nowhere; and the layer of TLS may never tell us that the wire is gone.
        if upgraded is None or wire.is_closing():
            wire.abort()
            self.connection_lost(None)
            raise ConnectionResetError
        self._use(upgraded)

    def _use(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast("asyncio.Transport", transport)
        self._wire.set_write_buffer_limits(high=_UNREAD)

    # --- called by the event loop ---

    def data_received(self, data: bytes) -> None:
        """Keep what has come, and wake whoever listens."""
        self._come = self._come[self._at :] + data if self._come else data
        self._at = 0
        conversation = self._conversation
        if conversation is not None:
            conversation.heard()
        elif self._is_idle:
            self.go_on()
        if len(self._come) - self._at > 2 * READ_AHEAD and not self._is_held_back:
            self._is_held_back = True
            self._wire.pause_reading()

    def eof_received(self) -> bool:
        """Go on writing: a client that has said all it has to say still wants its replies."""
        self._has_ended = True
        if self._conversation is not None:
            self._conversation.heard()
        elif self._is_idle:
            self.go_on()
        # TLS has no half-closed connections; asyncio warns when asked for one.
        return self._wire.can_write_eof()

    def pause_writing(self) -> None:
        """Take note that the client does not read."""
        self._is_stalled = True

    def resume_writing(self) -> None:
        """Take note that it does again."""
        self._is_stalled = False
        self._wake_writer()

    async def taken(self) -> None:
        """Return once the client has read most of what was said; raise ConnectionResetError."""
        while self._is_stalled and not self._is_lost:
            self._taken = self.loop.create_future()
            await self._taken
        if self._is_lost:
            raise ConnectionResetError

    def _wake_writer(self) -> None:
        taken, self._taken = self._taken, None
        if taken is not None and not taken.done():
            taken.set_result(None)
