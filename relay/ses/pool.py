"""Connections to one endpoint, kept while they are fresh.

Knows when a connection may be used again and which failures are safe to try again at once. Does
not know what is exchanged. Waiting for a turn is the caller's affair: there is no queue here.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from relay.policy.verdict import Broken, Stage
from relay.ses.connection import Connection, Request, describe
from relay.ses.endpoint import Endpoint
from relay.ses.http1 import Response
from relay.ses.proxy import Proxy
from relay.ses.tls import TlsChannel

CONNECTIONS: Final = 128
"""A bound on file descriptors, well above the calls that delivery makes at once."""

_CLOSING: Final = "the relay is closing its connections"
_TUNNELS: Final = range(200, 300)
_MEBI: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long each step may take."""

    connect: timedelta = timedelta(seconds=5)
    tls: timedelta = timedelta(seconds=5)
    answer: timedelta = timedelta(seconds=60)
    """From the first octet written to the last one read; more for a large request:"""
    answer_per_mebibyte: timedelta = timedelta(seconds=1)
    idle: timedelta = timedelta(seconds=4)
    """Shorter than SES keeps an idle connection, so that it seldom closes one as we write."""


class Pool:
    """Kept connections to one endpoint."""

    def __init__(
        self,
        endpoint: Endpoint,
        tls: ssl.SSLContext | None,
        *,
        deadlines: Deadlines,
        proxy: Proxy | None = None,
        limit: int = CONNECTIONS,
    ) -> None:
        """With a proxy connections are tunnels through it; without TLS they are to it alone."""
        self._endpoint = endpoint
        self._tls = tls
        self._deadlines = deadlines
        self._proxy = proxy
        self._limit = limit
        self._idle_limit = deadlines.idle.total_seconds()
        self._answer_limit = deadlines.answer.total_seconds()
        self._answer_limit_per_octet = deadlines.answer_per_mebibyte.total_seconds() / _MEBI
        self._idle: list[Connection] = []  # the freshest last
        self._open: set[Connection] = set()
        self._dialling = 0
        self._is_closed = False
        self._sweep: asyncio.TimerHandle | None = None
        self._all_lost = asyncio.Event()

    async def exchange(self, request: Request, length: int) -> Response | Broken:
        """Make one exchange, on a kept connection or a new one; `length` is the body's.

        A kept connection that fails before the request was written was closed by SES in the
        meantime: nothing was sent, so a new one is tried at once. All else is returned.
        """
        seconds = self._answer_limit + self._answer_limit_per_octet * length
        connection = self._fresh()
        if connection is not None:
            outcome = await self._exchange(connection, request, seconds)
            if not (isinstance(outcome, Broken) and outcome.stage is Stage.NOT_SENT):
                return outcome
        opened = await self._connect()
        if isinstance(opened, Broken):
            return opened
        return await self._exchange(opened, request, seconds)

    async def close(self) -> None:
        """Close every connection and return once they are gone; exchanges under way break."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in tuple(self._open):
            connection.abort()
        if self._open:
            await self._all_lost.wait()

    async def _exchange(
        self, connection: Connection, request: Request, seconds: float
    ) -> Response | Broken:
        outcome = await connection.exchange(request, seconds)
        if connection.is_reusable and not self._is_closed:
            self._idle.append(connection)
            if self._sweep is None:
                self._sweep_later()
        return outcome

    def _fresh(self) -> Connection | None:
        """Take the freshest kept connection that is still good; close those that are not."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if now - connection.idle_since < self._idle_limit and connection.is_quiet():
                return connection
            connection.abort()
        return None

    async def _connect(self) -> Connection | Broken:
        if self._is_closed:
            return Broken(Stage.NOT_SENT, _CLOSING)
        if len(self._open) + self._dialling >= self._limit:
            return Broken(Stage.NOT_SENT, f"all {self._limit} connections are in use")
        proxy, endpoint = self._proxy, self._endpoint
        if proxy is None:
            opened = await self._dial(endpoint.host, endpoint.port, endpoint.authority)
        else:
            opened = await self._dial(proxy.host, proxy.port, f"the proxy {proxy.name}")
            if isinstance(opened, Connection) and self._tls is not None:
                opened = await self._tunnel(opened, proxy)
        if isinstance(opened, Broken) or self._tls is None:
            return opened
        return await self._secure(opened, self._tls)

    async def _dial(self, host: str, port: int, name: str) -> Connection | Broken:
        seconds = self._deadlines.connect.total_seconds()
        loop = asyncio.get_running_loop()
        self._dialling += 1
        try:
            async with asyncio.timeout(seconds):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._lost), host, port
                )
        except OSError as error:
            return _unopened(f"no connection to {name}", error, seconds)
        finally:
            self._dialling -= 1
        if self._is_closed:
            connection.abort()
            return Broken(Stage.NOT_SENT, _CLOSING)
        self._open.add(connection)
        return connection

    async def _tunnel(self, connection: Connection, proxy: Proxy) -> Connection | Broken:
        """Have the proxy connect; whatever becomes of that, nothing of a mail was sent."""
        seconds = self._deadlines.connect.total_seconds()
        request = Request(proxy.request(self._endpoint), b"", opens_tunnel=True)
        outcome = await connection.exchange(request, seconds)
        if isinstance(outcome, Response) and outcome.status in _TUNNELS and connection.is_reusable:
            return connection
        connection.abort()
        said = f"HTTP {outcome.status}" if isinstance(outcome, Response) else outcome.what
        what = f"no tunnel to {self._endpoint.authority} by the proxy {proxy.name}: {said}"
        return Broken(Stage.NOT_SENT, what)

    async def _secure(self, connection: Connection, tls: ssl.SSLContext) -> Connection | Broken:
        endpoint, seconds = self._endpoint, self._deadlines.tls.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                await connection.secure(TlsChannel(tls, endpoint.host))
        except OSError as error:
            connection.abort()
            return _unopened(f"no TLS with {endpoint.authority}", error, seconds)
        except BaseException:
            connection.abort()
            raise
        return connection

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._is_closed and not self._open:
            self._all_lost.set()

    # A connection that nobody needs is closed when it is too old to be used, not kept for hours.

    def _sweep_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(self._idle_limit, self._sweep_now)

    def _sweep_now(self) -> None:
        self._sweep = None
        now = asyncio.get_running_loop().time()
        for connection in tuple(self._idle):
            if now - connection.idle_since >= self._idle_limit:
                self._idle.remove(connection)
                connection.abort()
        if self._idle:
            self._sweep_later()


def _unopened(step: str, error: OSError, seconds: float) -> Broken:
    # asyncio's own TimeoutError has no errno; the kernel's has.
    expired = isinstance(error, TimeoutError) and not error.errno
    what = f"none within {seconds:g} s" if expired else describe(error)
    return Broken(Stage.NOT_SENT, f"{step}: {what}")
