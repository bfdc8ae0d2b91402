"""TLS over real sockets: handshakes that fail, stall, or are tampered with."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from relay.policy.admission import Auth
from relay.smtp.frontdoor import Deadlines, TlsMode
from tests.dialogue.house import (
    CONTENT,
    PATIENT,
    Caller,
    a_house,
    a_known_sender,
    a_listener,
    trusting,
)

STARTTLS = a_listener(TlsMode.STARTTLS)
IMPLICIT = a_listener(TlsMode.IMPLICIT, Auth.OPTIONAL)


async def test_a_mail_over_starttls_is_traced_as_such(certificate: Path) -> None:
    content = CONTENT + (b"y" * 900 + b"\r\n") * 500
    async with (
        a_house(listener=STARTTLS, certificate=certificate) as house,
        await Caller.at(house.port) as caller,
    ):
        await caller.greet()
        assert (await caller.ask("STARTTLS")).startswith("220 ")
        await caller.start_tls(trusting(certificate))
        assert "STARTTLS" not in await caller.ask("EHLO app.test")
        assert (await caller.send(content)).startswith("250 ")
        assert b" with ESMTPS id " in house.contents[0]
        assert house.contents[0].endswith(content)


async def test_a_mail_over_implicit_tls(certificate: Path) -> None:
    content = CONTENT + (b"y" * 900 + b"\r\n") * 500
    async with (
        a_house(listener=IMPLICIT, certificate=certificate) as house,
        await Caller.at(house.port, tls=trusting(certificate)) as caller,
    ):
        await caller.greet()
        assert (await caller.ask("AUTH PLAIN AGJpbGxpbmcAc3dvcmRmaXNo")).startswith("235 ")
        assert (await caller.send(content)).startswith("250 ")
        assert b" with ESMTPSA id " in house.contents[0]
        assert house.contents[0].endswith(content)


@pytest.mark.P7
async def test_starttls_forgets_who_the_client_was(certificate: Path) -> None:
    async with (
        a_house(listener=STARTTLS, certificate=certificate) as house,
        await Caller.at(house.port) as caller,
    ):
        await caller.greet()
        await caller.ask("MAIL FROM:<billing@example.com>")
        await caller.ask("STARTTLS")
        await caller.start_tls(trusting(certificate))
        assert (await caller.ask("RCPT TO:<jane@example.net>")).startswith("503 ")
        assert (await caller.ask("MAIL FROM:<billing@example.com>")).startswith("503 ")
        assert not house.spool.committed


@pytest.mark.P7
@pytest.mark.parametrize("injected", [b"NOOP\r\n", b"x", b"\r\n", b"MAIL FROM:<a@example.com>\r\n"])
async def test_nothing_in_the_clear_survives_starttls(injected: bytes, certificate: Path) -> None:
    async with (
        a_house(listener=STARTTLS, certificate=certificate) as house,
        await Caller.at(house.port) as caller,
    ):
        await caller.greet()
        caller.writer.write(b"STARTTLS\r\n" + injected)
        assert await caller.rest() == (
            b"554 5.5.0 Octets followed STARTTLS, closing connection\r\n"
        )


@pytest.mark.P7
async def test_plaintext_after_the_220_ends_the_session(certificate: Path) -> None:
    async with (
        a_house(listener=STARTTLS, certificate=certificate) as house,
        await Caller.at(house.port) as caller,
    ):
        await caller.greet()
        assert (await caller.ask("STARTTLS")).startswith("220 ")
        caller.say("NOOP", "MAIL FROM:<billing@example.com>")
        with_alert = await caller.rest()
        assert b"250" not in with_alert
        await house.gone()
        assert not house.told("fault")


@pytest.mark.P6
async def test_a_handshake_has_a_deadline(certificate: Path) -> None:
    deadlines = Deadlines(handshake=0.05)
    async with (
        a_house(listener=STARTTLS, certificate=certificate, deadlines=deadlines) as house,
        await Caller.at(house.port) as caller,
    ):
        await caller.greet()
        await caller.ask("STARTTLS")
        assert await caller.rest() == b""
        await house.gone()
        assert house.facts.names() == ["session_opened", "session_closed"]


@pytest.mark.P6
async def test_an_implicit_handshake_has_a_deadline(certificate: Path) -> None:
    deadlines = Deadlines(handshake=0.05)
    async with (
        a_house(listener=IMPLICIT, certificate=certificate, deadlines=deadlines) as house,
        await Caller.at(house.port) as caller,
    ):
        assert await caller.rest() == b""
        await house.told_of("connection_refused")
        assert house.facts.told == [("connection_refused", ("legacy", "127.0.0.1", "tls"))]


async def test_a_client_that_goes_in_the_handshake_is_gone(certificate: Path) -> None:
    async with a_house(listener=STARTTLS, certificate=certificate) as house:
        for reset in (False, True):
            async with await Caller.at(house.port) as caller:
                await caller.greet()
                await caller.ask("STARTTLS")
                if reset:
                    caller.reset()
            await house.gone()
        assert len(house.told("session_closed")) == 2
        assert not house.told("fault")


async def test_a_client_without_a_common_version_is_gone(certificate: Path) -> None:
    async with (
        a_house(listener=STARTTLS, certificate=certificate) as house,
        await Caller.at(house.port) as caller,
    ):
        await caller.greet()
        await caller.ask("STARTTLS")
        context = trusting(certificate)
        context.set_ciphers("AES128-SHA:@SECLEVEL=0")
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await caller.start_tls(context)
        await house.gone()
        assert not house.told("fault")


async def test_a_tls_client_that_goes_during_data_leaves_nothing(certificate: Path) -> None:
    async with a_house(listener=IMPLICIT, certificate=certificate) as house:
        for reset in (False, True):
            async with await Caller.at(house.port, tls=trusting(certificate)) as caller:
                await caller.greet()
                await caller.reach_data()
                caller.writer.write(CONTENT)
                await caller.writer.drain()
                if reset:
                    caller.reset()
            await house.gone()
        assert not house.spool.committed
        assert not house.told("fault")


@pytest.mark.P1
async def test_a_tls_client_that_goes_after_content_leaves_its_mail(certificate: Path) -> None:
    async with a_house(listener=IMPLICIT, certificate=certificate) as house:
        house.spool.hold(picked=True)
        async with await Caller.at(house.port, tls=trusting(certificate)) as caller:
            await caller.greet()
            await caller.reach_data()
            caller.writer.write(CONTENT + b".\r\n")
            await house.spool.asked.wait()
        house.spool.release()
        await house.gone()
        assert len(house.spool.committed) == 1


@pytest.mark.P6
async def test_a_tls_client_that_does_not_read_its_last_reply_is_cut_off(
    certificate: Path,
) -> None:
    deadlines = Deadlines(command=0.05, linger=0.05)
    async with (
        a_house(listener=IMPLICIT, certificate=certificate, deadlines=deadlines) as house,
        await Caller.at(house.port, tls=trusting(certificate)) as caller,
    ):
        await caller.greet()
        caller.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await house.gone()
        assert [reply.code for _, reply in house.told("hung_up")] == [421]
        caller.writer.transport.abort()


async def test_auth_over_starttls_needs_ehlo_again(certificate: Path) -> None:
    listener = a_listener(TlsMode.STARTTLS_REQUIRED, Auth.REQUIRED)
    async with (
        a_house(a_known_sender(), listener=listener, certificate=certificate) as house,
        await Caller.at(house.port) as caller,
    ):
        await caller.greet()
        await caller.ask("STARTTLS")
        await caller.start_tls(trusting(certificate))
        assert (await caller.ask("AUTH PLAIN AGJpbGxpbmcAc3dvcmRmaXNo")).startswith("503 ")


async def test_a_handshake_under_way_does_not_hold_up_a_drain(certificate: Path) -> None:
    async with (
        a_house(listener=STARTTLS, certificate=certificate, deadlines=PATIENT) as house,
        await Caller.at(house.port) as caller,
    ):
        await caller.greet()
        await caller.ask("STARTTLS")
        async with asyncio.timeout(5):
            await house.door.drain(0.05)
        assert await caller.rest() == b""
