"""Watching a running daemon over the admin API: its log louder, a client's dialogue, a test mail.

Knows requests and lines of JSON. What is seen is decided elsewhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final

import orjson
from aiohttp import web

from relay.facts import Facts
from relay.web import resource

LONGEST: Final = timedelta(days=1)
"""Neither a loud log nor a watch is to be forgotten for longer."""

Lines = AsyncGenerator[Mapping[str, Any], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchDesk:
    """What watching works on."""

    facts: Facts
    log_level: Callable[[], tuple[str, datetime | None]]
    """Reads the level in force, and until when another is than the configured one."""
    set_log_level: Callable[[str, timedelta], object]
    """Raises ValueError for a level that there is not."""
    reset_log_level: Callable[[], None]
    dialogues: Callable[[IPv4Network | IPv6Network, timedelta], Lines]
    selftest: Callable[[str, str, timedelta], Lines]


class WatchResources:
    """`/v1/log-level`, `/v1/dialogues` and `/v1/selftest`."""

    def __init__(self, desk: WatchDesk) -> None:
        self._desk = desk

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get("/v1/log-level", self.show_level)
        app.router.add_put("/v1/log-level", self.set_level)
        app.router.add_delete("/v1/log-level", self.reset_level)
        app.router.add_get("/v1/dialogues", self.watch)
        app.router.add_post("/v1/selftest", self.test)

    async def show_level(self, _request: web.Request) -> web.Response:
        """Say what is logged now."""
        return self._level()

    async def set_level(self, request: web.Request) -> web.Response:
        """Log at another level for a while."""
        words = await resource.body(request)
        length = _length(words.get("seconds"))
        try:
            self._desk.set_log_level(str(words.get("level", "")), length)
        except ValueError as error:
            raise resource.bad_request(str(error)) from error
        return self._level()

    async def reset_level(self, _request: web.Request) -> web.Response:
        """Log at the configured level again."""
        self._desk.reset_log_level()
        return self._level()

    def _level(self) -> web.Response:
        level, until = self._desk.log_level()
        return resource.json_answer({"level": level, "until": resource.moment(until)})

    async def watch(self, request: web.Request) -> web.StreamResponse:
        """Show what clients say and hear: a JSON object a line, an empty one to say we are here."""
        try:
            network = ip_network(request.query.get("client", ""), strict=False)
        except ValueError as error:
            raise resource.bad_request(f"client: {error}") from error
        length = _length(request.query.get("seconds"))
        self._desk.facts.service(
            "dialogue_traced",
            client=str(network),
            actor=resource.actor(request),
            seconds=length.total_seconds(),
        )
        return await _stream(request, self._desk.dialogues(network, length))

    async def test(self, request: web.Request) -> web.StreamResponse:
        """Send a mail of our own, and tell how far it comes: a JSON object a line."""
        words = await resource.body(request)
        sender, address = str(words.get("sender", "")), str(words.get("address", ""))
        if address:
            resource.address(address)
        lines = self._desk.selftest(sender, address, _length(words.get("seconds")))
        return await _stream(request, lines)


def _length(words: object) -> timedelta:
    """Read a number of seconds."""
    try:
        length = timedelta(seconds=float(str(words)))
    except (ValueError, OverflowError) as error:
        raise resource.bad_request("seconds is not a number of them") from error
    if not timedelta(0) < length <= LONGEST:
        raise resource.bad_request("seconds: more than none, and at most a day of them")
    return length


async def _stream(request: web.Request, lines: Lines) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await answer.prepare(request)
    async with contextlib.aclosing(lines):
        # Whoever asked may go at any time.
        with contextlib.suppress(ConnectionError):
            async for line in lines:
                await answer.write(orjson.dumps(line) + b"\n")
            await answer.write_eof()
    return answer
