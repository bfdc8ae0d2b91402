"""What applications are still to be told, over the admin API: seen, and sent again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web

from relay.aftermath import Callback, CallbackBook
from relay.facts import Facts
from relay.mail.envelope import SenderName
from relay.ports import Clock
from relay.web import resource


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackDesk:
    """What callbacks are worked on with."""

    book: CallbackBook
    facts: Facts
    clock: Clock


class CallbackResources:
    """`/v1/callbacks`."""

    def __init__(self, desk: CallbackDesk) -> None:
        self._desk = desk

    def add_to(self, app: web.Application) -> None:
        """Give the application these resources."""
        app.router.add_get("/v1/callbacks", self.find)
        app.router.add_post("/v1/callbacks/replay", self.replay)

    async def find(self, request: web.Request) -> web.Response:
        """List what is to be told, or with `dead` what nobody tries to tell any more."""
        after, limit = resource.page(request)
        only_dead = request.query.get("dead", "") == "true"
        found = await self._desk.book.find(after, limit, only_dead=only_dead)
        last = found[-1].id if len(found) == limit else None
        return resource.json_answer({"callbacks": [_document(one) for one in found], "after": last})

    async def replay(self, request: web.Request) -> web.Response:
        """Tell dead ones again: those named, those of a sender, or all."""
        words = await resource.body(request)
        ids, sender, all_of_them = (
            words.get("ids", []),
            words.get("sender"),
            words.get("all", False),
        )
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            raise resource.bad_request("ids is a list of webhook-ids")
        if (
            not isinstance(sender, str | None)
            or [bool(ids), bool(sender), all_of_them is True].count(True) != 1
        ):
            raise resource.bad_request("say which: ids, sender, or all; one of them")
        actor, now = resource.actor(request), self._desk.clock.now()
        count = await self._desk.book.replay(
            ids, None if sender is None else SenderName(sender), actor=actor, now=now
        )
        self._desk.facts.service("callbacks_replayed", callbacks=count, actor=actor)
        return resource.json_answer({"replayed": count})


def _document(one: Callback) -> dict[str, Any]:
    return {
        "id": one.id,
        "sender": one.sender,
        "kind": one.kind,
        "made_at": resource.moment(one.made_at),
        "due_at": resource.moment(one.due_at),
        "attempts": one.attempts,
        "complaint": one.complaint,
        "body": one.body.decode(errors="replace"),
    }
