"""A front door on loopback with fakes behind it, and a client that says what it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from relay.passing import Passage
from relay.policy.admission import Auth
from relay.policy.allowance import Allowances
from relay.policy.sender import Limits, Sender
from relay.smtp.auth import Verifier
from relay.smtp.connection import Connection
from relay.smtp.frontdoor import Deadlines, FrontDoor, ListenerSettings, Surroundings, TlsMode
from relay.smtp.places import Place, Places
from relay.smtp.tls import TlsFiles, TlsInForce, server_context
from tests.builders import a_ruleset, a_sender
from tests.fakes import FakeSpool, FakeSuppressions, FrozenClock, RecordingFacts, StaticRules
from tests.tls import self_signed

PASSWORD = "swordfish"
TOKEN_HASH = "sha256:" + hashlib.sha256(PASSWORD.encode()).hexdigest()

# Long enough never to ring by accident, and no waiting where a test must wait.
PATIENT = Deadlines(auth_floor=0.01)

CONTENT = b"From: billing@example.com\r\nSubject: hello\r\n\r\nHello\r\n"


def a_known_sender(name: str = "billing", *, size: int = 10 * 1024 * 1024) -> Sender:
    """A sender that may log in as `billing` and is known by its network, loopback."""
    return replace(
        a_sender(name),
        login=name,
        secret=TOKEN_HASH,
        networks=(ip_network("127.0.0.0/8"), ip_network("::1/128")),
        limits=Limits(size),
    )


class Caller:
    """An SMTP client that does nothing of its own accord."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def at(cls, port: int, *, tls: ssl.SSLContext | None = None) -> Self:
        """Connect, and leave the banner to be heard."""
        name = "relay.test" if tls else None
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name))

    def say(self, *lines: str | bytes) -> None:
        """Send lines, each ended with CRLF, in one piece."""
        octets = [line.encode("latin-1") if isinstance(line, str) else line for line in lines]
        self.writer.write(b"".join(line + b"\r\n" for line in octets))

    async def hear(self) -> str:
        """Return one reply, all its lines, without the last CRLF."""
        lines = [await self.reader.readuntil(b"\r\n")]
        while lines[-1][3:4] == b"-":
            lines.append(await self.reader.readuntil(b"\r\n"))
        return b"".join(lines).decode("ascii").removesuffix("\r\n")

    async def ask(self, *lines: str | bytes) -> str:
        """Send lines and return the reply to the last."""
        self.say(*lines)
        replies = [await self.hear() for _ in lines]
        return replies[-1]

    async def greet(self, name: str = "app.test") -> str:
        """Hear the banner, say EHLO and return the reply."""
        assert (await self.hear()).startswith("220 ")
        return await self.ask(f"EHLO {name}")

    async def reach_data(self, *recipients: str, reverse_path: str = "billing@example.com") -> None:
        """Go as far as the 354."""
        assert (await self.ask(f"MAIL FROM:<{reverse_path}>")).startswith("250 ")
        for recipient in recipients or ("jane@example.net",):
            assert (await self.ask(f"RCPT TO:<{recipient}>")).startswith("250 ")
        assert (await self.ask("DATA")).startswith("354 ")

    async def send(self, content: bytes = CONTENT, *recipients: str) -> str:
        """Send one mail, dots stuffed, and return the reply to its content."""
        await self.reach_data(*recipients)
        stuffed = content.replace(b"\r\n.", b"\r\n..")
        stuffed = b"." + stuffed if stuffed.startswith(b".") else stuffed
        self.writer.write(stuffed + b".\r\n")
        return await self.hear()

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Do the handshake that STARTTLS asked for."""
        await self.writer.start_tls(context, server_hostname="relay.test")

    async def rest(self) -> bytes:
        """Return what the server says until it closes the connection."""
        return await self.reader.read()

    def reset(self) -> None:
        """Vanish with a TCP reset, as a host that crashed does once it is back."""
        wire = self.writer.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await self.writer.wait_closed()


class House:
    """The front door and everything behind it."""

    def __init__(self, *senders: Sender, deadlines: Deadlines = PATIENT) -> None:
        self.clock = FrozenClock()
        self.facts = RecordingFacts()
        self.spool = FakeSpool()
        self.suppressions = FakeSuppressions()
        self.rules = StaticRules(a_ruleset(*(senders or (a_known_sender(),))))
        self.verifier = Verifier(self.clock)
        self.allowances = Allowances()
        self.passage: Passage | None = None
        self.deadlines = deadlines
        self.door: FrontDoor
        self.tls: dict[str, TlsInForce] = {}

    @property
    def surroundings(self) -> Surroundings:
        """What the sessions of this house work with."""
        return Surroundings(
            rules=self.rules,
            spool=self.spool,
            suppressions=self.suppressions,
            facts=self.facts,
            clock=self.clock,
            verifier=self.verifier,
            allowances=self.allowances,
            tls=self.tls,
            passage=self.passage,
            deadlines=self.deadlines,
        )

    async def open(self, *listeners: ListenerSettings) -> None:
        """Open the door."""
        self.door = FrontDoor(listeners, self.surroundings)
        await self.door.start()

    @property
    def port(self) -> int:
        """The port of the first listener."""
        return self.door.listeners[0].port

    async def gone(self) -> None:
        """Return once no session is open."""
        await self.door.listeners[0].sessions.gone()

    def hurry(self, **seconds: float) -> None:
        """Shorten deadlines of the sessions there are, from their next wait on.

        What comes before has all the time it needs: where the machine is busy, a test that hurried
        from the beginning would be cut off on its way to what it is about.
        """
        for session in self.door.listeners[0].sessions._open:
            session.deadlines = replace(session.deadlines, **seconds)

    async def told_of(self, name: str, times: int = 1) -> None:
        """Return once a fact of that name has been told so many times."""
        await until(lambda: len(self.told(name)) >= times)

    @property
    def contents(self) -> list[bytes]:
        """What was committed."""
        return [content for _, content in self.spool.committed]

    def told(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of each fact of that name."""
        return [arguments for told, arguments in self.facts.told if told == name]


