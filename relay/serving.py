"""The HTTP side of the daemon: metrics and health, the admin socket, the feedback webhook.

Part of the composition root. Knows which application is served where; none of what they answer.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web

from relay.activation import HTTP, Inherited
from relay.config.values import ListenAddress
from relay.facts import Facts
from relay.web.site import Site
from relay.wiring import naming


class Serving:
    """Opens sites, each of which is closed with `stack`."""

    def __init__(self, stack: AsyncExitStack, facts: Facts, inherited: Inherited) -> None:
        self._stack = stack
        self._inherited = inherited
        self._facts = facts

    async def listen(self, app: web.Application, name: str, at: ListenAddress) -> int:
        """Serve on a TCP port, and return it. Raises OSError that names the setting."""
        site = self._site(app)
        with naming(f"http.{name} {at}"):
            port = await site.listen(at.host, at.port, self._inherited.of(f"{HTTP}{name}"))
        self._facts.service("listening", http=name, port=port)
        return port

    async def listen_unix(self, app: web.Application, name: str, at: Path) -> None:
        """Serve on a unix socket. Raises OSError that names the setting."""
        site = self._site(app)
        with naming(f"http.{name} {at}"):
            await site.listen_unix(at)
        self._facts.service("listening", http=name, path=str(at))

    def _site(self, app: web.Application) -> Site:
        site = Site(app, self._facts)
        self._stack.push_async_callback(site.close)
        return site
