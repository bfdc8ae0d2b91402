"""The listening sockets: opened, counted, and drained. Does not know what a session says."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Sequence
from typing import Any, Final, cast

from relay.smtp.offer import Offer
from relay.smtp.replies import SHUTTING_DOWN, TOO_MANY_CONNECTIONS
from relay.smtp.session import Session
from relay.smtp.sessions import Sessions
from relay.smtp.settings import AuthWithoutTls, Deadlines, ListenerSettings, TlsMode
from relay.smtp.surroundings import Surroundings

__all__ = [
    "AuthWithoutTls",
    "Deadlines",
    "FrontDoor",
    "Listener",
    "ListenerSettings",
    "Surroundings",
    "TlsMode",
]

# Connections the system may hold ready while we are busy.
_BACKLOG: Final = 1024


class _Overflow(asyncio.Protocol):
    """A connection above the limit: told so, and closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        wire = cast("asyncio.Transport", transport)
        wire.write(TOO_MANY_CONNECTIONS.line)
        wire.close()


class Listener:
    """One listening address and its sessions."""

    def __init__(self, settings: ListenerSettings, surroundings: Surroundings) -> None:
        if settings.tls is not TlsMode.OFF and surroundings.tls is None:
            raise ValueError(f"listener {settings.name} needs a TLS certificate")
        self.settings = settings
        self.sessions = Sessions()
        self._surroundings = surroundings
        self._offer = Offer(settings)
        self._server: asyncio.AbstractServer | None = None
        self.port = 0
        """The port listened on; 0 until then."""

    async def start(self) -> None:
        """Open the socket; raise OSError when that cannot be."""
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {"backlog": _BACKLOG}
        if self.settings.tls is TlsMode.IMPLICIT:
            deadlines = self._surroundings.deadlines
            options |= {
                "ssl": self._surroundings.tls,
                "ssl_handshake_timeout": deadlines.handshake,
                "ssl_shutdown_timeout": deadlines.linger,
            }
        address = self.settings.host, self.settings.port
        if self.settings.host == "::":
            # asyncio would open this one for IPv6 alone.
            options["sock"] = socket.create_server(
                address,
                family=socket.AF_INET6,
                dualstack_ipv6=socket.has_dualstack_ipv6(),
            )
        else:
            options["host"], options["port"] = address
        server = await loop.create_server(lambda: self._meet(loop), **options)
        self._server = server
        self.port = server.sockets[0].getsockname()[1]

    def _meet(self, loop: asyncio.AbstractEventLoop) -> asyncio.Protocol | Session:
        if len(self.sessions) >= self.settings.max_connections:
            return _Overflow()
        return Session(loop, self.settings, self._surroundings, self._offer, self.sessions)

    def close(self) -> None:
        """Accept no more connections; sessions go on."""
        if self._server is not None:
            self._server.close()
            self._server = None


class FrontDoor:
    """All listeners of the relay."""

    def __init__(self, listeners: Sequence[ListenerSettings], surroundings: Surroundings) -> None:
        # aiosmtpd logs each command a client sends; what happened is told by Facts.
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        self.listeners = [Listener(settings, surroundings) for settings in listeners]

    async def start(self) -> None:
        """Open all sockets, or none: raise OSError when one cannot be opened."""
        try:
            for listener in self.listeners:
                await listener.start()
        except BaseException:
            self._close()
            raise

    @property
    def ports(self) -> dict[str, int]:
        """The port of each listener, by its name."""
        return {listener.settings.name: listener.port for listener in self.listeners}

    async def drain(self, grace: float) -> None:
        """Take no more mail; return once all sessions are gone.

        A client that is sending content, or waiting for its reply, has `grace` seconds to finish.
        """
        self._close()
        for listener in self.listeners:
            listener.sessions.part(SHUTTING_DOWN)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._gone()
        for listener in self.listeners:
            listener.sessions.abort()
        await self._gone()

    def _close(self) -> None:
        for listener in self.listeners:
            listener.close()

    async def _gone(self) -> None:
        for listener in self.listeners:
            await listener.sessions.gone()
