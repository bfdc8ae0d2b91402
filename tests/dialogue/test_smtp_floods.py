"""Clients that send as fast as they can: what they may have of us, and what others still get."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import pairwise
from math import inf
from typing import Any

import pytest

from relay.policy.sender import OnSuppressed
from relay.smtp import connection, turns
from relay.smtp.frontdoor import Deadlines
from relay.smtp.reception import Reception
from relay.smtp.session import Session
from tests.dialogue.house import CONTENT, Caller, House, a_house, a_known_sender, until
from tests.dialogue.test_smtp_scripts import GONE
from tests.fakes import FakeSuppressions

TOO_MUCH = "421 4.7.0 Too many commands without mail, closing connection"


async def flood(house: House, *lines: str) -> list[str]:
    """Send all lines in one piece; return the replies."""
    async with await Caller.at(house.port) as caller:
        await caller.greet()
        caller.say(*lines)
        said = await caller.rest()
    return said.decode().splitlines()


@pytest.mark.P6
@pytest.mark.parametrize(
    "recipient", ["<gone@example.net>", "<not an address>", "<jane@example.net>"]
)
async def test_recipients_in_vain_end_the_session(recipient: str) -> None:
    """Suppressed, not valid, or named again and again."""
    async with a_house() as house:
        house.suppressions._by_address.update(FakeSuppressions(GONE)._by_address)
        said = await flood(
            house, "MAIL FROM:<billing@example.com>", *[f"RCPT TO:{recipient}"] * 1500
        )
        assert 1002 <= len(said) <= 1003
        assert said[-1] == TOO_MUCH
        assert len(house.told("hung_up")) == 1


async def test_recipients_in_vain_are_forgiven_with_each_mail() -> None:
    """A list of which many are suppressed is mail like any other."""
    sender = replace(a_known_sender(), on_suppressed=OnSuppressed.REJECT)
    async with a_house(sender) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        for _ in range(3):
            await caller.ask("MAIL FROM:<billing@example.com>")
            replies = await caller.ask(*["RCPT TO:<jane@example.net>"] * 900)
            assert replies.startswith("250 ")
            assert (await caller.ask("DATA")).startswith("354 ")
            caller.writer.write(CONTENT + b".\r\n")
            assert (await caller.hear()).startswith("250 ")


@pytest.mark.P6
async def test_content_refused_again_and_again_ends_the_session() -> None:
    async with a_house() as house:
        said = await flood(
            house,
            *(
                "MAIL FROM:<billing@example.com>",
                "RCPT TO:<jane@example.net>",
                "DATA",
                "No header",
                ".",
            )
            * 150,
        )
        assert [line[:4] for line in said[-2:]] == ["550 ", "421 "]
        assert len(house.told("refused")) == 101


@pytest.mark.P6
@pytest.mark.parametrize("flooding", ["commands", "content"])
async def test_others_get_their_turn_while_one_floods(
    flooding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client with a full buffer never makes us wait, so we must make ourselves.

    Our own time is counted: what the machine does meanwhile is no fault of ours.
    """
    monkeypatch.setattr(connection, "_TURN", 0.002)
    if flooding == "commands":
        mail = b"MAIL FROM:<billing@example.com>\r\nRSET\r\n" * 40
    else:
        mail = (
            b"MAIL FROM:<billing@example.com>\r\nRCPT TO:<jane@example.net>\r\nDATA\r\nx\r\n.\r\n"
        )
        mail *= 40
    obey, alone = Session.obey, 0.0

    def slow(session: Session, line: bytes) -> Coroutine[Any, Any, None] | None:
        until = time.thread_time() + 0.001
        while time.thread_time() < until:
            pass
        return obey(session, line)

    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        (session,) = house.door.listeners[0].sessions._open
        monkeypatch.setattr(Session, "obey", slow)
        rounds: list[float] = []

        async def watch() -> None:
            while True:
                rounds.append(time.thread_time())
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0)
        # All of it lies in the buffer before the first line of it is looked at.
        session.data_received(mail)
        await until(lambda: not session.has_more)
        watching.cancel()
        alone = max(b - a for a, b in pairwise(rounds))
    assert alone < 0.02


