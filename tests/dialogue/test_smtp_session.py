"""A session's bounds: lines, time, junk, faults, replies; and what a reload changes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from relay.policy.admission import Auth
from relay.policy.sender import Limits, OverLimit, Rate
from relay.smtp import connection
from relay.smtp.auth import Verifier
from relay.smtp.connection import Connection
from relay.smtp.frontdoor import AuthWithoutTls, Deadlines
from relay.smtp.session import Session
from relay.smtp.throttle import VerifierBusyError
from tests.builders import a_ruleset, a_sender
from tests.dialogue.house import CONTENT, Caller, a_house, a_known_sender, a_listener, narrow

PLAIN = "AUTH PLAIN AGJpbGxpbmcAc3dvcmRmaXNo"
WRONG = "AUTH PLAIN AGJpbGxpbmcAc3dvcmQ="
BY_LOGIN = a_listener(auth=Auth.OPTIONAL, auth_without_tls=AuthWithoutTls.LOOPBACK)


@pytest.mark.P7
@pytest.mark.parametrize(
    "line",
    [b"NOOP\n", b"NOOP\nNOOP\r\n", b"NOOP\r\r\n", b"NO\rOP\r\n", b"\n", b"NOOP\r\n\nNOOP\r\n"],
)
async def test_a_command_line_ends_with_crlf_and_nothing_else(line: bytes) -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        caller.writer.write(line)
        said = await caller.rest()
        assert said.endswith(b"500 5.5.2 Command lines must end with CRLF\r\n")


@pytest.mark.P6
@pytest.mark.parametrize(
    ("line", "start"),
    [
        ("NOOP " + "x" * 505, "250 "),
        ("NOOP " + "x" * 506, "500 5.5.2 "),
        ("X" * 511, "500 5.5.2 Command line too long"),
        ("MAIL FROM:<billing@example.com> AUTH=" + "x" * 490, "250 "),
        ("MAIL FROM:<billing@example.com> AUTH=" + "x" * 2100, "500 5.5.2 "),
        ("NOOP " + "x" * 30_000, "500 5.5.2 "),
    ],
)
async def test_a_line_has_a_limit_and_the_session_goes_on(line: str, start: str) -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        assert (await caller.ask(line)).startswith(start)
        assert (await caller.ask("NOOP")).startswith("250 ")


@pytest.mark.P6
async def test_a_line_that_does_not_end_is_not_read_on() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        caller.writer.write(b"NOOP " + b"x" * 1_000_000)
        assert (await caller.hear()).startswith("500 5.5.2 ")
        assert await caller.rest() == b""


async def test_an_auth_line_may_be_long_but_not_longer() -> None:
    async with a_house(listener=BY_LOGIN) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        assert (await caller.ask("AUTH PLAIN " + "A" * 12_000)).startswith("501 5.5.2 ")
        assert (await caller.ask("AUTH PLAIN")).startswith("334 ")
        assert (await caller.ask("A" * 12_288)).startswith("501 5.5.2 ")
    async with a_house(listener=BY_LOGIN) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        assert (await caller.ask("AUTH PLAIN")).startswith("334 ")
        assert (await caller.ask("A" * 12_289)).startswith("500 5.5.6 ")
        assert (await caller.ask(PLAIN)).startswith("235 ")


@pytest.mark.P6
async def test_a_silent_client_is_told_goodbye() -> None:
    deadlines = Deadlines(command=0.05)
    async with a_house(deadlines=deadlines) as house, await Caller.at(house.port) as caller:
        await caller.hear()
        assert await caller.rest() == b"421 4.4.2 Timed out, closing connection\r\n"
        await house.gone()
        assert house.facts.names() == ["session_opened", "hung_up", "session_closed"]


async def test_each_command_winds_the_clock_anew() -> None:
    deadlines = Deadlines(command=1.0)
    async with a_house(deadlines=deadlines) as house, await Caller.at(house.port) as caller:
        await caller.hear()
        loop = asyncio.get_running_loop()
        until = loop.time() + 1.2
        while loop.time() < until:
            assert (await caller.ask("EHLO a")).startswith("250-")
            await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=0.02)


@pytest.mark.P6
@pytest.mark.parametrize(
    "line",
    [
        "NOOP",
        "RSET",
        "BOGUS",
        "HELO a",
        "VRFY a",
        "MAIL FROM:x",
        "MAIL FROM:<root>",
        "MAIL FROM:<ceo@corp.example>",
        "RCPT TO:<a@b>",
    ],
)
async def test_nothing_but_junk_ends_the_session(line: str) -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        caller.say(*[line] * 120)
        said = (await caller.rest()).decode().splitlines()
        assert len(said) == 101
        assert said[-1].startswith("421 4.7.0 ")
        assert [str(reply) for _, reply in house.told("hung_up")] == [said[-1]]


async def test_junk_is_forgiven_with_each_mail() -> None:
    """Clients that keep their connection say RSET with every mail."""
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        for _ in range(3):
            assert (await caller.ask(*["RSET"] * 60)).startswith("250 ")
            assert (await caller.send()).startswith("250 ")


class Watched:
    """A transport that notes what is asked of it."""

    def __init__(self, session: Connection) -> None:
        self._wire = session._wire
        session._wire = self  # type: ignore[assignment]
        self.written: list[int] = []
        """The lines of each write."""
        self.left_unread = 0
        """Octets in the buffer when the connection was cut."""

    def write(self, octets: bytes) -> None:
        self.written.append(octets.count(b"\r\n"))
        self._wire.write(octets)

    def abort(self) -> None:
        self.left_unread = self._wire.get_write_buffer_size()
        self._wire.abort()

    def __getattr__(self, name: str) -> object:
        return getattr(self._wire, name)


@pytest.mark.P6
async def test_a_client_that_does_not_read_is_not_listened_to() -> None:
    """Replies pile up to a bound, then commands stay with the client, then it is cut off."""
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        house.hurry(command=0.1, linger=0.05)
        caller.writer.transport.pause_reading()  # type: ignore[attr-defined]
        (session,) = house.door.listeners[0].sessions._open
        wire = Watched(session)
        narrow(session, caller)
        # Mail that is taken is no junk, so this client could go on for long: 0.6 MB of replies, of
        # which the system takes some and we the rest.
        mail = b"MAIL FROM:<billing@example.com>\r\nRCPT TO:<jane@example.net>\r\nDATA\r\n"
        caller.writer.write((mail + CONTENT + b".\r\n") * 5_000)
        await house.gone()
        assert 16384 < wire.left_unread < 65536 + 2 * 16384
        assert len(house.spool.committed) < 5_000
        assert [reply.code for _, reply in house.told("hung_up")] == [421]


@pytest.mark.P6
async def test_pipelined_commands_are_answered_in_one_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # However slow the machine is.
    monkeypatch.setattr(connection, "_TURN", 60.0)
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        (session,) = house.door.listeners[0].sessions._open
        wire = Watched(session)
        await caller.ask(
            "MAIL FROM:<billing@example.com>", "RCPT TO:<jane@example.net>", "RSET", "NOOP"
        )
        assert wire.written == [4]


async def fault(_session: Session, _argument: str) -> None:
    raise RuntimeError("/var/lib/secret")


@pytest.mark.P1
async def test_a_fault_of_ours_is_4xx_says_nothing_and_is_survived(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands = {**Session.commands, b"HELP": fault}
    monkeypatch.setattr(Session, "commands", commands)
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.ask("MAIL FROM:<billing@example.com>")
        assert await caller.ask("HELP") == "451 4.3.0 Internal error, try again later"
        # The transaction is over, the session is not.
        assert (await caller.send()).startswith("250 ")
        assert (await caller.ask("HELP")).startswith("451 ")
        assert (await caller.ask("HELP")).startswith("451 ")
        assert await caller.rest() == b"421 4.3.0 Internal error, closing connection\r\n"
        faults = house.told("fault")
        assert [str(error) for _, error, _ in faults] == ["/var/lib/secret"] * 3


@pytest.mark.P1
async def test_a_fault_while_content_arrives_never_turns_content_into_commands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_self: object, _octets: bytes) -> bytes:
        raise RuntimeError("broken")

    monkeypatch.setattr("relay.smtp.data.ContentScanner.feed", broken)
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.reach_data()
        caller.writer.write(CONTENT + b".\r\nMAIL FROM:<billing@example.com>\r\n")
        said = await caller.rest()
        assert said.startswith(b"421 4.3.0 ")
        assert said.count(b"\r\n") == 1
        assert len(house.told("fault")) == 1


async def test_a_fault_outside_of_any_command_ends_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_self: Session) -> bytes:
        raise RuntimeError("/var/lib/secret")

    monkeypatch.setattr(Session, "banner", broken)
    async with a_house() as house, await Caller.at(house.port) as caller:
        assert await caller.rest() == b"421 4.3.0 Internal error, closing connection\r\n"
        assert len(house.told("fault")) == 1
        await house.gone()


@pytest.mark.P1
async def test_a_commit_that_breaks_is_4xx_and_its_draft_is_gone() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        house.spool.commit_error = RuntimeError("bug")  # not what the port promises
        assert await caller.send() == "451 4.3.0 Internal error, try again later"
        house.spool.commit_error = None
        assert (await caller.send()).startswith("250 ")
        assert len(house.told("fault")) == 1


@pytest.mark.parametrize(("line", "start"), [(WRONG, "535 5.7.8 "), ("AUTH PLAIN !!!!", "501 ")])
async def test_a_failed_auth_takes_its_time(line: str, start: str) -> None:
    deadlines = Deadlines(auth_floor=0.2)
    async with (
        a_house(listener=BY_LOGIN, deadlines=deadlines) as house,
        await Caller.at(house.port) as caller,
    ):
        await caller.greet()
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert (await caller.ask(line)).startswith(start)
        assert loop.time() - began > 0.195
        house.hurry(auth_floor=600)
        async with asyncio.timeout(30):
            assert (await caller.ask(PLAIN)).startswith("235 ")


@pytest.mark.P6
async def test_too_many_passwords_at_once_are_told_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def busy(_self: Verifier, *_: object) -> None:
        raise VerifierBusyError

    monkeypatch.setattr(Verifier, "verify", busy)
    deadlines = Deadlines(auth_floor=0.1)
    async with (
        a_house(listener=BY_LOGIN, deadlines=deadlines) as house,
        await Caller.at(house.port) as caller,
    ):
        await caller.greet()
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(3):
            assert (await caller.ask(PLAIN)).startswith("454 4.7.0 ")
        # It takes as long as to be wrong, and as often: nothing is gained by keeping us busy.
        assert loop.time() - began > 0.29
        assert await caller.rest() == b"421 4.7.0 Too many failed authentications\r\n"
        assert [reason for _, _, reason in house.told("auth_failed")] == ["busy"] * 3


async def test_facts_of_auth_name_the_reason_and_never_the_secret() -> None:
    async with a_house(listener=BY_LOGIN) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        for lines in ((WRONG,), ("AUTH LOGIN", "*"), (PLAIN,)):
            await caller.ask(*lines)
        session_id = house.told("session_opened")[0][0]
        assert house.told("auth_failed") == [
            (session_id, "plain", "credentials"),
            (session_id, "login", "aborted"),
        ]
        assert house.told("authenticated") == [(session_id, "plain", "billing")]
        assert "swordfish" not in repr(house.facts.told)
    closed = a_listener(auth=Auth.REQUIRED)
    async with a_house(listener=closed) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.ask(PLAIN)
        assert [reason for _, _, reason in house.told("auth_failed")] == ["tls_required"]


async def test_an_authenticated_client_is_traced_as_one() -> None:
    async with a_house(listener=BY_LOGIN) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.ask(PLAIN)
        await caller.send()
        assert b" with ESMTPA id " in house.contents[0]


async def test_auth_beats_the_network() -> None:
    printers = replace(a_known_sender("printers"), login="", secret="")
    billing = replace(a_known_sender(), networks=())
    async with (
        a_house(printers, billing, listener=BY_LOGIN) as house,
        await Caller.at(house.port) as caller,
    ):
        await caller.greet()
        await caller.send()
        await caller.ask(PLAIN)
        await caller.send()
        assert [mail.sender for mail, _ in house.spool.committed] == ["printers", "billing"]


@pytest.mark.P7
async def test_a_sender_that_is_removed_sends_no_further_mail() -> None:
    async with a_house(listener=BY_LOGIN) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.ask(PLAIN)
        await caller.reach_data()
        # A content under way is finished by the rules it began under.
        house.rules.current = a_ruleset(a_sender("other"), generation=2)
        caller.writer.write(CONTENT + b".\r\n")
        assert (await caller.hear()).startswith("250 ")
        assert (await caller.ask("MAIL FROM:<billing@example.com>")).startswith("421 4.7.0 ")
        assert await caller.rest() == b""


@pytest.mark.P7
async def test_a_new_secret_ends_sessions_of_the_old_one_and_other_changes_do_not() -> None:
    async with a_house(listener=BY_LOGIN) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.ask(PLAIN)
        renamed = replace(a_known_sender(), limits=Limits(5))
        house.rules.current = a_ruleset(renamed, generation=2)
        # The session goes on, by the new rules.
        assert (await caller.ask("MAIL FROM:<billing@example.com> SIZE=6")).startswith("552 ")
        house.rules.current = a_ruleset(replace(a_known_sender(), secret="sha256:00"), generation=3)
        assert (await caller.ask("MAIL FROM:<billing@example.com>")).startswith("421 4.7.0 ")


@pytest.mark.P7
async def test_a_network_that_is_taken_away_takes_effect_at_the_next_mail() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.send()
        house.rules.current = a_ruleset(replace(a_known_sender(), networks=()), generation=2)
        assert (await caller.ask("MAIL FROM:<billing@example.com>")).startswith("550 5.7.1 ")


@pytest.mark.P6
async def test_a_rate_is_shared_by_all_sessions_of_a_sender() -> None:
    limits = Limits(1000, Rate(1, 60.0), 2, OverLimit.REFUSE)
    strict = replace(a_known_sender(), limits=limits)
    async with a_house(strict) as house:
        for start in ("250 ", "250 ", "451 4.7.1 "):
            async with await Caller.at(house.port) as caller:
                await caller.greet()
                said = await caller.ask("MAIL FROM:<billing@example.com>")
                assert said.startswith(start)
        assert [refusal.reason for _, _, refusal, *_ in house.told("refused")] == ["rate_limited"]


async def test_refusals_are_told_with_their_phase_and_sender() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.ask("MAIL FROM:<ceo@corp.example>", "MAIL FROM:<root>")
        await caller.ask("MAIL FROM:<billing@example.com>", "RCPT TO:<nobody>")
        told = [
            (phase, refusal.reason, who) for _, phase, refusal, who, *_ in house.told("refused")
        ]
        assert told == [
            ("mail", "sender_not_allowed", "billing"),
            ("mail", "bad_address", "billing"),
            ("rcpt", "bad_address", "billing"),
        ]
