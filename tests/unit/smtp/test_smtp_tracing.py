"""A session that nobody watches is as it was; one that is tells all but content and secrets."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from types import SimpleNamespace
from typing import Any, cast

import pytest

from relay.smtp.pace import Pace
from relay.smtp.session import Session
from relay.smtp.tracing import Said, Tracing

PACE = cast("Pace", None)


class Quiet:
    """What of a session is replaced, and what it is asked."""

    commands = Session.commands
    settings = SimpleNamespace(name="legacy")

    def __init__(self, peer: str = "192.0.2.7") -> None:
        self.session_id = "s1"
        self.peer = ip_address(peer)
        self.done: list[Any] = []

    def obey(self, line: bytes) -> None:
        self.done.append(line)

    def say(self, line: bytes) -> None:
        self.done.append(line)

    async def next_line(self) -> bytes:
        return b"c2VjcmV0"

    async def next_chunk(self, _pace: Pace, limit: int = 100) -> bytes:
        return b"x" * limit

    def _hang_up(self, reply: Any) -> None:
        self.done.append(reply)

    def left(self) -> None:
        self.done.append("left")


def watched(*sessions: Quiet, network: str = "192.0.2.0/24") -> tuple[Tracing, list[Said], Any]:
    tracing, told = Tracing(), list[Said]()
    watch = tracing.begin(ip_network(network), told.append, cast("list[Session]", sessions))
    return tracing, told, watch


def methods(session: Quiet) -> set[str]:
    """Return what a session does otherwise than its kind."""
    return set(vars(session)) - {"session_id", "peer", "done"}


@pytest.mark.P6
def test_nothing_is_changed_in_a_session_that_nobody_watches() -> None:
    assert not Tracing()
    session, other = Quiet(), Quiet("198.51.100.1")
    tracing, _, watch = watched(session, other)
    assert tracing
    assert methods(other) == set()
    assert methods(session) == {"obey", "say", "next_line", "next_chunk", "_hang_up", "left"}
    tracing.end(watch)
    assert not tracing
    assert methods(session) == set()


def test_a_session_that_ends_is_let_go() -> None:
    session = Quiet()
    tracing, told, watch = watched(session)
    session.left()
    assert session.done == ["left"]
    assert methods(session) == set()
    assert told[-1].text == "the connection is closed"
    tracing.end(watch)


def test_two_may_watch_the_same_client() -> None:
    session = Quiet()
    tracing, first, one = watched(session)
    second: list[Said] = []
    other = tracing.begin(ip_network("0.0.0.0/0"), second.append, cast("list[Session]", [session]))
    session.say(b"250 2.0.0 Ok\r\n")
    assert [line.text for line in first][-1] == [line.text for line in second][-1] == "250 2.0.0 Ok"
    tracing.end(one)
    session.say(b"221 2.0.0 Bye\r\n")
    assert first[-1].text == "250 2.0.0 Ok"
    assert second[-1].text == "221 2.0.0 Bye"
    tracing.end(other)


def test_a_client_by_ipv6_is_found_by_its_ipv4() -> None:
    session = Quiet("::ffff:192.0.2.9")
    assert watched(session)[1][0].text == "watched from here on"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"EHLO app.example.com", "EHLO app.example.com"),
        (b"mail FROM:<a@example.com> SIZE=7", "mail FROM:<a@example.com> SIZE=7"),
        (b"AUTH PLAIN AGFwcABzZWNyZXQ=", "AUTH PLAIN ***"),
        (b"auth login YXBw c2VjcmV0", "AUTH login ***"),
        (b"AUTH LOGIN", "AUTH LOGIN"),
        (b"c2VjcmV0", "(8 octets that are no command)"),
        (b"hunter2 hunter2", "(15 octets that are no command)"),
        (b"NOOP \x1b[31m\xff", "NOOP \\x1b[31m\\xff"),
    ],
)
def test_a_command_is_shown_without_what_is_secret(line: bytes, shown: str) -> None:
    session = Quiet()
    told = watched(session)[1]
    session.obey(line)
    assert (told[-1].speaker, told[-1].text) == ("C", shown)
    assert session.done == [line]


async def test_responses_are_hidden_and_content_is_counted() -> None:
    session = Quiet()
    told = watched(session)[1]
    session.say(b"334 VXNlcm5hbWU6\r\n")
    assert await session.next_line() == b"c2VjcmV0"
    await session.next_chunk(PACE, 70)
    await session.next_chunk(PACE, 30)
    session.say(b"250 2.0.0 Ok queued as X\r\n")
    assert [f"{one.speaker} {one.text}" for one in told[1:]] == [
        "S 334 VXNlcm5hbWU6",
        "C ***",
        "C (100 octets of content, line ends included)",
        "S 250 2.0.0 Ok queued as X",
    ]
    assert all(one.at >= 0 for one in told)
