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
from ipaddress import ip_address
from typing import Protocol

from relay.ses.endpoint import Endpoint
from relay.ses.pool import Deadlines, Pool
from relay.ses.proxy import Proxy
from relay.ses.sdk import Aws
from relay.ses.signer import Signer


class Operation(Protocol):
    """What of an operation decides where it goes, and how it is signed (relay.ses.api.Api)."""

    @property
    def service(self) -> str:
        """What the AWS SDK calls the API."""
        ...

    @property
    def path(self) -> str:
        """What is appended to the path of the endpoint."""
        ...

    @property
    def method(self) -> str:
        """Of the request."""
        ...

    @property
    def content_type(self) -> str:
        """Of its body; empty where it has none."""
        ...


@dataclass(frozen=True, slots=True)
class Line:
    """The way to one operation of SES."""

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
        self._drawn: dict[tuple[str, str], Line] = {}
        self._pools: dict[Endpoint, Pool] = {}
        self._tls: ssl.SSLContext | None = None

    async def to(self, operation: Operation) -> Line:
        """Return the way, drawing it the first time; raise what the SDK raises, or ValueError."""
        line = self._drawn.get((operation.service, operation.path))
        if line is None:
            loop = asyncio.get_running_loop()
            line = await loop.run_in_executor(self._threads, self.draw, operation)
        return line

    def draw(self, operation: Operation) -> Line:
        """Find the way; in a thread. It is found once."""
        key = operation.service, operation.path
        with self._lock:
            line = self._drawn.get(key)
            if line is None:
                line = self._drawn[key] = self._draw(operation)
            return line

    async def close(self) -> None:
        """Close every connection and return once they are gone."""
        for pool in self._pools.values():
            await pool.close()

    def _draw(self, operation: Operation) -> Line:
        aws = self._aws()
        url = aws.endpoint_url(operation.service)
        root = Endpoint.parse(url)
        path = root.path.removesuffix("/") + operation.path if operation.path else root.path
        endpoint = replace(root, path=path)
        place = replace(root, path="")
        proxy = _proxy(aws, url, root)
        pool = self._pools.get(place)
        if pool is None:
            tls = self._tls_context(aws) if root.is_tls else None
            pool = self._pools[place] = Pool(root, tls, deadlines=self._deadlines, proxy=proxy)
        signer = Signer(
            endpoint,
            self._region,
            operation.content_type,
            method=operation.method,
            # With TLS it opens a tunnel, and sees none of the requests.
            proxy=None if root.is_tls else proxy,
        )
        return Line(pool, signer)

    def _tls_context(self, aws: Aws) -> ssl.SSLContext:
        if self._tls is None:
            # Reading the system's certificates takes some 20 ms.
            self._tls = ssl.create_default_context(cafile=aws.ca_bundle())
        return self._tls


def _proxy(aws: Aws, url: str, root: Endpoint) -> Proxy | None:
    """Return the proxy by which an endpoint is reached, as the SDK would go by it.

    But for a plain endpoint on this machine, such as a simulator: no proxy could reach it.
    """
    if not root.is_tls and _is_here(root.host):
        return None
    by = aws.proxy(url)
    return None if by is None else Proxy.parse(by, f"{'HTTPS' if root.is_tls else 'HTTP'}_PROXY")


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