def narrow(session: Connection, caller: Caller) -> None:
    """Let the system hold little of what the caller does not read: some megabytes otherwise."""
    session._wire.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    wire = caller.writer.get_extra_info("socket")
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop go round until the condition holds."""
    while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0)


def a_listener(tls: TlsMode = TlsMode.OFF, auth: Auth = Auth.OFF, **keys: Any) -> ListenerSettings:
    """A listener on a port the system chooses."""
    return ListenerSettings("legacy", "127.0.0.1", 0, tls, auth, **keys)


@contextlib.asynccontextmanager
async def a_house(
    *senders: Sender,
    listener: ListenerSettings | None = None,
    deadlines: Deadlines = PATIENT,
    certificate: Path | None = None,
    client_ca: Path | None = None,
    passage: Passage | None = None,
) -> AsyncIterator[House]:
    """A house whose door is open; closed, and found empty, at the end."""
    house = House(*senders, deadlines=deadlines)
    house.passage = passage
    if certificate is not None:
        house.tls = {
            "legacy": in_force(TlsFiles((certificate,), (certificate,), client_ca=client_ca))
        }
    await house.open(listener or a_listener())
    try:
        yield house
    finally:
        house.spool.release()
        await house.door.drain(0.5)
        house.verifier.close()


def a_place(places: Places, host: str = "192.0.2.1") -> Place:
    """The place of a client at that address."""
    place = places.take()
    assert place is not None
    assert place.is_for(ip_address(host))
    return place


def in_force(files: TlsFiles) -> TlsInForce:
    """The TLS of a listener, made of these files."""
    return TlsInForce(server_context(files))


def trusting(certificate: Path) -> ssl.SSLContext:
    """A client's TLS context that trusts one certificate."""
    return ssl.create_default_context(cafile=str(certificate))


__all__ = [
    "CONTENT",
    "Caller",
    "House",
    "a_house",
    "a_listener",
    "self_signed",
    "trusting",
    "until",
]
