"""The wire under one SMTP session: what the event loop does to it, and TLS put in between.

Does not know lines: a subclass hears and says them.
"""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from typing import Final, cast

from aiosmtpd.smtp import SMTP

from relay.smtp.settings import Deadlines

# What the reader holds before it stops the client: also the longest line it can find an end for.
READ_AHEAD: Final = 32768
# Replies written but not yet taken by the client.
_UNREAD: Final = 65536


class Wire(SMTP, ABC):
    """What is left of aiosmtpd's SMTP: a protocol with a reader, a writer and a task."""

    # SMTP's own constructor inspects every attribute of itself and of a handler, 0.3 ms for each
    # connection, for hooks and mechanisms we do not use; what remains of SMTP needs these.
    def __init__(self, loop: asyncio.AbstractEventLoop, deadlines: Deadlines) -> None:
        asyncio.StreamReaderProtocol.__init__(
            self,
            asyncio.StreamReader(limit=READ_AHEAD, loop=loop),
            self._cb_client_connected,
            loop=loop,
        )
        self.loop = loop
        self.transport = None
        self.session = None
        self.envelope = None
        self._handle_hooks = {}
        self._original_transport = None
        self._handler_coroutine = None

        self.deadlines = deadlines
        self._wire = cast("asyncio.Transport", None)
        self._is_stalled = False  # the client does not read our replies
        self._is_lost = False

    @abstractmethod
    def distrusted(self) -> None:
        """Take note that the client has shown a certificate that does not verify."""

    @property
    def is_lost(self) -> bool:
        """Whether there is nobody left to answer."""
        return self._is_lost

    def abort(self) -> None:
        """Cut the connection."""
        self._wire.abort()

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
        self.transport = upgraded
        self._reader._transport = upgraded  # type: ignore[attr-defined]  # noqa: SLF001
        self._writer._transport = upgraded  # type: ignore[attr-defined]  # noqa: SLF001
        self._over_ssl = True

    def _use(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast("asyncio.Transport", transport)
        self._wire.set_write_buffer_limits(high=_UNREAD)

    def _reset_timeout(self, duration: float | None = None) -> None:
        """Do nothing: each wait sets its own deadline."""

    def eof_received(self) -> bool:
        """Go on writing: a client that has said all it has to say still wants its replies."""
        if not self._is_lost:
            self._reader.feed_eof()
        # TLS has no half-closed connections; asyncio warns when asked for one.
        return not self._over_ssl

    def pause_writing(self) -> None:
        """Take note that the client does not read."""
        super().pause_writing()
        self._is_stalled = True

    def resume_writing(self) -> None:
        """Take note that it does again."""
        super().resume_writing()
        self._is_stalled = False
