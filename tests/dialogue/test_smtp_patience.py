"""How long clients may take, how much less when others wait, and who is not listened to at all."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from relay.policy.admission import Auth
from relay.smtp.frontdoor import Deadlines, TlsMode
from tests.dialogue.house import CONTENT, Caller, House, a_house, a_listener

# Nothing rings without stress, and with it in no time.
HASTY = Deadlines(command_under_stress=0.05, data_grace=0.05, data_rate=1_000_000)


def fill(house: House) -> None:
    """Take nearly all places of the listener."""
    places = house.door.listeners[0].places
    while not places.is_stressed:
        assert places.take() is not None


@pytest.mark.P6
async def test_under_stress_a_silent_client_makes_room_sooner() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        fill(house)
        assert (await caller.send()).startswith("250 ")
        house.hurry(command_under_stress=0.05)
        assert await caller.ask("NOOP") == "250 2.0.0 Ok"
        assert await caller.rest() == b"421 4.4.2 Timed out, closing connection\r\n"


@pytest.mark.P6
async def test_under_stress_content_must_come_at_some_rate() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        fill(house)
        house.hurry(data_grace=0.05, data_rate=1_000_000)
        await caller.reach_data()
        reply = asyncio.create_task(caller.hear())
        while not reply.done():
            caller.writer.write(b"x")
            await asyncio.wait([reply], timeout=0.005)
        # Our goodbye is lost where content crosses it: the system resets what is closed.
        assert isinstance(reply.exception(), ConnectionResetError) or reply.result().startswith(
            "421 4.4.2 "
        )
        await house.gone()
        assert [answer.code for _, answer in house.told("hung_up")] == [421]
        assert [refusal.reason for _, _, refusal, *_ in house.told("refused")] == ["timeout"]


@pytest.mark.P6
@pytest.mark.parametrize("octets_first", [True, False])
@pytest.mark.parametrize("in_content", [True, False])
async def test_an_octet_at_the_last_moment_does_not_stop_the_clock(
    octets_first: bool, in_content: bool
) -> None:
    """What comes in the same round of the loop as the deadline must not make it forgotten."""
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        if in_content:
            await caller.reach_data()
        (session,) = house.door.listeners[0].sessions._open
        moment = [lambda: session.data_received(b"x"), session._give_up]
        for one in moment if octets_first else reversed(moment):
            asyncio.get_running_loop().call_soon(one)
        assert await caller.rest() == b"421 4.4.2 Timed out, closing connection\r\n"


async def test_without_stress_a_slow_client_is_served() -> None:
    """A scanner that sends while it scans is slow, and no attacker."""
    async with a_house(deadlines=HASTY) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.reach_data()
        loop = asyncio.get_running_loop()
        ends = loop.time() + 0.3
        caller.writer.write(CONTENT)
        while loop.time() < ends:
            caller.writer.write(b"x")
            await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.02)
        caller.say("", ".")
        assert (await caller.hear()).startswith("250 ")


@pytest.mark.P1
async def test_under_stress_a_commit_takes_the_time_it_takes() -> None:
    async with a_house(deadlines=HASTY) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        house.spool.hold(picked=True)
        await caller.reach_data()
        caller.writer.write(CONTENT + b".\r\n")
        await house.spool.asked.wait()
        fill(house)
        loop, rung = asyncio.get_running_loop(), asyncio.Event()
        loop.call_later(0.15, rung.set)
        await rung.wait()
        house.spool.release()
        assert (await caller.hear()).startswith("250 2.0.0 Ok queued as ")


async def test_a_session_has_an_end_which_is_never_in_a_mail() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.reach_data()
        house.clock.advance(timedelta(hours=24))
        caller.writer.write(CONTENT + b".\r\n")
        assert (await caller.hear()).startswith("250 ")
        assert (await caller.ask("NOOP")).startswith("250 ")
        reply = await caller.ask("MAIL FROM:<billing@example.com>")
        assert reply == "421 4.3.2 This session has lasted long enough; connect again"
        assert await caller.rest() == b""


# --- who speaks something else --------------------------------------------------------------------


@pytest.mark.P7
@pytest.mark.parametrize(
    "hello",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS, where it has to be asked for
        b"\x00\x00\x00\x2f\xffSMB",
        b"\x80",
        b"{",
        b"<",
        b" EHLO a\r\n",
        b"GET / HTTP/1.1\r\nHost: relay.test\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT mail.example.net:25 HTTP/1.0\r\n\r\n",
    ],
    ids=repr,
)
async def test_who_speaks_something_else_is_left_without_a_word(hello: bytes) -> None:
    """At once: what is no SMTP may never come to the end of a line."""
    async with a_house() as house, await Caller.at(house.port) as caller:
        assert (await caller.hear()).startswith("220 ")
        caller.writer.write(hello)
        assert await silence(caller) == b""
        await house.gone()
        ((_, reply),) = house.told("hung_up")
        assert str(reply) == "421 4.7.0 This is an SMTP server, closing connection"


async def silence(caller: Caller) -> bytes:
    """What is said until the connection ends; a reset is an end as good as any."""
    try:
        return await caller.rest()
    except ConnectionResetError:
        return b""


@pytest.mark.P7
async def test_nothing_is_given_away_of_who_is_here() -> None:
    listener = a_listener(TlsMode.OFF, Auth.OFF)
    async with a_house(listener=listener) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        for name in ("billing", "billing@example.com", "nobody@example.com", "", "<root>"):
            assert await caller.ask(f"VRFY {name}") == "252 2.5.2 Send the mail and see"
            assert await caller.ask(f"EXPN {name}") == "502 5.5.1 Command not implemented"
            assert (await caller.ask(f"HELP {name}")).startswith("214 2.0.0 See RFC 5321")
