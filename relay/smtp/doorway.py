"""Listening sockets, and the connections they bring. Does not know what is said on them."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from typing import Final

from relay.policy.sender import Host, host_of

# Connections the system may hold ready while we are busy, and how many of them are taken at once.
_BACKLOG: Final = 1024
_AT_ONCE: Final = 64
# When the system has nothing left for another connection, how long in seconds until we ask again:
# the socket stays readable, and asking at once would be all we do.
_PAUSE: Final = 1.0
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Doorway:
    """The sockets of one listener; connections wait in them until somebody lets them in."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, exhausted: Callable[[OSError], None]
    ) -> None:
        """`exhausted` is told, once a second, that the system has nothing left for another."""
        self._loop = loop
        self._exhausted = exhausted
        self._arrived: Callable[[socket.socket, Host], None] | None = None
        self._sockets: list[socket.socket] = []
        self._inherited: Sequence[socket.socket] = ()

    @property
    def port(self) -> int:
        """The port listened on."""
        return int(self._sockets[0].getsockname()[1])

    @property
    def is_inherited(self) -> bool:
        """Whether the sockets are not ours: they outlive us, and so do connections in them."""
        return bool(self._inherited)

    def adopt(self, sockets: Sequence[socket.socket]) -> None:
        """Serve sockets that somebody else listens on; they are never closed here."""
        self._inherited = sockets
        for one in sockets:
            self._prepare(one)

    async def open(self, host: str, port: int) -> None:
        """Listen on every address of the host. Raises OSError."""
        # Both protocols by one socket: two of them could not share a port the system chooses.
        if host == "::" and socket.has_dualstack_ipv6():
            self._listen(socket.AF_INET6, (host, port), dualstack=True)
        else:
            found = await self._loop.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            try:
                for family, _, _, _, address in dict.fromkeys(found):
                    self._listen(family, (str(address[0]), int(address[1])), dualstack=False)
            except OSError:
                self.close()
                raise

    def _listen(self, family: int, address: tuple[str, int], *, dualstack: bool) -> None:
        listening = socket.create_server(
            address, family=family, backlog=_BACKLOG, dualstack_ipv6=dualstack
        )
        self._prepare(listening)

    def _prepare(self, listening: socket.socket) -> None:
        listening.setblocking(False)
        # What is accepted inherits it: a reply must not wait for the client to acknowledge another.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets.append(listening)

    def let_in(self, arrived: Callable[[socket.socket, Host], None]) -> None:
        """Give each connection, and where it comes from, to this from now on."""
        was_open, self._arrived = self._arrived is not None, arrived
        if not was_open:
            for listening in self._sockets:
                self._loop.add_reader(listening, self._accept, listening)

    def close(self) -> None:
        """Let nobody in any more. Who waits in an inherited socket waits for who serves it next."""
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            if not self.is_inherited:
                listening.close()
        self._sockets.clear()

    def _accept(self, listening: socket.socket) -> None:
        arrived = self._arrived
        if arrived is None:
            return
        for _ in range(_AT_ONCE):
            try:
                wire, address = listening.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._exhausted(error)
                    self._loop.remove_reader(listening)
                    self._loop.call_later(_PAUSE, self._resume, listening)
                # Else there is none left, or one whose network failed before we took it.
                return
            wire.setblocking(False)
            arrived(wire, host_of(address[0]))

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)
