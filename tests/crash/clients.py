"""SMTP clients that do not give up: each sends its mail again until it has read the 250.

Knows SMTP over a socket, and exactly how far each attempt came. Does not know the relay.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from random import Random
from typing import Final

from tests.crash.mails import Letter, Mail, Writer
from tests.crash.victim import Victim

_PIECE: Final = 64 * 1024


class Stage(Enum):
    """How far an attempt has come."""

    BEGUN = auto()
    """Its last octet was not written yet: nobody can have the whole mail."""
    WAITING = auto()
    """All of it was written, and the reply not read."""
    ACKNOWLEDGED = auto()
    """The 250 was read."""
    REFUSED = auto()
    """Another reply was read."""


@dataclass(eq=False)
class Attempt:
    """One attempt to hand over one mail. Times are of the wall clock."""

    letter: Letter
    began: float
    ended: float | None = None
    stage: Stage = Stage.BEGUN
    queue_id: str = ""
    reply: bytes = b""


class Refused(Exception):  # noqa: N818 - a reply, not a fault
    """The relay said something else than it was hoped."""


class Client:
    """One client with one connection at a time."""

    def __init__(
        self,
        victim: Victim,
        writer: Writer,
        address: str,
        told: Callable[[Attempt], None],
        seed: str,
    ) -> None:
        """`told` hears of each attempt as it begins and once more as it ends."""
        self._victim = victim
        self._writer = writer
        self._address = address
        self._told = told
        self._dice = Random(seed)  # noqa: S311 - to be drawn again
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.is_finishing = False
        """Set to have it end with the mail it has in hand."""

    async def run(self) -> None:
        """Send one mail after the other."""
        try:
            while not self.is_finishing:
                await self._deliver(self._writer.write())
        finally:
            self._hang_up()

    async def _deliver(self, mail: Mail) -> None:
        while True:
            await self._victim.up.wait()
            attempt = Attempt(mail.letter, time.time())
            self._told(attempt)
            try:
                await self._attempt(attempt, mail)
            except (OSError, EOFError, Refused):
                self._hang_up()
            finally:
                attempt.ended = time.time()
                self._told(attempt)
            if attempt.stage is Stage.ACKNOWLEDGED:
                return
            # It may be down without our having been told; or it wants none of us now.
            await asyncio.sleep(0.01)

    async def _attempt(self, attempt: Attempt, mail: Mail) -> None:
        letter = mail.letter
        if self._streams is None or self._dice.random() < 0.05:
            await self._connect()
        _, writer = self._streams or await self._connect()
        size = len(mail.content)
        writer.write(f"MAIL FROM:<{letter.reverse_path}> SIZE={size} BODY=8BITMIME\r\n".encode())
        writer.writelines(f"RCPT TO:<{one}>\r\n".encode() for one in letter.recipients)
        await (self._by_bdat if mail.in_chunks else self._by_data)(attempt, mail)
        attempt.reply = reply = await self._reply()
        if not reply.startswith(b"250 "):
            attempt.stage = Stage.REFUSED
            raise Refused(reply)
        attempt.queue_id = reply.split()[-1].decode()
        attempt.stage = Stage.ACKNOWLEDGED

    async def _by_data(self, attempt: Attempt, mail: Mail) -> None:
        _, writer = self._streams or await self._connect()
        writer.write(b"DATA\r\n")
        for _ in range(1 + len(mail.letter.recipients)):
            await self._expect(b"250")
        await self._expect(b"354")
        stuffed = mail.content.replace(b"\r\n.", b"\r\n..")
        if stuffed.startswith(b"."):
            stuffed = b"." + stuffed
        await self._write(attempt, stuffed + b".\r\n")

    async def _by_bdat(self, attempt: Attempt, mail: Mail) -> None:
        _, writer = self._streams or await self._connect()
        content, dice = mail.content, self._dice
        cut = dice.randrange(len(content))
        for _ in range(1 + len(mail.letter.recipients)):
            await self._expect(b"250")
        writer.write(b"BDAT %d\r\n" % cut)
        writer.write(content[:cut])
        await self._expect(b"250")
        writer.write(b"BDAT %d LAST\r\n" % (len(content) - cut))
        await self._write(attempt, content[cut:])

    async def _write(self, attempt: Attempt, octets: bytes) -> None:
        """Write the end of a mail, the very last of it by itself."""
        _, writer = self._streams or await self._connect()
        for at in range(0, len(octets) - 1, _PIECE):
            writer.write(octets[at : min(at + _PIECE, len(octets) - 1)])
            await writer.drain()
        attempt.stage = Stage.WAITING
        writer.write(octets[-1:])

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._hang_up()
        self._streams = await asyncio.open_connection(
            "127.0.0.1", self._victim.port, local_addr=(self._address, 0), limit=1 << 20
        )
        await self._expect(b"220")
        self._streams[1].write(b"EHLO client.example.com\r\n")
        await self._expect(b"250")
        return self._streams

    async def _expect(self, code: bytes) -> None:
        reply = await self._reply()
        if not reply.startswith(code):
            raise Refused(reply)

    async def _reply(self) -> bytes:
        """Return the last line of a reply."""
        assert self._streams is not None
        reader, writer = self._streams
        await writer.drain()
        while True:
            line = await reader.readuntil(b"\r\n")
            if line[3:4] != b"-":
                return line

    def _hang_up(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None
