"""The listeners: who is let in, encrypted and greeted, and how all are drained.

Does not know what a session says.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from relay.policy.sender import Host
from relay.smtp.doorway import Doorway
from relay.smtp.offer import Offer
from relay.smtp.places import Capacity, Places, raise_capacity
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

# How many seconds our last words have to get out, once the time to finish is over.
_LAST_WORDS: Final = 1.0


class Listener:
    """One listening address and its sessions. `capacity` is shared with the other listeners."""

    def __init__(
        self, settings: ListenerSettings, surroundings: Surroundings, capacity: Capacity
    ) -> None:
        if settings.tls is not TlsMode.OFF and surroundings.tls is None:
            raise ValueError(f"listener {settings.name} needs a TLS certificate")
        self.settings = settings
        self._places = Places(settings.max_connections, capacity)
        self.sessions = Sessions(self._places)
        self._surroundings = surroundings
        self._offer = Offer(settings)
        self._doorway: Doorway | None = None
        self._arriving: set[asyncio.Task[None]] = set()
        self._encryption: dict[str, Any] = {}
        if settings.tls is TlsMode.IMPLICIT:
            deadlines = surroundings.deadlines
            self._encryption = {
                "ssl": surroundings.tls,
                "ssl_handshake_timeout": deadlines.handshake,
                "ssl_shutdown_timeout": deadlines.linger,
            }
        self.port = 0
        """The port listened on; 0 until then."""

    async def start(self) -> None:
        """Open the socket; raise OSError when that cannot be."""
        exhausted = partial(self._surroundings.facts.fault, "smtp.accept")
        self._doorway = Doorway(asyncio.get_running_loop(), self._arrived, exhausted)
        self.port = await self._doorway.open(self.settings.host, self.settings.port)

    def _arrived(self, wire: socket.socket, peer: Host) -> None:
        """Let a connection in, or send it away."""
        if self._places.take(peer):
            task = asyncio.get_running_loop().create_task(self._welcome(wire, peer))
            self._arriving.add(task)
            task.add_done_callback(self._arriving.discard)
            return
        with wire:
            # To a client that waits for TLS this would be noise, and TLS is too dear to be given
            # to one that is sent away.
            if not self._encryption:
                with contextlib.suppress(OSError):
                    wire.send(TOO_MANY_CONNECTIONS.line)
        self._surroundings.facts.connection_refused(self.settings.name, str(peer), "limit")

    async def _welcome(self, wire: socket.socket, peer: Host) -> None:
        """Begin the session, after the handshake where there is one."""
        loop = asyncio.get_running_loop()
        session = Session(loop, self.settings, self._surroundings, self._offer, self.sessions, peer)
        try:
            await loop.connect_accepted_socket(lambda: session, wire, **self._encryption)
        except OSError:
            if self._encryption:
                facts = self._surroundings.facts
                facts.connection_refused(self.settings.name, str(peer), "tls")
        finally:
            if not session.has_begun:
                self._places.give_back(peer)

    def close(self) -> None:
        """Accept no more connections; sessions go on."""
        if self._doorway is not None:
            self._doorway.close()
            self._doorway = None
        # Whoever is still in the handshake has been promised nothing.
        for task in self._arriving:
            task.cancel()

    async def gone(self) -> None:
        """Return once nobody is connected. Only after `close`."""
        await asyncio.gather(*self._arriving, return_exceptions=True)
        await self.sessions.gone()


class FrontDoor:
    """All listeners of the relay."""

    def __init__(self, listeners: Sequence[ListenerSettings], surroundings: Surroundings) -> None:
        # aiosmtpd logs each command a client sends; what happened is told by Facts.
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        capacity = raise_capacity()
        self.listeners = [Listener(settings, surroundings, capacity) for settings in listeners]

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
        if await self._gone(within=grace):
            return
        for listener in self.listeners:
            listener.sessions.cut_short(SHUTTING_DOWN)
        if await self._gone(within=_LAST_WORDS):
            return
        for listener in self.listeners:
            listener.sessions.abort()
        await self._gone(within=None)

    def _close(self) -> None:
        for listener in self.listeners:
            listener.close()

    async def _gone(self, *, within: float | None) -> bool:
        """Wait until all sessions are gone; False when that takes too many seconds."""
        try:
            async with asyncio.timeout(within):
                for listener in self.listeners:
                    await listener.gone()
        except TimeoutError:
            return False
        return True
