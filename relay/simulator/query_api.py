"""Both APIs of SES, and SNS's, over HTTP, and the faults that only HTTP can show.

`POST /` is the v1 query API of SES and SNS, `/v2/email/...` the JSON API of SES.

Reads requests and writes answers. What they mean is decided in `service`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import uuid
from email.utils import format_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web

from relay.simulator import answers, json_answers
from relay.simulator.answers import SES_NAMESPACE, SNS_NAMESPACE, Answer, SendQuota
from relay.simulator.errors import ApiError
from relay.simulator.faults import (
    CutAnswer,
    Delay,
    Garble,
    Hang,
    LoseAnswer,
    Refuse,
    ResetUnread,
)
from relay.simulator.json_answers import AccountReport, in_v2
from relay.simulator.service import Request, api_of, service_of
from relay.simulator.shelf import Message
from relay.simulator.signature import SignedRequest
from relay.simulator.submission import Api
from relay.simulator.suppressed import ListAnswer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from relay.simulator.faults import Act
    from relay.simulator.service import Account, Result
    from relay.simulator.watch import Watch

# Reading, hashing and judging a large message would hold up every other connection.
_READ_IN_THREAD_ABOVE: Final = 256 * 1024

_TOO_LARGE: Final = ApiError(
    "RequestEntityTooLargeException", "The request entity is too large.", 413
)


class QueryApi:
    """The endpoint that SES and SNS clients talk to."""

    def __init__(
        self,
        account: Account,
        watch: Watch,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._account = account
        self._watch = watch
        self._sleep = sleep
        self._released = asyncio.Event()
        self._closing = False
        #: Calls that hang.
        self.hung = 0

    def release(self) -> None:
        """Let the calls that hang now be answered; later ones hang again."""
        self._released.set()
        self._released = asyncio.Event()

    def close(self) -> None:
        """Let nothing hang any more: the calls that do lose their connection."""
        self._closing = True
        self._released.set()

    def reopen(self) -> None:
        """Let calls hang again."""
        self._closing = False
        self._released = asyncio.Event()

    async def answer(self, http: web.Request) -> web.StreamResponse:
        """Answer one call."""
        if self._account.faults.take_unread() is not None:
            self._account.record(None, ApiError("reset-unread", ""))
            return _reset(http)
        api = api_of(http.raw_path)
        try:
            body = await http.read()
        except web.HTTPRequestEntityTooLarge:
            return self._refuse(api, None, _TOO_LARGE)
        signed = SignedRequest(
            http.method,
            http.raw_path,
            tuple(
                (name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
                for name, value in http.raw_headers
            ),
            body,
        )
        client = http.remote or ""
        if len(body) > _READ_IN_THREAD_ABOVE:
            request = await asyncio.to_thread(self._account.read, signed, client)
        else:
            request = self._account.read(signed, client)
        if latency := self._account.settings.latency.total_seconds():
            await self._sleep(latency)
        if isinstance(request, ApiError):
            return self._refuse(api, None, _named(request, api))
        act = self._account.faults.take(request.action, request.recipients)
        return await self._act(act, http, request)

    async def _act(
        self, act: Act | None, http: web.Request, request: Request
    ) -> web.StreamResponse:
        match act:
            case None | ResetUnread():
                return self._perform(request)
            case Refuse():
                refusal = ApiError(act.code, act.text, act.status)
                return self._refuse(request.api, request, refusal)
            case Garble():
                self._account.record(request, ApiError("garbled", "", act.status))
                return web.Response(status=act.status, text=act.body, content_type=act.content_type)
            case Delay():
                await self._sleep(act.by.total_seconds())
                return self._perform(request)
            case Hang(accepted=True):
                answer = self._perform(request)
                return answer if await self._is_released() else _reset(http)
            case Hang():
                return self._perform(request) if await self._is_released() else _reset(http)
            case LoseAnswer():
                self._perform(request)
                return _reset(http)
            case CutAnswer():
                return await _cut(self._perform(request), http, act.keep)

    def _perform(self, request: Request) -> web.Response:
        result = self._account.perform(request)
        if isinstance(result, ApiError):
            return self._refuse(request.api, request, _named(result, request.api))
        self._account.record(request, None)
        if request.api is Api.V2:
            return self._json(200, _rendered_json(result))
        return self._xml(lambda request_id: _rendered(result, request_id))

    def _refuse(self, api: Api, request: Request | None, error: ApiError) -> web.Response:
        self._account.record(request, error)
        if api is Api.V2:
            response = self._json(error.status, json_answers.error(error))
            response.headers[json_answers.ERROR_TYPE] = error.code
        else:
            is_sns = request is not None and service_of(request.action) == "sns"
            namespace = SNS_NAMESPACE if is_sns else SES_NAMESPACE
            response = self._xml(lambda request_id: answers.error(error, namespace, request_id))
        if error is _TOO_LARGE:
            # The rest of the body is still on its way.
            response.force_close()
        return response

    def _xml(self, render: Callable[[str], Answer]) -> web.Response:
        request_id = str(uuid.uuid4())
        answer = render(request_id)
        return self._response(answer.status, "text/xml", answer.body, request_id)

    def _json(self, status: int, body: str) -> web.Response:
        return self._response(status, "application/json", body, str(uuid.uuid4()))

    def _response(self, status: int, kind: str, body: str, request_id: str) -> web.Response:
        # The clock that signatures are judged by; clients learn from it how theirs differs.
        date = format_datetime(self._account.now(), usegmt=True)
        return web.Response(
            status=status,
            body=body.encode(),
            headers={"Content-Type": kind, "x-amzn-RequestId": request_id, "Date": date},
        )

    async def _is_released(self) -> bool:
        """Hang; whether there is still somebody to answer after that."""
        released = self._released
        self.hung += 1
        self._watch.changed()
        try:
            await released.wait()
        finally:
            self.hung -= 1
            self._watch.changed()
        return not self._closing


def _rendered(result: Result, request_id: str) -> Answer:
    match result:
        case Message():
            return answers.sent(result.id, request_id)
        case SendQuota():
            return answers.send_quota(result, request_id)
        case str():
            return answers.confirmed(result, request_id)
        case _:
            raise AssertionError(f"no call of v1 ends so: {result}")


def _rendered_json(result: Result) -> str:
    match result:
        case Message():
            return json_answers.sent(result.id)
        case AccountReport():
            return json_answers.account(result)
        case ListAnswer():
            return result.body
        case _:
            raise AssertionError(f"no call of v2 ends so: {result}")


def _named(error: ApiError, api: Api) -> ApiError:
    """The error as that API calls it."""
    return in_v2(error) if api is Api.V2 else error


def _reset(http: web.Request) -> web.StreamResponse:
    """Reset the connection, so that the client sees ECONNRESET and never what is returned."""
    if http.transport is not None:
        connection = http.transport.get_extra_info("socket")
        # Linger for no time at all: closing sends RST instead of FIN (socket(7), SO_LINGER).
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        http.transport.abort()
    return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE)


async def _cut(answer: web.Response, http: web.Request, keep: int) -> web.StreamResponse:
    body = answer.body
    if not isinstance(body, bytes):
        raise TypeError("answers of the API have their body in memory")
    cut = web.StreamResponse(status=HTTPStatus(answer.status), headers=answer.headers)
    cut.content_length = len(body)
    await cut.prepare(http)
    await cut.write(body[:keep])
    if http.transport is not None:
        http.transport.close()
    return cut