@pytest.mark.P6
async def test_uploads_share_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the sockets of many fast clients hold is not taken all at once, but none of it is lost.

    The loop reads a socket up to 32 times before it turns to anything else; so do we here.
    """
    monkeypatch.setattr(turns, "_ROUND", 0.002)
    take, taken = Reception.take, 0

    async def slow(reception: Reception, octets: bytes) -> None:
        nonlocal taken
        taken += 1
        until = time.monotonic() + 0.001
        while time.monotonic() < until:
            pass
        await take(reception, octets)

    monkeypatch.setattr(Reception, "take", slow)
    piece = b"x" * 62 + b"\r\n"
    async with a_house() as house, AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(await Caller.at(house.port)) for _ in range(4)]
        for caller in callers:
            await caller.greet()
            await caller.reach_data()
            caller.writer.write(CONTENT)
        await until(lambda: taken == len(callers))
        taken = fed = 0
        for session in house.door.listeners[0].sessions._open:
            for _ in range(32):
                if not session._is_held_back:
                    session.data_received(piece * 256)
                    fed += 256
        # As many as there is time for, and one buffer that each session waits for by then.
        assert 1 <= taken <= 2 + len(callers)
        for caller in callers:
            caller.writer.write(b".\r\n")
            assert (await caller.hear()).startswith("250 ")
        assert sum(content.count(piece) for content in house.contents) == fed


@pytest.mark.parametrize("command", ["DATA", "BDAT"])
async def test_a_client_is_missed_that_goes_after_a_great_upload(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket was not read for a while: what has come was to be looked at first."""
    monkeypatch.setattr(turns, "_ROUND", -1.0)
    content = CONTENT + b"x" * 70 + b"\r\n"
    content += (b"y" * 70 + b"\r\n") * 4096
    async with a_house() as house, await Caller.at(house.port) as caller:
        house.spool.hold()
        await caller.greet()
        (session,) = house.door.listeners[0].sessions._open
        if command == "DATA":
            await caller.reach_data()
            octets = content + b".\r\n"
        else:
            await caller.ask("MAIL FROM:<billing@example.com>")
            await caller.ask("RCPT TO:<jane@example.net>")
            octets = b"BDAT %d LAST\r\n" % len(content) + content
        session._wire.pause_reading()
        session._is_held_back = True
        session.data_received(octets)
        await house.spool.asked.wait()
        caller.reset()
        async with asyncio.timeout(10):
            await until(lambda: session.is_lost)
        house.spool.release()
        await house.gone()


@pytest.mark.P6
async def test_nobody_works_for_a_client_that_is_gone() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        house.spool.hold(picked=True)
        await caller.greet()
        (session,) = house.door.listeners[0].sessions._open
        mail = b"MAIL FROM:<billing@example.com>\r\nRCPT TO:<jane@example.net>\r\n"
        mail += b"DATA\r\n" + CONTENT + b".\r\n"
        session.data_received(mail + b"MAIL FROM:<ceo@corp.example>\r\n" * 50)
        await house.spool.asked.wait()
        session.abort()
        await until(lambda: session.is_lost)
        house.spool.release()
        await house.gone()
        assert len(house.spool.committed) == 1
        assert not house.told("refused")
        assert not house.told("fault")


@pytest.mark.P6
async def test_content_of_a_client_that_is_gone_is_not_read_on() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.reach_data()
        (session,) = house.door.listeners[0].sessions._open
        session.data_received(CONTENT)
        session.abort()
        # Behind what arrived before, as a transport may still deliver it.
        session.data_received(b"x" * 1000 + b"\r\n.\r\n")
        await house.gone()
        assert not house.spool.committed
        assert not house.told("fault"), "it was we who cut it off, and that is no fault of ours"


@pytest.mark.P6
async def test_who_sends_no_mail_has_a_minute_whatever_else_it_says() -> None:
    deadlines = Deadlines(first_mail=0.2)
    async with a_house(deadlines=deadlines) as house, await Caller.at(house.port) as caller:
        said = asyncio.create_task(caller.rest())
        while not said.done():
            caller.say("NOOP")
            await asyncio.wait([said], timeout=0.02)
        # Our goodbye is lost where a command crosses it: the system resets what is closed.
        assert isinstance(said.exception(), ConnectionResetError) or said.result().endswith(
            b"421 4.4.2 Timed out, closing connection\r\n"
        )
        assert [str(reply) for _, reply in house.told("hung_up")] == [
            "421 4.4.2 Timed out, closing connection"
        ]


@pytest.mark.P6
async def test_a_refused_mail_does_not_count_as_one() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        (session,) = house.door.listeners[0].sessions._open
        by_when = session.timer.latest
        assert (await caller.ask("MAIL FROM:<ceo@corp.example>")).startswith("553 ")
        assert session.timer.latest == by_when
        session.timer.latest = asyncio.get_running_loop().time() + 0.05
        await caller.ask("NOOP")
        assert (await caller.rest()).startswith(b"421 4.4.2 ")


async def test_who_has_sent_mail_may_wait_longer() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        (session,) = house.door.listeners[0].sessions._open
        assert session.timer.latest < inf
        assert (await caller.send()).startswith("250 ")
        assert session.timer.latest == inf
        house.hurry(command=0.05)
        await caller.ask("NOOP")
        assert (await caller.rest()).startswith(b"421 4.4.2 ")
