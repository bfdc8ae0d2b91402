"""An HTTP listener: one application on one socket. Knows binding and closing, no routes."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from relay.facts import Facts
from relay.ports import SpoolError

KEEPALIVE: Final = 15.0  # seconds
# Connections a TCP listener holds; more are closed at once. Every one takes a descriptor that mail
# may need, and neither SNS nor a scraper has as many.
CONNECTIONS: Final = 200
# How long requests under way may take once we close.
CLOSE_WAIT: Final = 5.0


class _Overflow(asyncio.Protocol):
    """A connection there is no room for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class Site:
    """One web application, served from `listen` until `close`."""

    def __init__(self, app: web.Application, facts: Facts) -> None:
        # It logs what a stranger sent, with a traceback, for every malformed request.
        logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
        app.middlewares.append(_guard(facts))
        self._runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=KEEPALIVE, shutdown_timeout=CLOSE_WAIT
        )
        self._listening: list[asyncio.Server] = []
        self._path: Path | None = None

    async def open(self) -> None:
        """Serve on no socket of its own, but only connections it is given."""
        await self._runner.setup()

    async def serve(self, connection: socket.socket) -> None:
        """Serve a connection that somebody else has made."""
        server = self._runner.server
        if server is None:
            raise ConnectionResetError("the site is closed")
        await asyncio.get_running_loop().connect_accepted_socket(server, connection)

    async def listen(self, host: str, port: int, inherited: Sequence[socket.socket] = ()) -> int:
        """Serve on a TCP port; return it (port 0 takes a free one). Raises OSError.

        Where somebody else listens for us, on those sockets, which stay open; the port is that of
        the first.
        """
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        for one in inherited:
            self._listening.append(await loop.create_server(self._meet, sock=one.dup()))
        if not inherited:
            server = await loop.create_server(self._meet, host, port, reuse_address=True)
            self._listening.append(server)
        address: tuple[str, int] = self._listening[0].sockets[0].getsockname()[:2]
        return address[1]

    def _meet(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        if server is None or len(server.connections) >= CONNECTIONS:
            return _Overflow()
        return server()

    async def listen_unix(self, path: Path) -> None:
        """Serve on a unix socket that owner and group may use. Raises OSError.

        A socket left behind by a dead daemon is replaced; a live one is not taken from its owner.
        """
        await asyncio.to_thread(_make_way, path)
        await self._runner.setup()
        # The mode must hold from the first moment, so it comes from the umask, not a later chmod.
        before = os.umask(0o117)
        try:
            await web.UnixSite(self._runner, str(path)).start()
        finally:
            os.umask(before)
        self._path = path

    async def close(self) -> None:
        """Finish requests under way and stop serving."""
        for server in self._listening:
            server.close()
        await self._runner.cleanup()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None


def _guard(facts: Facts) -> Middleware:
    """Return the last boundary of a request: our faults are told, and answered in our words."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except SpoolError as error:
            return web.Response(status=503, text=str(error))
        except Exception as error:  # noqa: BLE001 - the boundary
            facts.fault("web", error)
            return web.Response(status=500, text="internal error; see the log")

    return guard


def _make_way(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise FileExistsError(f"another daemon answers on the admin socket {path}")
