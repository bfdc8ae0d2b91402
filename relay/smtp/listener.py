"""A listener: who is let in, encrypted and greeted.

Does not know what a session says, nor what a PROXY header looks like.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any, Final

from relay.policy.sender import Host
from relay.smtp.doorway import Doorway
from relay.smtp.offer import Offer
from relay.smtp.places import Capacity, Place, Places
from relay.smtp.preamble import take_header
from relay.smtp.proxy import ProxyHeaderError, source
from relay.smtp.replies import LISTENER_CHANGED, NOTHING_IS_KEPT, TOO_MANY_CONNECTIONS
from relay.smtp.session import Session
from relay.smtp.sessions import Sessions
from relay.smtp.settings import ListenerSettings, TlsMode
from relay.smtp.surroundings import Surroundings

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
        # Its own for as long as somebody arrives: a reload takes the name away before that.
        self._tls = surroundings.tls.get(settings.name)
        self._offer = Offer(settings)
        self.doorway: Doorway | None = None
        """Where connections come from; None until it begins, and once it is closed."""
        self._arriving: set[asyncio.Task[None]] = set()
        self._is_implicit = settings.tls is TlsMode.IMPLICIT
        self.port = 0
        """The port listened on; 0 until then."""

    def begin(self, doorway: Doorway) -> None:
        """Let in who comes there."""
        self.doorway, self.port = doorway, doorway.port
        doorway.let_in(self._arrived)

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
        if not self._is_implicit or self._tls is None:
            return {}
        deadlines = self._surroundings.deadlines
        return {
            "ssl": self._tls.current,
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

    def retire(self) -> None:
        """Make room for another with this name or address: each session ends once it owes nothing.

        Its doorway stays open; whoever has it next lets in who comes there.
        """
        self.doorway = None
        self.sessions.part(LISTENER_CHANGED)

    @property
    def is_deserted(self) -> bool:
        """Whether nobody is connected, or about to be."""
        return not (self.sessions or self._arriving)

    def close(self) -> None:
        """Accept no more connections; sessions go on."""
        if self.doorway is not None:
            self.doorway.close()
            self.doorway = None
        # Whoever is still in a handshake has been promised nothing; any other is told in a moment.
        if self._is_implicit or self.settings.trusted_proxies:
            for task in self._arriving:
                task.cancel()

    async def gone(self) -> None:
        """Return once nobody is connected. Only after `close`."""
        await asyncio.gather(*self._arriving, return_exceptions=True)
        await self.sessions.gone()
