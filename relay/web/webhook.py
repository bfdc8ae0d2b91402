"""The HTTP shell of the feedback webhook. Knows bodies and statuses; the intake decides."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

PATH: Final = "/sns"
# SNS itself gives up after 15 seconds (SNS Developer Guide, "Message delivery retries").
READ_WITHIN: Final = 15.0


TakeIn = Callable[[bytes, Mapping[str, str]], Awaitable[int]]
"""Takes in a body and the header fields that came with it, names in lower case; a status."""


def webhook(take_in: TakeIn, body_limit: int) -> web.Application:
    """Return the application behind `http.webhook`: one path, POST only.

    SNS sends JSON as text/plain, so the content type says nothing and is not looked at.
    """

    async def post(request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(READ_WITHIN):
                body = await request.read()
        except TimeoutError:
            return web.Response(status=408)
        except web.HTTPRequestEntityTooLarge:
            # Longer than any message of SNS: the intake counts it by its length.
            body = b" " * (body_limit + 1)
        fields = {name.lower(): value for name, value in request.headers.items()}
        status = await take_in(body, fields)
        # Who is to say a password is told of which scheme (RFC 9110 section 11.6.1).
        challenge = {"WWW-Authenticate": 'Basic realm="sns"'} if status == 401 else None  # noqa: PLR2004
        return web.Response(status=status, headers=challenge)

    app = web.Application(client_max_size=body_limit)
    app.router.add_post(PATH, post)
    return app
