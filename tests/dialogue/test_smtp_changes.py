"""Listeners that change while clients are there: who notices, who does not, and what stays open."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from relay.smtp.frontdoor import ListenerSettings
from tests.dialogue.house import CONTENT, Caller, House, a_house, a_listener

CHANGED = b"421 4.3.2 This service has changed; connect again\r\n"
REVOKED = b"421 4.7.0 The rules for this sender have changed; connect again\r\n"


async def change(house: House, *listeners: ListenerSettings) -> None:
    (await house.door.prepare(listeners)).enact()


async def test_a_listener_that_stays_does_not_notice() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        other = replace(a_listener(), name="other")
        await change(house, a_listener(), other)
        assert (await caller.send()).startswith("250 ")
        async with await Caller.at(house.door.ports["other"]) as second:
            await second.greet()
            await change(house, a_listener())
            assert await second.rest() == CHANGED
        assert (await caller.send()).startswith("250 ")
        assert list(house.door.ports) == ["legacy"]


async def test_content_on_its_way_is_taken_by_a_listener_that_has_changed() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.reach_data()
        await change(house, replace(a_listener(), max_connections=7))
        caller.writer.write(CONTENT + b".\r\n")
        assert (await caller.hear()).startswith("250 ")
        assert await caller.rest() == CHANGED
        # The door is where it was, by the new rules.
        async with await Caller.at(house.port) as again:
            await again.greet()
        assert house.door.listeners[0].settings.max_connections == 7


async def test_named_addresses_change_hands_without_being_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b:
        ports = a.getsockname()[1], b.getsockname()[1]
    first, second = (
        replace(a_listener(), name=name, port=port)
        for name, port in zip(("first", "second"), ports, strict=True)
    )
    async with a_house(listener=first) as house:
        await change(house, first, second)
        doorways = [one.doorway for one in house.door.listeners]
        await change(house, replace(first, port=ports[1]), replace(second, port=ports[0]))
        assert [one.doorway for one in house.door.listeners] == doorways[::-1]
        await change(house, replace(first, name="renamed"))
        assert house.door.listeners[0].doorway is doorways[0]
        async with await Caller.at(ports[0]) as caller:
            await caller.greet()
        with pytest.raises(ConnectionRefusedError):
            await Caller.at(ports[1])


async def test_what_cannot_be_opened_changes_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = replace(a_listener(), name="wanted", port=taken.getsockname()[1])
        free = replace(a_listener(), name="free")
        async with a_house() as house, await Caller.at(house.port) as caller:
            await caller.greet()
            with pytest.raises(OSError, match=r"listener wanted, .*: Address already in use"):
                await house.door.prepare([free, wanted])
            assert (await caller.send()).startswith("250 ")
            # Ready, and then another part of the reload fails.
            (await house.door.prepare([free])).undo()
            assert (await caller.send()).startswith("250 ")
            assert list(house.door.ports) == ["legacy"]


async def test_a_sender_is_revoked_once_its_content_is_answered() -> None:
    async with a_house() as house:
        callers = [await Caller.at(house.port) for _ in range(3)]
        stranger, idle, busy = callers
        for caller in callers:
            await caller.greet()
        assert (await idle.ask("MAIL FROM:<billing@example.com>")).startswith("250 ")
        await busy.reach_data()
        house.door.revoke({"billing"})  # type: ignore[arg-type]
        assert await idle.rest() == REVOKED
        busy.writer.write(CONTENT + b".\r\n")
        assert (await busy.hear()).startswith("250 ")
        assert await busy.rest() == REVOKED
        # Of whom it is not known yet who it is, nothing can be revoked.
        assert (await stranger.ask("NOOP")).startswith("250 ")
        for caller in callers:
            caller.writer.close()
