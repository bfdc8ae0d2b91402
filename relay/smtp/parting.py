"""What is said to a client, and how a session ends, from whichever side and wherever it stands.

Does not know lines or commands: a subclass answers them.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import Callable
from math import inf
from typing import Final

from relay.mail.reply import Reply
from relay.smtp.conversation import Conversation, more
from relay.smtp.hangup import HangUpError
from relay.smtp.settings import Deadlines
from relay.smtp.timer import Timer
from relay.smtp.wire import Wire

# Content is taken in pieces of at most this size.
CHUNK: Final = 131072
# What a client may still send while it is given time to read our last reply.
_LINGER_CHUNKS: Final = 256


class Parting(Wire):
    """Talk over one wire, up to the last word."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deadlines: Deadlines) -> None:
        super().__init__(loop, deadlines)
        self.timer = Timer(loop)
        self.on_lost: Callable[[], object] | None = None
        """Called when the connection is lost: by then nobody is left to answer."""
        self.is_in_content = False
        """Whether content has come of which more is to come, command by command (BDAT)."""
        self.is_owed = False
        """Whether the reply it waits for is SES's, which no drain cuts off."""
        self._said = b""
        self._is_over = False  # nothing more is answered
        self._has_hung_up = False
        self._parting: Reply | None = None
        self._interruption: Exception | None = None
        self._is_ending = False  # one of these, or the connection is lost

    # --- what a subclass is ---

    @abstractmethod
    async def forget(self) -> None:
        """Let go of what the client has begun and will not finish."""

    @abstractmethod
    def report(self, error: Exception) -> None:
        """Take note of a fault that ended the session."""

    @abstractmethod
    def hung_up(self, reply: Reply) -> None:
        """Take note that we end the session, with this as the last reply."""

    @abstractmethod
    def left(self) -> None:
        """Take note that session and connection are both over."""

    # --- saying ---

    def say(self, line: bytes) -> None:
        """Say a reply, CRLF included; it goes out with others, before we next wait."""
        self._said += line

    def _write(self) -> None:
        self._wire.write(self._said)
        self._said = b""

    # --- hearing ---

    async def _hear(self) -> None:
        """Return once there is more; raise EOFError when there will not be any."""
        if self._has_ended:
            raise EOFError
        if self._is_ending:
            self._look_up()
        if self._is_held_back:
            self.listen()
        await more()
        if self._is_lost:
            raise ConnectionResetError
        if self._has_ended and not self.has_more:
            raise EOFError

    def _look_up(self) -> None:
        """Raise what ends the session, if anything has happened meanwhile that does."""
        if self._is_lost:
            raise ConnectionResetError
        if self._interruption is not None:
            raise self._interruption

    # --- parting ---

    def part(self, reply: Reply) -> None:
        """End the session: now, when it waits for a command, else after the reply it owes."""
        self._parting = reply
        self._is_ending = True
        if self._is_idle and not self.is_in_content:
            self.interrupt(HangUpError(reply))

    def cut_short(self, reply: Reply) -> None:
        """End the session even where content is still to come; a commit under way is finished."""
        self._parting = reply
        self.interrupt(HangUpError(reply))

    def interrupt(self, error: Exception) -> None:
        """Hear nothing more: whoever listens, now or later, has this error raised instead."""
        self._interruption = error
        self._is_ending = True
        if self._conversation is not None:
            self._conversation.interrupt(error)
        elif self._is_idle:
            self._stop(error)

    def _stop(self, reason: Exception) -> None:
        """End the session: we hang up, the client has gone, or we have failed."""
        self._is_idle = lingers = False
        # A lost connection is told by whatever error the transport met, TLS errors included.
        if not (self._is_lost or isinstance(reason, EOFError | ConnectionError)):
            if isinstance(reason, HangUpError):
                self._hang_up(reason.reply)
                if not reason.mute:
                    self.say(reason.reply.line)
                lingers = reason.linger
            else:
                self.report(reason)
        end = self._wind_up(lingers=lingers)
        self._conversation = conversation = Conversation(self.loop, end, self._wound_up)
        if conversation.begin():
            self._wound_up(None)

    async def _wind_up(self, *, lingers: bool) -> None:
        if lingers:
            await self._linger()
        try:
            await self.forget()
        except Exception as error:  # noqa: BLE001 - nobody is left to tell the client
            self.report(error)

    def _wound_up(self, _: Exception | None) -> None:
        self._conversation = None
        self._is_idle = False
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
        self._come = b""

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - we look no deeper
        """Wake whoever waits for the client; what no longer needs a client goes on."""
        if self._is_lost:
            return
        self._is_lost = self._is_ending = True
        self.timer.stop()
        self.resume_writing()
        if self.on_lost is not None:
            self.on_lost()
        if self._is_over:
            self._leave()
        elif self._conversation is not None:
            self._conversation.heard()
        elif self._is_idle:
            self._stop(ConnectionResetError())
