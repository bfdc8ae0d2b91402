"""How sessions end: what is told, what is waited for, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from relay.policy.admission import Auth
from relay.smtp.connection import Connection
from relay.smtp.frontdoor import AuthWithoutTls, Deadlines, TlsMode
from tests.dialogue.house import (
    CONTENT,
    PATIENT,
    Caller,
    House,
    a_house,
    a_listener,
    narrow,
    trusting,
    until,
)

BY_LOGIN = a_listener(auth=Auth.OPTIONAL, auth_without_tls=AuthWithoutTls.LOOPBACK)


Behaviour: TypeAlias = Callable[[Caller, House], Awaitable[None]]


async def quit_politely(caller: Caller, house: House) -> None:
    await caller.ask("EHLO a")
    await caller.send()
    await caller.ask("QUIT")


async def go(caller: Caller, house: House) -> None:
    await caller.ask("EHLO a")
    caller.writer.close()


async def crash(caller: Caller, house: House) -> None:
    await caller.ask("EHLO a")
    await caller.reach_data()
    caller.writer.write(CONTENT)
    await caller.writer.drain()
    caller.reset()


async def talk_nonsense(caller: Caller, house: House) -> None:
    await caller.ask("EHLO a")
    caller.say(*["NOOP"] * 200)
    await caller.rest()


async def end_lines_badly(caller: Caller, house: House) -> None:
    await caller.ask("EHLO a")
    caller.writer.write(b"NOOP\n")
    await caller.rest()


async def fall_silent(caller: Caller, house: House) -> None:
    house.hurry(command=0.05)
    await caller.ask("EHLO a")
    await caller.rest()


async def fall_silent_in_data(caller: Caller, house: House) -> None:
    await caller.ask("EHLO a")
    house.hurry(data_block=0.05)
    await caller.reach_data()
    await caller.rest()


async def guess(caller: Caller, house: House) -> None:
    await caller.ask("EHLO a")
    caller.say(*["AUTH PLAIN AGJpbGxpbmcAc3dvcmQ="] * 3)
    await caller.rest()


async def read_nothing(caller: Caller, house: House) -> None:
    await caller.ask("EHLO a")
    house.hurry(command=0.2)
    caller.writer.transport.pause_reading()  # type: ignore[attr-defined]
    mail = b"MAIL FROM:<billing@example.com>\r\nRCPT TO:<jane@example.net>\r\nDATA\r\n"
    caller.writer.write((mail + CONTENT + b".\r\n") * 3_000)


@pytest.mark.P6
@pytest.mark.parametrize(
    "behave",
    [
        quit_politely,
        go,
        crash,
        talk_nonsense,
        end_lines_badly,
        fall_silent,
        fall_silent_in_data,
        guess,
        read_nothing,
    ],
)
@pytest.mark.parametrize("encrypted", [False, True], ids=["clear", "tls"])
async def test_nothing_is_left_of_a_session_that_has_ended(
    behave: Behaviour, encrypted: bool, certificate: Path
) -> None:
    """A cycle would keep its buffers until the collector comes by, which under load is late."""
    deadlines = Deadlines(auth_floor=0.01, farewell=0.1, linger=0.1)
    listener = BY_LOGIN
    if encrypted:
        listener = a_listener(TlsMode.STARTTLS, Auth.OPTIONAL)
    async with (
        a_house(listener=listener, deadlines=deadlines, certificate=certificate) as house,
        await Caller.at(house.port) as caller,
    ):
        await caller.greet()
        if encrypted:
            await caller.ask("STARTTLS")
            await caller.start_tls(trusting(certificate))
        gc.collect()
        gc.disable()
        try:
            (session,) = house.door.listeners[0].sessions._open
            left = weakref.ref(session)
            narrow(session, caller)
            del session
            await behave(caller, house)
            caller.writer.transport.abort()
            await house.gone()
            await settle(left)
            assert left() is None
        finally:
            gc.enable()


async def settle(left: weakref.ref[Connection]) -> None:
    """Let the loop finish what it had begun; a few rounds are enough, and a cycle stays."""
    for _ in range(100):
        if left() is None:
            return
        await asyncio.sleep(0)


@pytest.mark.P6
async def test_nothing_is_left_of_an_implicit_tls_session(certificate: Path) -> None:
    listener = a_listener(TlsMode.IMPLICIT)
    async with (
        a_house(listener=listener, certificate=certificate) as house,
        await Caller.at(house.port, tls=trusting(certificate)) as caller,
    ):
        await caller.greet()
        gc.collect()
        gc.disable()
        try:
            (session,) = house.door.listeners[0].sessions._open
            left = weakref.ref(session)
            del session
            await caller.send()
            await caller.ask("QUIT")
            caller.writer.transport.abort()
            await house.gone()
            await settle(left)
            assert left() is None
        finally:
            gc.enable()


async def the_end(house: House, *lines: str) -> list[str]:
    async with await Caller.at(house.port) as caller:
        await caller.greet()
        caller.say(*lines)
        await caller.rest()
    await house.gone()
    return [str(reply) for _, reply in house.told("hung_up")]


async def test_who_was_hung_up_on_is_told_once_with_the_last_reply() -> None:
    async with a_house() as house:
        assert await the_end(house, "GET / HTTP/1.1", "Host: x") == [
            "421 4.7.0 This is an SMTP server, closing connection"
        ]
        ((session_id, _),) = house.told("hung_up")
        assert session_id == house.told("session_opened")[0][0]


async def test_who_ended_the_session_was_not_hung_up_on() -> None:
    async with a_house() as house:
        assert await the_end(house, "QUIT") == []
        async with await Caller.at(house.port) as caller:
            await caller.greet()
        await house.gone()
        assert not house.told("hung_up")


async def test_a_drain_hangs_up_on_who_is_there() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await house.door.drain(1)
        ((_, reply),) = house.told("hung_up")
        assert str(reply) == "421 4.3.2 Service shutting down"


async def test_who_does_not_read_is_hung_up_on_without_a_word() -> None:
    deadlines = Deadlines(linger=0.05)
    async with a_house(deadlines=deadlines) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        (session,) = house.door.listeners[0].sessions._open
        narrow(session, caller)
        await read_nothing(caller, house)
        await house.gone()
        ((_, reply),) = house.told("hung_up")
        assert str(reply).startswith("421 4.4.2 ")


@pytest.mark.P1
async def test_a_commit_under_way_at_the_end_of_the_grace_is_still_answered() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        house.spool.hold(picked=True)
        await caller.reach_data()
        caller.writer.write(CONTENT + b".\r\n")
        await house.spool.asked.wait()
        drained = asyncio.create_task(house.door.drain(0.05))
        await asyncio.wait([drained], timeout=0.2)
        house.spool.release()
        assert (await caller.hear()).startswith("250 2.0.0 Ok queued as ")
        assert await caller.rest() == b"421 4.3.2 Service shutting down\r\n"
        await drained


@pytest.mark.P6
@pytest.mark.parametrize("mode", [TlsMode.IMPLICIT, TlsMode.STARTTLS])
async def test_a_peer_that_never_ends_its_tls_is_not_waited_for(
    mode: TlsMode, certificate: Path
) -> None:
    deadlines = Deadlines(linger=30, farewell=0.05)
    listener = a_listener(mode)
    implicit = trusting(certificate) if mode is TlsMode.IMPLICIT else None
    async with (
        a_house(listener=listener, certificate=certificate, deadlines=deadlines) as house,
        await Caller.at(house.port, tls=implicit) as caller,
    ):
        await caller.greet()
        if mode is TlsMode.STARTTLS:
            await caller.ask("STARTTLS")
            await caller.start_tls(trusting(certificate))
            await caller.ask("EHLO a")
        caller.writer.transport.pause_reading()  # type: ignore[attr-defined]
        caller.say("QUIT")
        async with asyncio.timeout(20):
            await house.gone()
        caller.writer.transport.abort()


@pytest.mark.P6
async def test_headers_that_are_never_finished_have_one_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("relay.smtp.headers.HEADER_WINDOW", 100_000)
    async with (
        a_house(deadlines=PATIENT) as house,
        await Caller.at(house.port) as one,
        await Caller.at(house.port) as two,
    ):
        window = house.door.listeners[0]._surroundings.headers
        for caller in (one, two):
            await caller.greet()
            await caller.reach_data()
        one.writer.write(b"From: billing@example.com\r\nX: " + b"x" * 80_000)
        await until(lambda: window.taken >= 80_000)
        two.writer.write(b"From: billing@example.com\r\nX: " + b"x" * 80_000 + b"\r\n")
        two.say("", ".")
        assert (await two.hear()).startswith("452 4.3.1 ")
        # The first is not disturbed; and whatever becomes of it, its room is given back.
        one.say("", ".")
        assert (await one.hear()).startswith("250 ")
        assert window.taken == 0
        await one.reach_data()
        one.writer.write(b"From: billing@example.com\r\nX: " + b"x" * 80_000)
        await until(lambda: window.taken >= 80_000)
        one.reset()
        await until(lambda: not window.taken)
