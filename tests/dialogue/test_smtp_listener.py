"""Listening, counting and draining."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from pathlib import Path

import pytest

from relay.policy.admission import Auth
from relay.smtp import doorway
from relay.smtp.frontdoor import FrontDoor, ListenerSettings, TlsMode
from relay.smtp.offer import Offer
from relay.smtp.replies import SHUTTING_DOWN
from relay.smtp.session import Session
from tests.dialogue.house import CONTENT, Caller, House, a_house, a_listener, a_place, trusting


async def test_each_listener_reports_its_port() -> None:
    house = House()
    one = ListenerSettings("one", "127.0.0.1", 0, TlsMode.OFF, Auth.OFF)
    two = ListenerSettings("two", "::1", 0, TlsMode.OFF, Auth.OFF)
    await house.open(one, two)
    try:
        assert set(house.door.ports) == {"one", "two"}
        assert all(house.door.ports.values())
        assert len(set(house.door.ports.values())) == 2
    finally:
        await house.door.drain(0)
        house.verifier.close()


async def test_all_addresses_are_served_by_one_listener() -> None:
    everywhere = ListenerSettings("all", "::", 0, TlsMode.OFF, Auth.OFF)
    async with a_house(listener=everywhere) as house:
        for host in ("127.0.0.1", "::1"):
            reader, writer = await asyncio.open_connection(host, house.port)
            caller = Caller(reader, writer)
            async with caller:
                await caller.greet()
                # A dual-stack socket reports ::ffff:127.0.0.1, which is the same client.
                assert (await caller.ask("MAIL FROM:<billing@example.com>")).startswith("250 ")
        assert [peer for _, _, peer in house.told("session_opened")] == ["127.0.0.1", "::1"]


async def test_an_address_in_use_opens_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        house = House()
        free = ListenerSettings("free", "127.0.0.1", 0, TlsMode.OFF, Auth.OFF)
        busy = ListenerSettings("busy", "127.0.0.1", port, TlsMode.OFF, Auth.OFF)
        with pytest.raises(OSError, match="ddress"):
            await house.open(free, busy)
        opened = house.door.ports["free"]
        with pytest.raises(OSError, match=r"Connect call failed|Connection refused"):
            await Caller.at(opened)
        house.verifier.close()


async def test_a_listener_that_needs_a_certificate_says_so() -> None:
    house = House()
    for mode in (TlsMode.STARTTLS, TlsMode.STARTTLS_REQUIRED, TlsMode.IMPLICIT):
        with pytest.raises(ValueError, match="listener legacy needs a TLS certificate"):
            FrontDoor([a_listener(mode)], house.surroundings)
    house.verifier.close()


@pytest.mark.P6
async def test_connections_above_the_limit_are_told_to_come_back() -> None:
    async with a_house(listener=a_listener(max_connections=2)) as house:
        async with await Caller.at(house.port) as one, await Caller.at(house.port) as two:
            await one.greet()
            await two.greet()
            async with await Caller.at(house.port) as three:
                assert await three.rest() == b"421 4.3.2 Too many connections, try again later\r\n"
        await house.gone()
        async with await Caller.at(house.port) as four:
            await four.greet()
        assert len(house.told("session_opened")) == 3
        assert house.told("connection_refused") == [("legacy", "127.0.0.1", "limit")]


@pytest.mark.P1
async def test_while_nothing_can_be_kept_a_client_is_told_before_it_begins() -> None:
    async with a_house() as house:
        async with await Caller.at(house.port) as early:
            await early.greet()
            house.spool.is_well = False
            async with await Caller.at(house.port) as late:
                assert (
                    await late.rest() == b"421 4.3.0 No mail can be kept now, try again later\r\n"
                )
            assert house.told("connection_refused") == [("legacy", "127.0.0.1", "spool")]
            # Who was here before goes on, and is answered command by command.
            assert (await early.ask("NOOP")).startswith("250 ")
        house.spool.is_well = True
        async with await Caller.at(house.port) as next_one:
            await next_one.greet()


@pytest.mark.P6
async def test_handshakes_under_way_are_connections_too(certificate: Path) -> None:
    listener = a_listener(TlsMode.IMPLICIT, max_connections=2)
    async with a_house(listener=listener, certificate=certificate) as house:
        async with await Caller.at(house.port), await Caller.at(house.port):
            async with await Caller.at(house.port) as third:
                # Sent away without TLS, and so without a word.
                assert await third.rest() == b""
            assert house.told("connection_refused") == [("legacy", "127.0.0.1", "limit")]
        await house.told_of("connection_refused", times=3)
        assert [reason for *_, reason in house.told("connection_refused")][1:] == ["tls"] * 2
        async with await Caller.at(house.port, tls=trusting(certificate)) as fourth:
            await fourth.greet()


async def test_a_drain_does_not_wait_for_handshakes(certificate: Path) -> None:
    listener = a_listener(TlsMode.IMPLICIT)
    async with (
        a_house(listener=listener, certificate=certificate) as house,
        await Caller.at(house.port, tls=trusting(certificate)) as greeted,
        await Caller.at(house.port) as silent,
    ):
        await greeted.greet()
        async with asyncio.timeout(5):
            await house.door.drain(30)
        assert await silent.rest() == b""
        assert not house.door.listeners[0].places


@pytest.mark.P6
async def test_a_system_that_has_nothing_left_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doorway, "_PAUSE", 0.05)
    accept, failures = socket.socket.accept, [errno.EMFILE, errno.EMFILE, errno.ECONNABORTED]

    def exhausted(listening: socket.socket) -> tuple[socket.socket, object]:
        if failures:
            raise OSError(failures.pop(), "not now")
        return accept(listening)

    async with a_house() as house:
        monkeypatch.setattr(socket.socket, "accept", exhausted)
        async with await Caller.at(house.port) as caller:
            await caller.greet()
        assert not failures
        assert [(where, error.errno) for where, error in house.told("fault")] == [
            ("smtp.accept", errno.EMFILE)
        ] * 2


async def test_a_drain_says_goodbye_to_those_who_wait() -> None:
    async with (
        a_house() as house,
        await Caller.at(house.port) as greeted,
        await Caller.at(house.port) as begun,
    ):
        await greeted.hear()
        await begun.greet()
        await begun.ask("MAIL FROM:<billing@example.com>")
        await house.door.drain(5)
        for caller in (greeted, begun):
            assert await caller.rest() == b"421 4.3.2 Service shutting down\r\n"
        with pytest.raises(OSError, match=r"Connect call failed|Connection refused"):
            await Caller.at(house.port)


@pytest.mark.P1
async def test_a_drain_lets_content_and_commits_finish() -> None:
    async with (
        a_house() as house,
        await Caller.at(house.port) as sending,
        await Caller.at(house.port) as waiting,
    ):
        house.spool.hold(picked=True)
        for caller in (sending, waiting):
            await caller.greet()
            await caller.reach_data()
        waiting.writer.write(CONTENT + b".\r\n")
        await house.spool.asked.wait()
        drained = asyncio.create_task(house.door.drain(5))
        await asyncio.sleep(0)
        house.spool.release()
        sending.writer.write(CONTENT + b".\r\nMAIL FROM:<billing@example.com>\r\n")
        for caller in (sending, waiting):
            assert (await caller.hear()).startswith("250 2.0.0 Ok queued as ")
            assert await caller.rest() == b"421 4.3.2 Service shutting down\r\n"
        await drained
        assert len(house.spool.committed) == 2


@pytest.mark.P6
async def test_a_drain_does_not_wait_for_ever() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.reach_data()
        caller.writer.write(CONTENT)
        await house.door.drain(0.05)
        # It is told that its mail was not taken.
        assert await caller.rest() == b"421 4.3.2 Service shutting down\r\n"
        assert [str(reply) for _, reply in house.told("hung_up")] == [str(SHUTTING_DOWN)]
        assert len(house.told("session_closed")) == 1
        assert not house.spool.committed


async def test_a_drain_of_nobody_returns_at_once(certificate: Path) -> None:
    async with a_house(listener=a_listener(TlsMode.IMPLICIT), certificate=certificate) as house:
        async with await Caller.at(house.port, tls=trusting(certificate)) as caller:
            await caller.greet()
        await house.gone()
        # Were the grace waited for, the test would run into its own time limit.
        await house.door.drain(3600)
        await house.door.drain(3600)
        assert len(house.told("session_closed")) == 1


async def test_the_library_does_not_log_what_clients_say(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.send()
    assert not [record for record in caplog.records if record.name == "mail.log"]


async def test_a_client_that_comes_while_we_drain_is_sent_away() -> None:
    """It was accepted before the socket closed, and greeted after."""
    async with a_house() as house:
        house.door.listeners[0].sessions.part(SHUTTING_DOWN)
        async with await Caller.at(house.port) as caller:
            assert (await caller.rest()).endswith(b"\r\n421 4.3.2 Service shutting down\r\n")


async def test_a_client_that_is_gone_before_it_is_greeted_is_nobody() -> None:
    class Dead(asyncio.Transport):
        closed = False

        def get_extra_info(self, _name: str, default: object = None) -> object:
            return default

        def close(self) -> None:
            self.closed = True

    async with a_house() as house:
        listener = house.door.listeners[0]
        place = a_place(listener.places)
        session = Session(
            asyncio.get_running_loop(),
            listener.settings,
            house.surroundings,
            Offer(listener.settings),
            listener.sessions,
            place,
        )
        dead = Dead()
        session.connection_made(dead)
        session.connection_lost(None)
        assert dead.closed
        assert not session.has_begun
        assert not house.facts.told
        place.give_back()
        assert not listener.places
