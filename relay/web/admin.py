"""The admin API: what the CLI asks of the running daemon, as JSON over the admin socket.

Knows resources and their JSON; decides nothing. Whoever may open the socket may use it.
"""

from __future__ import annotations

import pwd
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson
from aiohttp import web

from relay.facts import Facts
from relay.mail.address import Address, AddressError
from relay.mail.entry import LedgerLine, QueuedMail
from relay.mail.envelope import QUEUE_ID, QueueId, SenderName
from relay.mail.feedback import Suppression, SuppressionReason
from relay.ports import Clock, QueueView, Record, Suppressions

PAGE: Final = 1000
"""Most entries one listing returns; the next page starts after the last key."""


class Reloaded(NamedTuple):
    """What came of a reload: with any complaint, the previous configuration is still in force."""

    complaints: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the admin API works on."""

    queue: QueueView
    record: Record
    suppressions: Suppressions
    facts: Facts
    clock: Clock
    reload: Callable[[], Awaitable[Reloaded]]
    """Load the configuration again."""
    status: Callable[[], Awaitable[Mapping[str, Any]]]
    on_retry: Callable[[SenderName], None]
    """Called with the sender of an entry made due by an operator."""


def admin(desk: Desk) -> web.Application:
    """Return the application behind `http.admin`."""
    api = _Api(desk)
    app = web.Application(client_max_size=64 * 1024)
    app.router.add_get("/v1/status", api.status)
    app.router.add_post("/v1/reload", api.reload)
    app.router.add_get("/v1/queue", api.list_queue)
    app.router.add_get("/v1/queue/{queue_id}", api.show_entry)
    app.router.add_post("/v1/queue/{queue_id}/retry", api.retry)
    app.router.add_get("/v1/trace/{key}", api.trace)
    app.router.add_get("/v1/suppressions", api.list_suppressions)
    app.router.add_get("/v1/suppressions/{address}", api.show_suppression)
    app.router.add_put("/v1/suppressions/{address}", api.suppress)
    app.router.add_delete("/v1/suppressions/{address}", api.unsuppress)
    return app


class _Api:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def status(self, _request: web.Request) -> web.Response:
        return _json(await self._desk.status())

    async def reload(self, _request: web.Request) -> web.Response:
        reloaded = await self._desk.reload()
        document = {"complaints": reloaded.complaints, "warnings": reloaded.warnings}
        return _json(document, status=422 if reloaded.complaints else 200)

    async def list_queue(self, request: web.Request) -> web.Response:
        after, limit = _page(request)
        entries = await self._desk.queue.list_entries(after, limit)
        return _json({"entries": [_entry(entry) for entry in entries]})

    async def show_entry(self, request: web.Request) -> web.Response:
        entry = await self._desk.queue.show(_queue_id(request))
        if entry is None:
            raise _not_found("the spool has no entry of that id")
        return _json(_entry(entry))

    async def retry(self, request: web.Request) -> web.Response:
        desk, queue_id = self._desk, _queue_id(request)
        state = await desk.queue.retry(queue_id, now=desk.clock.now())
        if state is None:
            raise _not_found("the spool has no entry of that id")
        entry = await desk.queue.show(queue_id)
        if entry is not None:
            desk.on_retry(entry.mail.sender)
        desk.facts.service("retry", queue_id=queue_id, actor=_actor(request))
        return _json({"queue_id": queue_id, "state": state})

    async def trace(self, request: web.Request) -> web.Response:
        key, queue = request.match_info["key"], self._desk.queue
        entries: Sequence[QueuedMail] = ()
        if QUEUE_ID.fullmatch(key.upper()):
            key = key.upper()
            entry = await queue.show(QueueId(key))
            entries = () if entry is None else (entry,)
        elif "@" in key:
            entries = await queue.addressed_to(key, PAGE)
        lines = await self._desk.record.trace(key, PAGE)
        return _json(
            {
                "entries": [_entry(entry) for entry in entries],
                "lines": [_ledger_line(line) for line in lines],
            }
        )

    async def list_suppressions(self, request: web.Request) -> web.Response:
        after, limit = _page(request)
        found = await self._desk.record.list_suppressed(after, limit)
        return _json({"suppressions": [_suppression(one) for one in found]})

    async def show_suppression(self, request: web.Request) -> web.Response:
        found = await self._desk.suppressions.find(_address(request))
        if found is None:
            raise _not_found("the address is not on the suppression list")
        return _json(_suppression(found))

    async def suppress(self, request: web.Request) -> web.Response:
        desk, address, actor = self._desk, _address(request), _actor(request)
        detail = (await _body(request)).get("reason", "")
        if not isinstance(detail, str) or not detail.strip():
            raise _bad_request("a reason is needed")
        suppression = Suppression(
            address.folded, SuppressionReason.MANUAL, detail.strip(), desk.clock.now()
        )
        await desk.record.suppress(suppression, actor=actor)
        desk.facts.suppressed(suppression, actor=actor)
        return _json(_suppression(suppression))

    async def unsuppress(self, request: web.Request) -> web.Response:
        desk, address, actor = self._desk, _address(request), _actor(request)
        reason = request.query.get("reason", "").strip()
        if not reason:
            raise _bad_request("a reason is needed")
        now = desk.clock.now()
        if not await desk.record.unsuppress(address.folded, actor=actor, reason=reason, now=now):
            raise _not_found("the address is not on the suppression list")
        desk.facts.unsuppressed(address.folded, actor=actor, reason=reason)
        return _json({"address": address.folded})


def _json(document: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(document), status=status, content_type="application/json")


def _not_found(words: str) -> web.HTTPNotFound:
    return web.HTTPNotFound(text=words)


def _bad_request(words: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=words)


def _queue_id(request: web.Request) -> QueueId:
    text = request.match_info["queue_id"].upper()
    if not QUEUE_ID.fullmatch(text):
        raise _bad_request("not a queue id: 20 characters of 0-9 and A-Z")
    return QueueId(text)


def _address(request: web.Request) -> Address:
    try:
        return Address.parse(request.match_info["address"])
    except AddressError as error:
        raise _bad_request(str(error)) from error


def _page(request: web.Request) -> tuple[str, int]:
    try:
        limit = int(request.query.get("limit", PAGE))
    except ValueError as error:
        raise _bad_request("limit is not a number") from error
    return request.query.get("after", ""), max(1, min(limit, PAGE))


async def _body(request: web.Request) -> Mapping[str, Any]:
    try:
        document = orjson.loads(await request.read() or b"{}")
    except orjson.JSONDecodeError as error:
        raise _bad_request("the body is not JSON") from error
    if not isinstance(document, dict):
        raise _bad_request("the body is not a JSON object")
    return document


def _actor(request: web.Request) -> str:
    """Name the local user at the other end of the socket (unix(7), SO_PEERCRED), for the audit."""
    transport = request.transport
    connection = None if transport is None else transport.get_extra_info("socket")
    if connection is None or connection.family != socket.AF_UNIX:
        return "admin"
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", raw)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds")


def _entry(entry: QueuedMail) -> dict[str, Any]:
    mail = entry.mail
    reverse_path = mail.envelope.reverse_path
    return {
        "queue_id": mail.queue_id,
        "sender": mail.sender,
        "reverse_path": "" if reverse_path is None else str(reverse_path),
        "arrived_at": _time(mail.arrived_at),
        "size": mail.size,
        "state": entry.state,
        "due_at": _time(entry.due_at),
        "reason": entry.reason,
        "recipients": [
            {
                "address": str(one.address),
                "state": one.state,
                "attempts": one.attempts,
                "reason": one.reason,
            }
            for one in entry.recipients
        ],
    }


def _ledger_line(line: LedgerLine) -> dict[str, Any]:
    return {
        "at": _time(line.at),
        "fact": line.fact,
        "queue_id": line.queue_id,
        "sender": line.sender,
        "recipient": line.recipient,
        "ses_message_id": line.ses_message_id,
        "detail": line.detail,
    }


def _suppression(one: Suppression) -> dict[str, Any]:
    return {
        "address": one.address,
        "reason": one.reason,
        "detail": one.detail,
        "since": _time(one.since),
        "event_id": one.event_id,
    }
