"""One client connection: command lines and content in, replies out, and its end.

Knows lines and how long they may take. Does not know what a command means: a subclass converses.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Final, cast

from aiosmtpd.smtp import SMTP

from relay.mail.reply import Reply
from relay.smtp.hangup import HangUpError
from relay.smtp.replies import BARE_LINE_ENDING, LINE_TOO_LONG, TIMED_OUT
from relay.smtp.settings import Deadlines
from relay.smtp.timer import Timer

# What the reader holds before it stops the client: also the longest line it can find an end for.
_READ_AHEAD: Final = 32768
# Content is taken in pieces of at most this size.
_CHUNK: Final = 131072
# Replies waiting to be written together, and replies written but not yet taken by the client.
_COALESCED: Final = 16384
_UNREAD: Final = 65536
# What a client may still send while it is given time to read our last reply.
_LINGER_CHUNKS: Final = 256
# How many seconds a session works before it lets the others: one that has many commands in its
# buffer never has to wait, and would never be interrupted.
_TURN: Final = 0.005


class Connection(SMTP, ABC):
    """The wire under one SMTP session."""

    # SMTP's own constructor inspects every attribute of itself and of a handler, 0.3 ms for each
    # connection, for hooks and mechanisms we do not use; what remains of SMTP needs these.
    def __init__(self, loop: asyncio.AbstractEventLoop, deadlines: Deadlines) -> None:
        asyncio.StreamReaderProtocol.__init__(
            self,
            asyncio.StreamReader(limit=_READ_AHEAD, loop=loop),
            self._cb_client_connected,
            loop=loop,
        )
        self.loop = loop
        self.transport = None
        self.session = None
        self.envelope = None
        self._handle_hooks = {}
        self._original_transport = None
        self._handler_coroutine = None

        self.deadlines = deadlines
        self.timer = Timer(loop)
        self.on_lost: Callable[[], object] | None = None
        """Called when the connection is lost: by then nobody is left to answer."""
        self._wire = cast("asyncio.Transport", None)
        self._said: list[bytes] = []
        self._said_octets = 0
        self._is_stalled = False  # the client does not read our replies
        self._is_idle = False  # nothing is under way that should be finished
        self._is_lost = False
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
            self.timer.within(self.deadlines.command, self._cut_off)
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
        if self._parting is not None:
            raise HangUpError(self._parting)
        if self._is_lost:
            raise ConnectionResetError
        self.timer.within(self.deadlines.command, self._give_up)
        self._is_idle = True
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

    async def next_chunk(self, until: float) -> bytes:
        """Return some of the content, before loop time `until`; raise EOFError at its end."""
        must_wait = not self.has_more
        if not must_wait and monotonic() > self._turn_ends:
            await self._let_others()
        if self._is_lost:
            raise ConnectionResetError
        left = until - self.loop.time()
        self.timer.within(min(left, self.deadlines.data_block), self._give_up)
        chunk = await self._reader.read(_CHUNK)
        self.timer.busy()
        if must_wait:
            self._turn_ends = monotonic() + _TURN
        if not chunk:
            raise EOFError
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

    def _reset_timeout(self, duration: float | None = None) -> None:
        """Do nothing: each wait sets its own deadline."""

    def _give_up(self) -> None:
        self._reader.set_exception(HangUpError(TIMED_OUT))

    def _cut_off(self) -> None:
        self._hang_up(TIMED_OUT)  # not to be said: the client does not read
        self._wire.abort()

    # --- encrypting ---

    async def encrypt(self, context: ssl.SSLContext) -> None:
        """Put TLS between us and the client, who was told to begin its handshake."""
        wire = self._wire
        try:
            upgraded = await self.loop.start_tls(
                wire,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=self.deadlines.handshake,
                ssl_shutdown_timeout=self.deadlines.linger,
            )
        except OSError:
            upgraded = None
        # When the client goes during the handshake, asyncio returns nothing and uvloop a transport
        # that leads nowhere; and the layer of TLS may never tell us that the wire is gone.
        if upgraded is None or wire.is_closing():
            wire.abort()
            self.connection_lost(None)
            raise ConnectionResetError
        self._use(upgraded)
        self.transport = upgraded
        self._reader._transport = upgraded  # type: ignore[attr-defined]  # noqa: SLF001
        self._writer._transport = upgraded  # type: ignore[attr-defined]  # noqa: SLF001
        self._over_ssl = True

    # --- parting ---

    def part(self, reply: Reply) -> None:
        """End the session: now, when it waits for a command, else after the reply it owes."""
        self._parting = reply
        if self._is_idle:
            self._reader.set_exception(HangUpError(reply))

    def cut_short(self, reply: Reply) -> None:
        """End the session even where content is still to come; a commit under way is finished."""
        self._parting = reply
        self._reader.set_exception(HangUpError(reply))

    def abort(self) -> None:
        """Cut the connection."""
        self._wire.abort()

    @property
    def is_lost(self) -> bool:
        """Whether there is nobody left to answer."""
        return self._is_lost

    async def _handle_client(self) -> None:
        try:
            await self.converse()
        except HangUpError as end:
            if not self._is_lost:
                self._hang_up(end.reply)
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
                if not await self._reader.read(_CHUNK):
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

    def _use(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast("asyncio.Transport", transport)
        self._wire.set_write_buffer_limits(high=_UNREAD)

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

    def eof_received(self) -> bool:
        """Go on writing: a client that has said all it has to say still wants its replies."""
        if not self._is_lost:
            self._reader.feed_eof()
        # TLS has no half-closed connections; asyncio warns when asked for one.
        return not self._over_ssl

    def pause_writing(self) -> None:
        """Take note that the client does not read."""
        super().pause_writing()
        self._is_stalled = True

    def resume_writing(self) -> None:
        """Take note that it does again."""
        super().resume_writing()
        self._is_stalled = False
