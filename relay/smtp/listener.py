"""The listeners: who is let in, encrypted and greeted, and how all are drained.

Does not know what a session says, nor what a PROXY header looks like.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from relay.policy.sender import Host
from relay.smtp.doorway import Doorway
from relay.smtp.offer import Offer
from relay.smtp.places import Capacity, Place, Places, raise_capacity
from relay.smtp.preamble import take_header
from relay.smtp.proxy import ProxyHeaderError, source
from relay.smtp.replies import NOTHING_IS_KEPT, SHUTTING_DOWN, TOO_MANY_CONNECTIONS
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
# Why a client is not even greeted, as facts have it.
_GOODBYES: Final = {"limit": TOO_MANY_CONNECTIONS, "spool": NOTHING_IS_KEPT}


class Listener:
    """One listening address and its sessions. `capacity` is shared with the other listeners."""

    def __init__(
        self, settings: ListenerSettings, surroundings: Surroundings, capacity: Capacity
    ) -> None:
        if settings.tls is not TlsMode.OFF and settings.name not in surroundings.tls:
            raise ValueError(f"listener {settings.name} needs a TLS certificate")
        self.settings = settings
        self.places = Places(settings.max_connections, capacity)
        self.sessions = Sessions(self.places)
        self._surroundings = surroundings
        self._offer = Offer(settings)
        self._doorway: Doorway | None = None
        self._arriving: set[asyncio.Task[None]] = set()
        self._is_implicit = settings.tls is TlsMode.IMPLICIT
        self.port = 0
        """The port listened on; 0 until then."""

    async def start(self) -> None:
        """Open the socket; raise OSError when that cannot be."""
        exhausted = partial(self._surroundings.facts.fault, "smtp.accept")
        self._doorway = Doorway(asyncio.get_running_loop(), self._arrived, exhausted)
        self.port = await self._doorway.open(self.settings.host, self.settings.port)

    def _arrived(self, wire: socket.socket, peer: Host) -> None:
        """Let a connection in, or send it away."""
        trusted = self.settings.trusted_proxies
        if trusted and not any(peer in network for network in trusted):
            wire.close()
            self._refused(peer, "proxy")
            return
        if not self._surroundings.spool.is_well:
            self._send_away(wire, peer, "spool")
            return
        place = self.places.take()
        # Behind a proxy it is not yet known whose network it is.
        if place is None or not (trusted or place.is_for(peer)):
            if place is not None:
                place.give_back()
            self._send_away(wire, peer, "limit")
            return
        welcome = self._meet(wire, peer, place) if trusted else self._welcome(wire, place)
        task = asyncio.get_running_loop().create_task(welcome)
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def _meet(self, wire: socket.socket, proxy: Host, place: Place) -> None:
        """Let a connection in behind its PROXY header."""
        loop, limit = asyncio.get_running_loop(), self._surroundings.deadlines.proxy_header
        try:
            header = await take_header(loop, wire, limit)
            # A proxy that only looks whether we are there need not say so.
            peer = (source(header) or proxy) if header else None
        except (ProxyHeaderError, OSError):
            peer = None
            self._refused(proxy, "proxy_header")
        except BaseException:
            wire.close()
            place.give_back()
            raise
        if peer is None:
            wire.close()
            place.give_back()
        elif place.is_for(peer):
            await self._welcome(wire, place)
        else:
            place.give_back()
            self._send_away(wire, peer, "limit")

    async def _welcome(self, wire: socket.socket, place: Place) -> None:
        """Begin the session, after the handshake where there is one."""
        loop, surroundings = asyncio.get_running_loop(), self._surroundings
        session = Session(loop, self.settings, surroundings, self._offer, self.sessions, place)
        try:
            await loop.connect_accepted_socket(lambda: session, wire, **self._encryption())
        except ssl.SSLCertVerificationError:
            self._refused(place.host, "certificate")
        except OSError:
            if self._is_implicit:
                self._refused(place.host, "tls")
        finally:
            if not session.has_begun:
                place.give_back()

    def _encryption(self) -> dict[str, Any]:
        """Return how the event loop is to encrypt from the first octet."""
        if not self._is_implicit:
            return {}
        deadlines = self._surroundings.deadlines
        return {
            "ssl": self._surroundings.tls[self.settings.name].current,
            "ssl_handshake_timeout": deadlines.handshake,
            "ssl_shutdown_timeout": deadlines.linger,
        }

    def _send_away(self, wire: socket.socket, peer: Host, reason: str) -> None:
        """Tell a client in the place of a greeting that it has come in vain."""
        with wire:
            # To a client that waits for TLS this would be noise, and TLS is too dear to be given
            # to one that is sent away.
            if not self._is_implicit:
                with contextlib.suppress(OSError):
                    wire.send(_GOODBYES[reason].line)
        self._refused(peer, reason)

    def _refused(self, peer: Host, reason: str) -> None:
        self._surroundings.facts.connection_refused(self.settings.name, str(peer), reason)

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

    async def drain(
        self, grace: float, answered: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Take no more mail; return once all sessions are gone.

        A client that is sending content, or waiting for its reply, has `grace` seconds to finish.
        One that waits for SES has until `answered` returns: no call is begun then, and none under
        way.
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
        if answered is not None:
            for listener in self.listeners:
                listener.sessions.abort(spare_owed=True)
            await answered()
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
