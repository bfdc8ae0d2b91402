"""What the resources of the admin API share: JSON answers, complaints, and who is asking."""

from __future__ import annotations

import pwd
import socket
import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import orjson
from aiohttp import web

from relay.mail.address import Address, AddressError
from relay.mail.envelope import QUEUE_ID, QueueId

PAGE: Final = 1000
"""Most entries one listing returns; the answer says where the next page starts."""

REASON_LIMIT: Final = 300


def json_answer(document: Mapping[str, Any], status: int = 200) -> web.Response:
    """Answer with a JSON object."""
    return web.Response(body=orjson.dumps(document), status=status, content_type="application/json")


def not_found(words: str) -> web.HTTPNotFound:
    """Say that there is no such thing."""
    return web.HTTPNotFound(text=words)


def bad_request(words: str) -> web.HTTPBadRequest:
    """Say what is wrong with what was asked."""
    return web.HTTPBadRequest(text=words)


def queue_id(text: str) -> QueueId:
    """Read a queue id, in any case of its letters."""
    text = text.upper()
    if not QUEUE_ID.fullmatch(text):
        raise bad_request("not a queue id: 20 characters of 0-9 and A-Z")
    return QueueId(text)


def address(text: str) -> Address:
    """Read a mailbox."""
    try:
        return Address.parse(text)
    except AddressError as error:
        raise bad_request(str(error)) from error


def reason(words: Mapping[str, Any]) -> str:
    """Read a reason; empty where none was given."""
    text = words.get("reason", "")
    if not isinstance(text, str) or not text.strip().isprintable():
        raise bad_request("a reason is one line of text")
    if len(text) > REASON_LIMIT:
        raise bad_request(f"a reason has at most {REASON_LIMIT} characters")
    return text.strip()


def page(request: web.Request) -> tuple[str, int]:
    """Read after which key a page begins, and how many items it is to have at most."""
    try:
        limit = int(request.query.get("limit", PAGE))
    except ValueError as error:
        raise bad_request("limit is not a number") from error
    return request.query.get("after", ""), max(1, min(limit, PAGE))


async def body(request: web.Request) -> Mapping[str, Any]:
    """Read a JSON object; an empty body is an empty one."""
    try:
        document = orjson.loads(await request.read() or b"{}")
    except orjson.JSONDecodeError as error:
        raise bad_request("the body is not JSON") from error
    if not isinstance(document, dict):
        raise bad_request("the body is not a JSON object")
    return document


def actor(request: web.Request) -> str:
    """Name the local user at the other end of the socket (unix(7), SO_PEERCRED), for the audit."""
    transport = request.transport
    if transport is None:
        raise web.HTTPServiceUnavailable(text="the connection is gone")
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family != socket.AF_UNIX:
        return "admin"
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", raw)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def moment(at: datetime | None) -> str | None:
    """Write a moment as JSON has it: ISO 8601, to the millisecond."""
    return None if at is None else at.isoformat(timespec="milliseconds")
