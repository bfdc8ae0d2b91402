"""The HTTP shell of the feedback webhook. Knows bodies and statuses; the intake decides."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

PATH: Final = "/sns"
# SNS itself gives up after 15 seconds (SNS Developer Guide, "Message delivery retries").
READ_WITHIN: Final = 15.0


def webhook(take_in: Callable[[bytes], Awaitable[int]], body_limit: int) -> web.Application:
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
        return web.Response(status=await take_in(body))

    app = web.Application(client_max_size=body_limit)
    app.router.add_post(PATH, post)
    return app
