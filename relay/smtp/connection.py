"""One client connection: command lines and content in, replies out, and its end.

Knows lines and how long they may take. Does not know what a command means: a subclass obeys.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Coroutine
from time import monotonic
from typing import Any, Final

from relay.smtp.conversation import Conversation
from relay.smtp.hangup import HangUpError
from relay.smtp.pace import Pace
from relay.smtp.parting import CHUNK, Parting
from relay.smtp.replies import BARE_LINE_ENDING, LINE_TOO_LONG, TIMED_OUT
from relay.smtp.settings import Deadlines
from relay.smtp.turns import Turns
from relay.smtp.wire import READ_AHEAD

# Replies waiting to be written together.
_COALESCED: Final = 16384
# How many seconds a session works before it lets the others: one that has many commands in its
# buffer never has to wait, and would never be interrupted.
_TURN: Final = 0.005


class Connection(Parting):
    """Lines and content over one wire."""

    turns: Turns
    """Shared with all other sessions of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deadlines: Deadlines) -> None:
        super().__init__(loop, deadlines)
        self._is_greeted = False  # the client has spoken
        self._turn_ends = 0.0  # of time.monotonic: loop time stands still while we work

    # --- what a subclass is ---

    @abstractmethod
    def greet(self) -> None:
        """Say the first words; may raise HangUpError."""

    @abstractmethod
    def spoken_to(self, octet: bytes) -> None:
        """Look at the first octet a client sends; may raise HangUpError."""

    @abstractmethod
    def obey(self, line: bytes) -> Coroutine[Any, Any, None] | None:
        """Obey a command line, as far as need not be awaited; may raise HangUpError."""

    @abstractmethod
    def joined(self) -> None:
        """Take note that a client is connected."""

    # --- answering ---

    def go_on(self) -> None:
        """Obey what has come, line by line, until there is no more or something must be awaited."""
        self._is_idle = False
        self._turn_ends = monotonic() + _TURN
        try:
            if not self._is_greeted and self._come:
                self._is_greeted = True
                self.spoken_to(self._come[:1])
            while (awaited := self._obey_lines() or self._answer()) is not None:
                if not self._start(awaited):
                    return
            self._expect_command()
        except Exception as error:  # noqa: BLE001 - the last boundary of a session
            self._stop(error)

    def _obey_lines(self) -> Coroutine[Any, Any, None] | None:
        """Obey lines up to one that is to be awaited, and return that; or None."""
        while self._come:
            end = self._come.find(b"\n", self._at)
            if end < 0:
                break
            if self._is_ending:
                self._look_round()
            awaited = self.obey(self._line_to(end))
            if awaited is not None:
                return awaited
            if self._come:
                # The client pipelines (RFC 2920). It gets its replies in one piece, once we have
                # answered all it has sent, or our turn is over.
                if len(self._said) > _COALESCED:
                    return self.flush()
                if monotonic() > self._turn_ends:
                    return self._let_others()
        return None

    def _answer(self) -> Coroutine[Any, Any, None] | None:
        """Write the replies to what has come; return what is to be awaited meanwhile, or None."""
        if self._said:
            self._write()
        if self._is_stalled:
            return self.flush()
        if self._come and len(self._come) - self._at > READ_AHEAD:
            raise HangUpError(LINE_TOO_LONG, linger=True)
        if self._has_ended:
            raise EOFError
        return None

    def _start(self, awaited: Coroutine[Any, Any, None]) -> bool:
        """Begin what is to be awaited; True if it has ended already."""
        self.timer.busy()
        self._conversation = conversation = Conversation(self.loop, awaited, self._awaited)
        has_ended = True
        try:
            has_ended = conversation.begin()
        finally:
            if has_ended:
                self._conversation = None
        return has_ended

    def _awaited(self, error: Exception | None) -> None:
        """Take note that what was awaited has ended."""
        self._conversation = None
        if error is None:
            self.go_on()
        else:
            self._stop(error)

    def _line_to(self, end: int) -> bytes:
        """Take the line that ends there, and return it without its CRLF."""
        come, at = self._come, self._at
        if end + 1 < len(come):
            self._at = end + 1
        else:
            self._come, self._at = b"", 0
        if end - at > READ_AHEAD:
            raise HangUpError(LINE_TOO_LONG, linger=True)
        # Only CRLF ends a line. A client that ends lines otherwise, or hides a CR in one, may be
        # the second half of somebody's smuggled content.
        if end == at or come.find(b"\r", at, end) != end - 1:
            raise HangUpError(BARE_LINE_ENDING, linger=True)
        return come[at : end - 1]

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

    # --- hearing, in the middle of a command ---

    async def next_line(self) -> bytes:
        """Return the next line of the client's without its CRLF."""
        await self.flush()
        self._expect_command()
        while (end := self._come.find(b"\n", self._at)) < 0:
            if len(self._come) - self._at > READ_AHEAD:
                raise HangUpError(LINE_TOO_LONG, linger=True)
            await self._hear()
            self._turn_ends = monotonic() + _TURN
        self._is_idle = False
        self.timer.busy()
        return self._line_to(end)

    async def next_chunk(self, pace: Pace, limit: int = CHUNK) -> bytes:
        """Return some of the content, at most `limit` octets; raise EOFError at its end."""
        if not self._come:
            if self._said:
                await self.flush()
            elif self.turns.is_over(self.loop):
                await self._let_others()
        elif monotonic() > self._turn_ends:
            await self._let_others()
        if self._is_ending:
            self._look_up()
        began = self.loop.time()
        patience = pace.patience(began)
        if patience <= 0:
            raise HangUpError(TIMED_OUT)
        waited = 0.0
        if not self._come:
            self.timer.within(patience, self._give_up, pace.under_stress)
            await self._hear()
            self.timer.busy()
            self._turn_ends = monotonic() + _TURN
            waited = self.loop.time() - began
        chunk = self.take(limit)
        if self._is_held_back:
            # Not only before we wait for more: of a client that is not listened to nobody learns
            # that it has gone, and after the last chunk its mail is committed, or waits for SES.
            self.listen()
        pace.took(len(chunk), waited)
        return chunk

    async def _let_others(self) -> None:
        await self.flush()
        await asyncio.sleep(0)
        self._turn_ends = monotonic() + _TURN

    def _expect_command(self) -> None:
        if self._is_ending:
            self._look_round()
        if self._is_held_back:
            self.listen()
        deadlines = self.deadlines
        self.timer.within(deadlines.command, self._give_up, deadlines.command_under_stress)
        self._is_idle = True

    def _look_round(self) -> None:
        """Raise what ends the session here, between two commands."""
        if self._parting is not None and not self.is_in_content:
            raise HangUpError(self._parting)
        self._look_up()

    def _give_up(self) -> None:
        self.interrupt(HangUpError(TIMED_OUT))

    def _cut_off(self) -> None:
        self._hang_up(TIMED_OUT)  # not to be said: the client does not read
        self.abort()

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
        self.joined()
        try:
            self.greet()
        except Exception as error:  # noqa: BLE001 - the last boundary of a session
            self._stop(error)
        else:
            self.go_on()
