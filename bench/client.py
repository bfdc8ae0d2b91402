"""Clients for what smtp-source cannot do: to log in, encrypt, pipeline, and say how long it took.

Blocking sockets in threads: they cost little, and none of it is counted. Like smtp-source, they
wait for each reply unless the point is pipelined. Does not know what serves them.
"""

from __future__ import annotations

import base64
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Final, Self

from bench.configuration import LOGIN, PASSWORD
from bench.points import Login, Point, Tls

_PATIENCE: Final = 120.0  # seconds
_PLAIN: Final = base64.b64encode(f"\0{LOGIN}\0{PASSWORD}".encode())
_HEADER: Final = (
    b"From: <bench@example.com>\r\nTo: <someone@example.net>\r\n"
    b"Date: Tue, 1 Dec 2026 00:00:00 +0000\r\nMessage-Id: <bench@example.com>\r\n\r\n"
)
_LINE: Final = b"X" * 78 + b"\r\n"


def content(size: int) -> bytes:
    """Return a header and a body of so many octets, as smtp-source makes them, with the end."""
    body = _LINE * (size // len(_LINE)) + b"X" * (size % len(_LINE))
    return _HEADER + body + b"\r\n.\r\n"


class Client:
    """One connection, logged in and encrypted as the point says."""

    def __init__(self, port: int, point: Point, authority: Path) -> None:
        self._point = point
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if point.tls is Tls.IMPLICIT:
            self._encrypt(authority)
        self._replies = self._socket.makefile("rb")
        self._expect(b"220")
        self._say(b"EHLO bench.example", b"250")
        if point.tls is Tls.STARTTLS:
            self._say(b"STARTTLS", b"220")
            self._replies.close()
            self._encrypt(authority)
            self._replies = self._socket.makefile("rb")
            self._say(b"EHLO bench.example", b"250")
        if point.login is not Login.NETWORK:
            self._say(b"AUTH PLAIN " + _PLAIN, b"235")
        recipients = (
            [b"someone@example.net"]
            if point.recipients == 1
            else [b"%dsomeone@example.net" % number for number in range(point.recipients)]
        )
        self._commands = [
            (b"MAIL FROM:<bench@example.com>", b"250"),
            *((b"RCPT TO:<%s>" % recipient, b"250") for recipient in recipients),
            (b"DATA", b"354"),
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._say(b"QUIT", b"221")
        self._replies.close()
        self._socket.close()

    def send(self, octets: bytes) -> float:
        """Send one message; return the seconds from the end of its content to the 250."""
        if self._point.is_pipelined:
            self._socket.sendall(b"".join(command + b"\r\n" for command, _ in self._commands))
            for _, code in self._commands:
                self._expect(code)
        else:
            for command, code in self._commands:
                self._say(command, code)
        self._socket.sendall(octets)
        began = time.perf_counter()
        self._expect(b"250")
        return time.perf_counter() - began

    def _encrypt(self, authority: Path) -> None:
        context = ssl.create_default_context(cafile=str(authority))
        self._socket = context.wrap_socket(self._socket, server_hostname="127.0.0.1")

    def _say(self, command: bytes, code: bytes) -> None:
        self._socket.sendall(command + b"\r\n")
        self._expect(code)

    def _expect(self, code: bytes) -> None:
        while True:
            line = self._replies.readline()
            if not line.startswith(code):
                raise SystemExit(f"bench: {line!r} where {code.decode()} was expected")
            if line[3:4] != b"-":
                return


def crowd(port: int, point: Point, authority: Path) -> list[float]:
    """Send the point's messages from all its clients; return how long each accept took."""
    octets, turns = content(point.size), iter(range(point.messages))

    def kept() -> list[float]:
        with Client(port, point, authority) as client:
            return [client.send(octets) for _ in turns]

    def singly() -> list[float]:
        took = []
        for _ in turns:
            with Client(port, point, authority) as client:
                took.append(client.send(octets))
        return took

    with ThreadPoolExecutor(point.clients) as threads:
        runs = [threads.submit(kept if point.is_kept else singly) for _ in range(point.clients)]
        return [seconds for run in runs for seconds in run.result()]


def probe(port: int, point: Point, authority: Path, stop: Event) -> list[float]:
    """Send as one client, beside others, until told to stop; return how long accepts took."""
    octets, took = content(point.size), list[float]()
    with ExitStack() as stack:
        client = None
        while not stop.is_set():
            if client is None:
                client = stack.enter_context(Client(port, point, authority))
            took.append(client.send(octets))
            if not point.is_kept:
                stack.pop_all().close()
                client = None
    return took


def idle(port: int, count: int) -> list[socket.socket]:
    """Open so many connections that say nothing, a thousand from each address; all are greeted."""
    opened = []
    for number in range(count):
        source = (f"127.0.{1 + number // 1000}.1", 0)
        connection = socket.create_connection(
            ("127.0.0.1", port), timeout=_PATIENCE, source_address=source
        )
        greeting = connection.recv(512)
        if not greeting.startswith(b"220"):
            raise SystemExit(f"bench: connection {number + 1} was greeted with {greeting!r}")
        opened.append(connection)
    return opened
