"""The ways to SES of one account: connections to an endpoint, and who signs for it, of each API.

A way is drawn when it is first needed, in a thread: the SDK reads files and tables to find it. Both
APIs share their connections where they share an endpoint, as they do at AWS.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from relay.ses.api import Api
from relay.ses.endpoint import Endpoint
from relay.ses.pool import Deadlines, Pool
from relay.ses.proxy import Proxy
from relay.ses.sdk import Aws
from relay.ses.signer import Signer


@dataclass(frozen=True, slots=True)
class Line:
    """The way to one API of SES."""

    pool: Pool
    signer: Signer


class Lines:
    """The ways drawn so far."""

    def __init__(
        self,
        aws: Callable[[], Aws],
        *,
        region: str,
        deadlines: Deadlines,
        threads: Executor,
    ) -> None:
        """`aws` is called in a thread, and may take its time or raise."""
        self._aws = aws
        self._region = region
        self._deadlines = deadlines
        self._threads = threads
        self._lock = threading.Lock()
        self._drawn: dict[str, Line] = {}
        self._pools: dict[Endpoint, Pool] = {}
        self._tls: ssl.SSLContext | None = None

    async def to(self, api: Api) -> Line:
        """Return the way, drawing it the first time; raise what the SDK raises, or ValueError."""
        line = self._drawn.get(api.service)
        if line is None:
            loop = asyncio.get_running_loop()
            line = await loop.run_in_executor(self._threads, self.draw, api)
        return line

    def draw(self, api: Api) -> Line:
        """Find the way; in a thread. It is found once."""
        with self._lock:
            line = self._drawn.get(api.service)
            if line is None:
                line = self._drawn[api.service] = self._draw(api)
            return line

    async def close(self) -> None:
        """Close every connection and return once they are gone."""
        for pool in self._pools.values():
            await pool.close()

    def _draw(self, api: Api) -> Line:
        aws = self._aws()
        url = aws.endpoint_url(api.service)
        root = Endpoint.parse(url)
        path = root.path.removesuffix("/") + api.path if api.path else root.path
        endpoint = replace(root, path=path)
        place = replace(root, path="")
        pool = self._pools.get(place)
        if pool is None:
            tls = self._tls_context(aws) if root.is_tls else None
            # Without TLS a proxy would read the mail, and so would everybody on the way.
            by = aws.proxy(url) if root.is_tls else None
            proxy = None if by is None else Proxy.parse(by)
            pool = self._pools[place] = Pool(root, tls, deadlines=self._deadlines, proxy=proxy)
        return Line(pool, Signer(endpoint, self._region, api.content_type))

    def _tls_context(self, aws: Aws) -> ssl.SSLContext:
        if self._tls is None:
            # Reading the system's certificates takes some 20 ms.
            self._tls = ssl.create_default_context(cafile=aws.ca_bundle())
        return self._tls
