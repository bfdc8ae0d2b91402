"""Where callbacks never go, and that a name is looked up once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any

import pytest
from aiohttp import web

from relay.feedback.outcall import UnreachableError, complaint_about, post


@pytest.mark.P7
@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254", "169.254.170.2", "169.254.0.1", "fe80::1", "fd00:ec2::254", "fd00:ec2::23",
        "100.100.100.200", "192.0.0.192", "0.0.0.0", "::", "224.0.0.1", "ff02::1",
        "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_link_local_and_metadata_addresses_are_never_called(host: str, scheme: str) -> None:
    assert complaint_about(ip_address(host), scheme)


@pytest.mark.parametrize("host", ["10.1.2.3", "192.168.0.1", "fd12::1", "203.0.113.7", "127.0.0.1"])
def test_private_hosts_may_be_called_by_https(host: str) -> None:
    assert not complaint_about(ip_address(host), "https")


@pytest.mark.parametrize(
    ("host", "is_fine"),
    [("127.0.0.1", True), ("::1", True), ("10.0.0.1", False), ("203.0.113.7", False)],
)
def test_http_stays_on_this_machine(host: str, is_fine: bool) -> None:
    assert (not complaint_about(ip_address(host), "http")) is is_fine


@pytest.fixture(name="server")
async def _server() -> AsyncIterator[tuple[int, list[str]]]:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.path)
        if request.path == "/moved":
            raise web.HTTPTemporaryRedirect("/elsewhere")
        return web.Response(status=503, headers={"Retry-After": "7"})

    app = web.Application()
    app.router.add_post("/{name}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1], seen
    await runner.cleanup()


async def test_no_redirect_is_followed(server: tuple[int, list[str]]) -> None:
    port, seen = server
    assert (await post(f"http://127.0.0.1:{port}/moved", {}, b"{}")).status == 307
    assert seen == ["/moved"]


async def test_an_endpoint_may_say_when_to_come_again(server: tuple[int, list[str]]) -> None:
    port, _ = server
    answer = await post(f"http://127.0.0.1:{port}/busy", {}, b"{}")
    assert (answer.status, answer.retry_after) == (503, 7.0)


@pytest.mark.P7
async def test_a_name_is_looked_up_once_and_the_connection_goes_where_was_looked(
    server: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, _ = server
    answers = ["127.0.0.1", "169.254.169.254"]

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    await post(f"http://app.example:{port}/event", {}, b"{}")
    assert answers == ["169.254.169.254"]
    with pytest.raises(UnreachableError, match="never called"):
        await post(f"http://app.example:{port}/event", {}, b"{}")


async def test_who_does_not_answer_is_unreachable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(UnreachableError):
        await post(f"http://127.0.0.1:{port}/", {}, b"{}")
