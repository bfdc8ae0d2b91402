"""Senders over the admin API: how their mail fares; pause one, let it go again.

Every order is audited and told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from relay.aftermath import Record
from relay.facts import Facts
from relay.mail.envelope import SenderName
from relay.operators import Pause, Pausing
from relay.policy.reputation import NOTHING, Reception
from relay.ports import Clock, SpoolError
from relay.web import resource


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderDesk:
    """What orders about senders work on."""

    pauses: Pausing
    record: Record
    facts: Facts
    clock: Clock
    senders: Callable[[], Collection[SenderName]]
    """Those configured."""
    receptions: Callable[[], Mapping[str, Mapping[SenderName, Reception]]]
    """How the mail of each was received, by window."""
    suspects: Callable[[], Mapping[SenderName, str]]
    """Whose circuit is broken, and why."""


class SenderResources:
    """`/v1/senders`: who is paused, and the two verbs."""

    def __init__(self, desk: SenderDesk) -> None:
        self._desk = desk

    def add_to(self, app: web.Application) -> None:
        """Give the application these resources."""
        app.router.add_get("/v1/senders", self.find)
        app.router.add_post("/v1/senders/{name}/pause", self.pause)
        app.router.add_post("/v1/senders/{name}/resume", self.resume)

    async def find(self, _request: web.Request) -> web.Response:
        """List senders: paused or not, and how their mail is received."""
        desk = self._desk
        paused, suspects, windows = desk.pauses.in_force, desk.suspects(), desk.receptions()
        documents = [
            {
                "sender": name,
                "paused": _pause(paused[name]) if name in paused else None,
                "suspect": suspects.get(name, ""),
                **{
                    window: _reception(found.get(name, NOTHING))
                    for window, found in windows.items()
                },
            }
            for name in sorted({*desk.senders(), *paused})
        ]
        return resource.json_answer({"senders": documents})

    async def pause(self, request: web.Request) -> web.Response:
        """Attempt no mail of this sender until it is resumed."""
        desk, name = self._desk, SenderName(request.match_info["name"])
        reason = resource.reason(await resource.body(request))
        if not reason:
            raise resource.bad_request("a reason is needed: it is what others will see")
        known = desk.senders()
        if name not in known and name not in desk.pauses.in_force:
            raise resource.not_found(
                f"there is no sender {name}; there is {', '.join(sorted(known))}"
            )
        actor = resource.actor(request)
        try:
            pause = await desk.pauses.pause(Pause(name, desk.clock.now(), actor, reason))
        except SpoolError as error:
            raise web.HTTPServiceUnavailable(text=f"the spool: {error}") from error
        await self._tell("pause", name, actor, reason)
        return resource.json_answer(_pause(pause))

    async def resume(self, request: web.Request) -> web.Response:
        """Let its mail go."""
        desk, name = self._desk, SenderName(request.match_info["name"])
        reason = resource.reason(await resource.body(request))
        actor = resource.actor(request)
        try:
            was_paused = await desk.pauses.resume(name)
        except SpoolError as error:
            raise web.HTTPServiceUnavailable(text=f"the spool: {error}") from error
        if not was_paused:
            raise resource.not_found(f"sender {name} is not paused")
        await self._tell("resume", name, actor, reason)
        return resource.json_answer({"sender": name})

    async def _tell(self, action: str, name: SenderName, actor: str, reason: str) -> None:
        desk = self._desk
        desk.facts.service(f"sender_{action}d", sender=name, actor=actor, reason=reason)
        try:
            now = desk.clock.now()
            await desk.record.audit(actor, action, f"sender {name}", reason, now=now)
        except SpoolError as error:
            # It is in force all the same, and in the log.
            desk.facts.fault("audit", error)


def _reception(found: Reception) -> dict[str, Any]:
    """Return what became of mail, and the rates that SES looks at: shares of 1."""
    return {
        "sent": found.sent,
        "delivered": found.delivered,
        "bounced": found.bounced,
        "complained": found.complained,
        "bounce_rate": round(found.bounce_rate, 5),
        "complaint_rate": round(found.complaint_rate, 6),
    }


def _pause(pause: Pause) -> dict[str, Any]:
    return {
        "sender": pause.sender,
        "since": resource.moment(pause.since),
        "actor": pause.actor,
        "reason": pause.reason,
    }
