"""The admin API: what the CLI asks of the running daemon, as JSON over the admin socket.

Knows resources and their JSON; decides nothing. Whoever may open the socket may use it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from aiohttp import web

from relay.web import resource
from relay.web.callbacks import CallbackDesk, CallbackResources
from relay.web.queue import QueueDesk, QueueResources
from relay.web.senders import SenderDesk, SenderResources
from relay.web.suppressions import SuppressionDesk, SuppressionResources
from relay.web.watching import WatchDesk, WatchResources

BODY_LIMIT: Final = 1024 * 1024
"""Octets of one request; an order names some tens of thousands of mails with as many."""


class Reloaded(NamedTuple):
    """What came of a reload: with any complaint, the previous configuration is still in force."""

    complaints: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the admin API works on."""

    queue: QueueDesk
    suppressions: SuppressionDesk
    callbacks: CallbackDesk
    reload: Callable[[], Awaitable[Reloaded]]
    """Load the configuration again."""
    status: Callable[[], Awaitable[Mapping[str, Any]]]
    accounts: Callable[[], Sequence[Mapping[str, Any]]]
    """How each account is doing."""
    configuration: Callable[[], Mapping[str, Any]]
    """What is in force, and why."""
    health: Callable[[], Mapping[str, Any]]
    """Whether a new start is needed, and whether mail is taken."""
    senders: SenderDesk
    watching: WatchDesk


def admin(desk: Desk) -> web.Application:
    """Return the application behind `http.admin`."""
    api = _Api(desk)
    app = queue_only(desk.queue)
    app.router.add_get("/v1/status", api.status)
    app.router.add_post("/v1/reload", api.reload)
    app.router.add_get("/v1/accounts", api.list_accounts)
    app.router.add_get("/v1/config", api.show_configuration)
    app.router.add_get("/v1/health", api.show_health)
    SenderResources(desk.senders).add_to(app)
    WatchResources(desk.watching).add_to(app)
    SuppressionResources(desk.suppressions).add_to(app)
    CallbackResources(desk.callbacks).add_to(app)
    return app


def queue_only(desk: QueueDesk) -> web.Application:
    """Return an application with the queue alone: all that there is without a daemon."""
    app = web.Application(client_max_size=BODY_LIMIT)
    QueueResources(desk).add_to(app)
    return app


class _Api:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def status(self, _request: web.Request) -> web.Response:
        return resource.json_answer(await self._desk.status())

    async def reload(self, _request: web.Request) -> web.Response:
        reloaded = await self._desk.reload()
        document = {"complaints": reloaded.complaints, "warnings": reloaded.warnings}
        return resource.json_answer(document, status=422 if reloaded.complaints else 200)

    async def list_accounts(self, _request: web.Request) -> web.Response:
        return resource.json_answer({"accounts": self._desk.accounts()})

    async def show_configuration(self, _request: web.Request) -> web.Response:
        return resource.json_answer(self._desk.configuration())

    async def show_health(self, _request: web.Request) -> web.Response:
        return resource.json_answer(self._desk.health())
