"""Certificates are asked for once, briefly, and not at every stranger's bidding."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from relay.feedback.certificate import (
    FETCH_PERIOD,
    FETCHES,
    SIZE_LIMIT,
    HttpsSnsGateway,
    UnavailableError,
)
from relay.web.site import Site
from tests.fakes import FrozenClock, RecordingFacts


class Server:
    """Serves a certificate, and everything that is not one."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        match request.path.removeprefix("/").partition("-")[0]:
            case "elsewhere":
                raise web.HTTPFound(f"{self.url}/good")
            case "gone":
                raise web.HTTPNotFound
            case "long":
                return web.Response(body=b"x" * (SIZE_LIMIT + 1))
            case _:
                return web.Response(body=b"PEM")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_get("/{path:.*}", server.answer)
    site = Site(app, RecordingFacts())
    server.url = f"http://127.0.0.1:{await site.listen('127.0.0.1', 0)}"
    yield server
    await site.close()


async def test_a_certificate_is_asked_for_once_however_many_wait(server: Server) -> None:
    gateway = HttpsSnsGateway(FrozenClock().monotonic)
    url = f"{server.url}/good"
    found = await asyncio.gather(*(gateway.certificate(url) for _ in range(20)))
    assert set(found) == {b"PEM"}
    assert await gateway.certificate(url) == b"PEM"
    assert server.asked == ["/good"]


@pytest.mark.parametrize("path", ["elsewhere", "gone", "long"])
async def test_what_is_no_certificate_is_not_taken_and_not_kept(server: Server, path: str) -> None:
    gateway = HttpsSnsGateway(FrozenClock().monotonic)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            await gateway.certificate(f"{server.url}/{path}")
    assert server.asked == [f"/{path}"] * 2


async def test_an_unreachable_sns_is_unavailable() -> None:
    gateway = HttpsSnsGateway(FrozenClock().monotonic)
    with pytest.raises(UnavailableError, match="cannot be asked"):
        await gateway.certificate("http://127.0.0.1:1/x.pem")


@pytest.mark.P6
async def test_made_up_addresses_are_not_asked_for_without_end(server: Server) -> None:
    clock = FrozenClock()
    gateway = HttpsSnsGateway(clock.monotonic)
    for n in range(FETCHES):
        await gateway.certificate(f"{server.url}/good-{n}")
    with pytest.raises(UnavailableError, match="too many"):
        await gateway.certificate(f"{server.url}/good-more")
    # What is known is still answered, and later more may be asked.
    assert await gateway.certificate(f"{server.url}/good-0") == b"PEM"
    clock._monotonic += FETCH_PERIOD
    assert await gateway.certificate(f"{server.url}/good-more") == b"PEM"


async def test_confirming_asks_the_address_once(server: Server) -> None:
    gateway = HttpsSnsGateway(FrozenClock().monotonic)
    await gateway.confirm(f"{server.url}/good?Action=ConfirmSubscription")
    with pytest.raises(UnavailableError):
        await gateway.confirm(f"{server.url}/gone")
    assert server.asked == ["/good", "/gone"]
