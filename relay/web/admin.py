"""The admin API: what the CLI asks of the running daemon, as JSON over the admin socket.

Knows resources and their JSON; decides nothing. Whoever may open the socket may use it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from aiohttp import web

from relay.facts import Facts
from relay.mail.address import Address
from relay.mail.feedback import Suppression, SuppressionReason
from relay.ports import Clock, Record, Suppressions
from relay.web import resource
from relay.web.queue import QueueDesk, QueueResources
from relay.web.senders import SenderDesk, SenderResources
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
    record: Record
    suppressions: Suppressions
    facts: Facts
    clock: Clock
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
    app.router.add_get("/v1/suppressions", api.list_suppressions)
    app.router.add_get("/v1/suppressions/{address}", api.show_suppression)
    app.router.add_put("/v1/suppressions/{address}", api.suppress)
    app.router.add_delete("/v1/suppressions/{address}", api.unsuppress)
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

    async def list_suppressions(self, request: web.Request) -> web.Response:
        after, limit = resource.page(request)
        found = await self._desk.record.list_suppressed(after, limit)
        return resource.json_answer(
            {
                "suppressions": [_suppression(one) for one in found],
                "after": found[-1].address if len(found) == limit else None,
            }
        )

    async def show_suppression(self, request: web.Request) -> web.Response:
        found = await self._desk.suppressions.find(_address(request))
        if found is None:
            raise resource.not_found("the address is not on the suppression list")
        return resource.json_answer(_suppression(found))

    async def suppress(self, request: web.Request) -> web.Response:
        desk, address, actor = self._desk, _address(request), resource.actor(request)
        detail = resource.reason(await resource.body(request))
        if not detail:
            raise resource.bad_request("a reason is needed")
        suppression = Suppression(
            address.folded, SuppressionReason.MANUAL, detail, desk.clock.now()
        )
        await desk.record.suppress(suppression, actor=actor)
        desk.facts.suppressed(suppression, actor=actor)
        return resource.json_answer(_suppression(suppression))

    async def unsuppress(self, request: web.Request) -> web.Response:
        desk, address, actor = self._desk, _address(request), resource.actor(request)
        reason = resource.reason(request.query)
        if not reason:
            raise resource.bad_request("a reason is needed")
        now = desk.clock.now()
        if not await desk.record.unsuppress(address.folded, actor=actor, reason=reason, now=now):
            raise resource.not_found("the address is not on the suppression list")
        desk.facts.unsuppressed(address.folded, actor=actor, reason=reason)
        return resource.json_answer({"address": address.folded})


def _address(request: web.Request) -> Address:
    return resource.address(request.match_info["address"])


def _suppression(one: Suppression) -> dict[str, Any]:
    return {
        "address": one.address,
        "reason": one.reason,
        "detail": one.detail,
        "since": resource.moment(one.since),
        "event_id": one.event_id,
    }
