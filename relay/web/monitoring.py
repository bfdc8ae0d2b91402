"""What machines ask: metrics, is it alive, is it ready. Read only; safe to expose to a scraper."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

Checks = Callable[[], Mapping[str, bool]]
"""Reads the readiness checks: name -> passes."""
Complaint = Callable[[], str]
"""Says why only a new start would help; empty while we are alive."""


def monitoring(
    exposition: Callable[[], Awaitable[bytes]],
    content_type: str,
    checks: Checks,
    complaint: Complaint,
) -> web.Application:
    """Return the application behind `http.metrics`."""

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=await exposition(), headers={"Content-Type": content_type})

    async def livez(_request: web.Request) -> web.Response:
        # To answer proves that the loop turns; SES has no say in whether we are alive.
        why = complaint()
        return web.Response(text=f"{why or 'ok'}\n", status=503 if why else 200)

    async def readyz(_request: web.Request) -> web.Response:
        results = checks()
        lines = [f"{'ok' if passes else 'FAILED'} {name}\n" for name, passes in results.items()]
        return web.Response(text="".join(lines), status=200 if all(results.values()) else 503)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/livez", livez)
    # What it was called before.
    app.router.add_get("/healthz", livez)
    app.router.add_get("/readyz", readyz)
    return app
