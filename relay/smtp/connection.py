"""One client connection: command lines and content in, replies out, and its end.

Knows lines and how long they may take. Does not know what a command means: a subclass converses.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Final

from relay.mail.reply import Reply
from relay.smtp.hangup import HangUpError
from relay.smtp.pace import Pace
from relay.smtp.replies import BARE_LINE_ENDING, LINE_TOO_LONG, TIMED_OUT
from relay.smtp.settings import Deadlines
from relay.smtp.timer import Timer
from relay.smtp.wire import Wire

# Content is taken in pieces of at most this size.
CHUNK: Final = 131072
# Replies waiting to be written together.
_COALESCED: Final = 16384
# What a client may still send while it is given time to read our last reply.
_LINGER_CHUNKS: Final = 256
# How many seconds a session works before it lets the others: one that has many commands in its
# buffer never has to wait, and would never be interrupted.
_TURN: Final = 0.005


class Connection(Wire):
    """Lines and content over one wire."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deadlines: Deadlines) -> None:
        super().__init__(loop, deadlines)
        self.timer = Timer(loop)
        self.on_lost: Callable[[], object] | None = None
        """Called when the connection is lost: by then nobody is left to answer."""
        self.is_in_content = False
        """Whether content has come of which more is to come, command by command (BDAT)."""
        self._said: list[bytes] = []
        self._said_octets = 0
        self._is_idle = False  # nothing is under way that should be finished
        self._is_over = False  # the conversation has ended
        self._has_hung_up = False
        self._parting: Reply | None = None
        self._turn_ends = 0.0  # of time.monotonic: loop time stands still while we work

    # --- what a subclass is ---

    @abstractmethod
    async def converse(self) -> None:
        """Talk until the client or we have had enough; may raise HangUpError."""

    @abstractmethod
    def report(self, error: Exception) -> None:
        """Take note of a fault that ended the conversation."""

    @abstractmethod
    def joined(self) -> None:
        """Take note that a client is connected."""

    @abstractmethod
    def hung_up(self, reply: Reply) -> None:
        """Take note that we end the conversation, with this as the last reply."""

    @abstractmethod
    def left(self) -> None:
        """Take note that conversation and connection are both over."""

    # --- saying ---

    def say(self, line: bytes) -> None:
        """Say a reply, CRLF included; it goes out with others, before we next wait."""
        self._said.append(line)
        self._said_octets += len(line)

    async def flush(self) -> None:
        """Write what was said; wait while the client leaves more than 64 KiB of it unread."""
        if self._is_lost:
            raise ConnectionResetError
        if self._said:
            self._write()
        if self._is_stalled:
            deadlines = self.deadlines
            self.timer.within(deadlines.command, self._cut_off, deadlines.command_under_stress)
            await self._writer.drain()

    def _write(self) -> None:
        said = self._said
        self._wire.write(said[0] if len(said) == 1 else b"".join(said))
        said.clear()
        self._said_octets = 0

    # --- hearing ---

    async def next_line(self) -> bytes:
        """Return the next command line without its CRLF."""
        # A client that pipelines (RFC 2920) gets its replies in one piece, once we have answered
        # all it has sent, or our turn is over.
        must_wait = b"\n" not in self._reader._buffer  # type: ignore[attr-defined]  # noqa: SLF001
        if must_wait or self._said_octets > _COALESCED or self._is_stalled:
            await self.flush()
        elif monotonic() > self._turn_ends:
            await self._let_others()
        self._expect_command()
        try:
            line = await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            raise HangUpError(LINE_TOO_LONG, linger=True) from None
        finally:
            self._is_idle = False
        self.timer.busy()
        if must_wait:
            self._turn_ends = monotonic() + _TURN
        # Only CRLF ends a line. A client that ends lines otherwise, or hides a CR in one, may be
        # the second half of somebody's smuggled content.
        if line == b"\n" or line.find(b"\r") != len(line) - 2:
            raise HangUpError(BARE_LINE_ENDING, linger=True)
        return line[:-2]

    async def peek(self) -> bytes:
        """Return the first octet of what the client says next, and leave it there."""
        await self.flush()
        self._expect_command()
        try:
            octet = await self._reader.read(1)
        finally:
            self._is_idle = False
        self.timer.busy()
        if not octet:
            raise EOFError
        self.give_back(octet)
        return octet

    async def next_chunk(self, pace: Pace, limit: int = CHUNK) -> bytes:
        """Return some of the content, at most `limit` octets; raise EOFError at its end."""
        must_wait = not self._reader._buffer  # type: ignore[attr-defined]  # noqa: SLF001
        if must_wait:
            if self._said:
                await self.flush()
        elif monotonic() > self._turn_ends:
            await self._let_others()
        if self._is_lost:
            raise ConnectionResetError
        began = self.loop.time()
        patience = pace.patience(began)
        if patience <= 0:
            raise HangUpError(TIMED_OUT)
        self.timer.within(patience, self._give_up, pace.under_stress)
        chunk = await self._reader.read(limit)
        self.timer.busy()
        waited = 0.0
        if must_wait:
            self._turn_ends = monotonic() + _TURN
            waited = self.loop.time() - began
        if not chunk:
            raise EOFError
        pace.took(len(chunk), waited)
        return chunk

    async def _let_others(self) -> None:
        await self.flush()
        await asyncio.sleep(0)
        self._turn_ends = monotonic() + _TURN

    def give_back(self, octets: bytes) -> None:
        """Put back what was read behind the end of content."""
        if octets:
            self._reader._buffer[:0] = octets  # type: ignore[attr-defined]  # noqa: SLF001

    @property
    def has_more(self) -> bool:
        """Whether the client has sent something that has not been read."""
        return bool(self._reader._buffer)  # type: ignore[attr-defined]  # noqa: SLF001

    def _expect_command(self) -> None:
        if self._parting is not None and not self.is_in_content:
            raise HangUpError(self._parting)
        if self._is_lost:
            raise ConnectionResetError
        deadlines = self.deadlines
        self.timer.within(deadlines.command, self._give_up, deadlines.command_under_stress)
        self._is_idle = True

    def _give_up(self) -> None:
        self._reader.set_exception(HangUpError(TIMED_OUT))

    def _cut_off(self) -> None:
        self._hang_up(TIMED_OUT)  # not to be said: the client does not read
        self._wire.abort()

    # --- parting ---

    def part(self, reply: Reply) -> None:
        """End the session: now, when it waits for a command, else after the reply it owes."""
        self._parting = reply
        if self._is_idle and not self.is_in_content:
            self._reader.set_exception(HangUpError(reply))

    def cut_short(self, reply: Reply) -> None:
        """End the session even where content is still to come; a commit under way is finished."""
        self._parting = reply
        self._reader.set_exception(HangUpError(reply))

    async def _handle_client(self) -> None:
        try:
            await self.converse()
        except HangUpError as end:
            if not self._is_lost:
                self._hang_up(end.reply)
                if not end.mute:
                    self.say(end.reply.line)
                if end.linger:
                    await self._linger()
        except (EOFError, ConnectionError):
            pass  # the client has gone; asyncio's IncompleteReadError is an EOFError
        except Exception as error:  # noqa: BLE001 - the last boundary of a session
            # A lost connection is told by whatever error the transport met, TLS errors included.
            if not self._is_lost:
                self.report(error)
        finally:
            self._is_over = True
            if self._is_lost:
                self._leave()
            else:
                self._close()

    def _hang_up(self, reply: Reply) -> None:
        self.timer.latest = inf  # time to listen to the last reply is given to everybody
        if not self._has_hung_up:
            self._has_hung_up = True
            self.hung_up(reply)

    async def _linger(self) -> None:
        self._write()
        self.timer.within(self.deadlines.linger, self._wire.abort)
        self._is_idle = True
        with contextlib.suppress(HangUpError, OSError):
            if self._wire.can_write_eof():
                self._wire.write_eof()
            for _ in range(_LINGER_CHUNKS):
                if not await self._reader.read(CHUNK):
                    break

    def _close(self) -> None:
        self.timer.latest = inf
        if self._said:
            self._write()
        # A client that never reads would keep a closed connection, and its memory, for ever; one
        # that has read all need not answer the end of TLS (RFC 8446 section 6.1), and many do not.
        is_unread = self._is_stalled or self._wire.get_write_buffer_size() > 0
        self._wire.close()
        patience = self.deadlines.linger if is_unread else self.deadlines.farewell
        self.timer.within(patience, self._wire.abort)

    def _leave(self) -> None:
        self.left()
        self.timer.stop()
        # What leads back to us, errors by their tracebacks, is let go: in a cycle our buffers would
        # wait for the garbage collector.
        own = vars(self)
        for error in (own.pop("_closed").exception(), self._reader.exception()):
            if error is not None:
                error.__traceback__ = None
        for name in ("_reader", "_writer", "_client_connected_cb"):
            del own[name]

    # --- called by the event loop ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the conversation."""
        if transport.get_extra_info("peername") is None:
            # Gone again before we looked.
            self._is_lost = True
            transport.close()
            return
        self._use(transport)
        self.timer.latest = self.loop.time() + self.deadlines.first_mail
        super().connection_made(transport)
        self.joined()

    def connection_lost(self, error: Exception | None) -> None:
        """Wake whoever waits for the client; what no longer needs a client goes on."""
        if self._is_lost:
            return
        self._is_lost = True
        self.timer.stop()
        asyncio.StreamReaderProtocol.connection_lost(self, error)
        if self.on_lost is not None:
            self.on_lost()
        if self._is_over:
            self._leave()
