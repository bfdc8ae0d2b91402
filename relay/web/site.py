"""An HTTP listener: one application on one socket. Knows binding and closing, no routes."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from relay.facts import Facts
from relay.ports import SpoolError

KEEPALIVE: Final = 15.0  # seconds
# How long requests under way may take once we close.
CLOSE_WAIT: Final = 5.0


class Site:
    """One web application, served from `listen` until `close`."""

    def __init__(self, app: web.Application, facts: Facts) -> None:
        # It logs what a stranger sent, with a traceback, for every malformed request.
        logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
        app.middlewares.append(_guard(facts))
        self._runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=KEEPALIVE, shutdown_timeout=CLOSE_WAIT
        )
        self._path: Path | None = None

    async def listen(self, host: str, port: int) -> int:
        """Serve on a TCP port; return it (port 0 takes a free one). Raises OSError."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, reuse_address=True)
        await site.start()
        address: tuple[str, int] = self._runner.addresses[0][:2]
        return address[1]

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
