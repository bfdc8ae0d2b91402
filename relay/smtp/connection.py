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
from relay.smtp.conversation import Conversation
from relay.smtp.hangup import HangUpError
from relay.smtp.pace import Pace
from relay.smtp.replies import BARE_LINE_ENDING, LINE_TOO_LONG, TIMED_OUT
from relay.smtp.settings import Deadlines
from relay.smtp.timer import Timer
from relay.smtp.wire import READ_AHEAD, Wire

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
            await self.taken()

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
        end = self._come.find(b"\n", self._at)
        if end < 0 or self._said_octets > _COALESCED or self._is_stalled:
            if self._said:
                self._write()
            if self._is_stalled:
                await self.flush()
                end = -1
        elif monotonic() > self._turn_ends:
            await self._let_others()
            end = -1
        self._expect_command()
        # While others had their turn, what has come may have moved.
        if end < 0:
            end = await self._end_of_line()
        come, at = self._come, self._at
        self._is_idle = False
        self.timer.busy()
        if end - at > READ_AHEAD:
            raise HangUpError(LINE_TOO_LONG, linger=True)
        if end + 1 < len(come):
            self._at = end + 1
        else:
            self._come, self._at = b"", 0
        # Only CRLF ends a line. A client that ends lines otherwise, or hides a CR in one, may be
        # the second half of somebody's smuggled content.
        if end == at or come.find(b"\r", at, end) != end - 1:
            raise HangUpError(BARE_LINE_ENDING, linger=True)
        return come[at : end - 1]

    async def _end_of_line(self) -> int:
        """Return where in what has come a line ends, once one does."""
        end = self._come.find(b"\n", self._at)
        if end >= 0:
            return end
        while end < 0:
            if len(self._come) - self._at > READ_AHEAD:
                raise HangUpError(LINE_TOO_LONG, linger=True)
            await self._hear()
            end = self._come.find(b"\n", self._at)
        self._turn_ends = monotonic() + _TURN
        return end

    async def peek(self) -> bytes:
        """Return the first octet of what the client says next, and leave it there."""
        await self.flush()
        self._expect_command()
        if not self.has_more:
            await self._hear()
        self._is_idle = False
        self.timer.busy()
        return self._come[self._at : self._at + 1]

    async def next_chunk(self, pace: Pace, limit: int = CHUNK) -> bytes:
        """Return some of the content, at most `limit` octets; raise EOFError at its end."""
        if not self.has_more:
            if self._said:
                await self.flush()
        elif monotonic() > self._turn_ends:
            await self._let_others()
        self._look_up()
        began = self.loop.time()
        patience = pace.patience(began)
        if patience <= 0:
            raise HangUpError(TIMED_OUT)
        waited = 0.0
        if not self.has_more:
            self.timer.within(patience, self._give_up, pace.under_stress)
            await self._hear()
            self.timer.busy()
            self._turn_ends = monotonic() + _TURN
            waited = self.loop.time() - began
        chunk = self.take(limit)
        pace.took(len(chunk), waited)
        return chunk

    async def _hear(self) -> None:
        """Return once there is more; raise EOFError when there will not be any."""
        if self._has_ended:
            raise EOFError
        self._look_up()
        await self.hear()
        if self._is_lost:
            raise ConnectionResetError
        if self._has_ended and not self.has_more:
            raise EOFError

    async def _let_others(self) -> None:
        await self.flush()
        await asyncio.sleep(0)
        self._turn_ends = monotonic() + _TURN

    def _expect_command(self) -> None:
        if self._parting is not None and not self.is_in_content:
            raise HangUpError(self._parting)
        self._look_up()
        deadlines = self.deadlines
        self.timer.within(deadlines.command, self._give_up, deadlines.command_under_stress)
        self._is_idle = True

    def _look_up(self) -> None:
        """Raise what ends the conversation, if anything has happened meanwhile that does."""
        if self._is_lost:
            raise ConnectionResetError
        if self._interruption is not None:
            raise self._interruption

    def _give_up(self) -> None:
        self.interrupt(HangUpError(TIMED_OUT))

    def _cut_off(self) -> None:
        self._hang_up(TIMED_OUT)  # not to be said: the client does not read
        self.abort()

    # --- parting ---

    def part(self, reply: Reply) -> None:
        """End the session: now, when it waits for a command, else after the reply it owes."""
        self._parting = reply
        if self._is_idle and not self.is_in_content:
            self.interrupt(HangUpError(reply))

    def cut_short(self, reply: Reply) -> None:
        """End the session even where content is still to come; a commit under way is finished."""
        self._parting = reply
        self.interrupt(HangUpError(reply))

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
            pass  # the client has gone
        except Exception as error:  # noqa: BLE001 - the last boundary of a session
            # A lost connection is told by whatever error the transport met, TLS errors included.
            if not self._is_lost:
                self.report(error)
        # Not where the loop has ended and nobody will ever come back to it: there is nothing left
        # to close.
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
        self.timer.within(self.deadlines.linger, self.abort)
        self._is_idle = True
        with contextlib.suppress(HangUpError, EOFError, OSError):
            if self._wire.can_write_eof():
                self._wire.write_eof()
            for _ in range(_LINGER_CHUNKS):
                if not self.has_more:
                    await self._hear()
                self.take(CHUNK)

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
        # What leads back to us, an error by its traceback, is let go: in a cycle our buffers would
        # wait for the garbage collector.
        if self._interruption is not None:
            self._interruption.__traceback__ = None
        self._conversation = None
        self._come = b""

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
        self.session = self._create_session()
        self._conversation = Conversation(self.loop, self._handle_client())
        self.joined()
        self._conversation.begin()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - we look no deeper
        """Wake whoever waits for the client; what no longer needs a client goes on."""
        if self._is_lost:
            return
        self._is_lost = True
        self.timer.stop()
        self.resume_writing()
        if self.on_lost is not None:
            self.on_lost()
        if self._is_over:
            self._leave()
        elif self._conversation is not None:
            self._conversation.heard()
