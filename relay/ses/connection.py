"""One connection to SES, and one exchange on it at a time.

Knows exactly how far a request came. Does not know what it asks, nor other connections: which to
use, and whether to try again, is the pool's affair.

What "written" means here: the kernel took the last octet of the request, after which nothing we do
can keep SES from having it. Octets are handed straight to the socket and the transport's buffer is
allowed to hold none without saying so; while it holds the end of a request, and until that has been
handed over, SES cannot have a whole request and so cannot have taken the mail: *not sent*. From
then on every failure is *no answer*, also those where the kernel still had it: we cannot know.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Callable
from typing import NamedTuple, Protocol, cast

from relay.policy.verdict import Broken, Stage
from relay.ses.http1 import GarbledError, Response, ResponseReader
from relay.ses.tls import TlsChannel


class SlicedBody(Protocol):
    """A body too large to be held whole."""

    @property
    def slices(self) -> int:
        """How many there are; together they have the length that the head announced."""
        ...

    async def slice(self, number: int) -> bytes:
        """Return the slice of that number; raise OSError or ContentError when it cannot be had."""
        ...


class Request(NamedTuple):
    """One request: its head, and the body, whole or in slices."""

    head: bytes
    body: bytes | SlicedBody
    opens_tunnel: bool = False


class Connection(asyncio.Protocol):
    """One TCP connection, with TLS on it or without. Used by one exchange at a time."""

    def __init__(self, on_lost: Callable[[Connection], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._transport: asyncio.Transport
        self._readable = select.poll()
        self._tls: TlsChannel | None = None
        self._secured: asyncio.Future[None] | None = None
        self.idle_since = 0.0
        """When the last exchange ended, by the loop's clock."""
        self.is_reusable = False
        """Whether the last exchange left nothing behind that another would stumble over."""

        # Of the exchange under way:
        self._outcome: asyncio.Future[Response | Broken] | None = None
        self._reader = ResponseReader()
        self._is_begun = False  # some of the request was handed over
        self._is_handed_over = False  # all of it was
        self._is_paused = False  # the transport still holds some of it
        self._turn: asyncio.Future[None] | None = None  # something happened to the writer

    # What the pool does.

    async def secure(self, channel: TlsChannel) -> None:
        """Begin TLS; return once the peer is verified. Raises OSError (ssl.SSLError is one)."""
        self._tls, self._secured = channel, self._loop.create_future()
        self._transport.write(channel.begin())
        await self._secured

    def is_quiet(self) -> bool:
        """Whether the peer has neither closed nor said anything since the last exchange.

        The socket is asked, not only the loop: what came since the loop last looked counts too.
        """
        return not self._transport.is_closing() and not self._readable.poll(0)

    def abort(self) -> None:
        """Close now. What was not handed to the kernel never leaves."""
        self._transport.abort()

    async def exchange(self, request: Request, allowed: float) -> Response | Broken:
        """Write the request and return the answer, or how far it came, within `allowed` seconds.

        Raises what reading the body raises; the request is then incomplete and SES ignores it.
        """
        outcome: asyncio.Future[Response | Broken] = self._loop.create_future()
        self._outcome = outcome
        self._reader = ResponseReader(opens_tunnel=request.opens_tunnel)
        self._is_begun = self._is_handed_over = self.is_reusable = False
        deadline = self._loop.call_later(allowed, self._expire, allowed)
        try:
            if isinstance(request.body, bytes):
                self._write(request.head + request.body, is_last=True)
            else:
                await self._write_slices(request.head, request.body, outcome)
            return await outcome
        except BaseException:
            self.is_reusable = False
            raise
        finally:
            deadline.cancel()
            self._outcome = None
            if not self.is_reusable:
                self.abort()

    # Writing.

    async def _write_slices(
        self, head: bytes, body: SlicedBody, outcome: asyncio.Future[Response | Broken]
    ) -> None:
        last = body.slices - 1
        for number in range(body.slices):
            octets = await body.slice(number)
            if number == 0:
                octets = head + octets
            # The next slice was read while this one drained; more than that is not held.
            while self._is_paused and not (outcome.done() or self._reader.has_begun):
                self._turn = self._loop.create_future()
                await self._turn
            if outcome.done() or self._reader.has_begun:
                return  # SES has answered already and reads no further
            self._write(octets, is_last=number == last)

    def _write(self, octets: bytes, *, is_last: bool) -> None:
        transport = self._transport
        if self._tls is not None:
            try:
                octets = self._tls.seal(octets)
            except ssl.SSLError as error:
                self._break(f"TLS failed: {describe(error)}")
                return
        self._is_begun = True
        transport.write(octets)
        # A transport that could not write is closing by now.
        self._is_handed_over = is_last and not transport.is_closing()

    def _stage(self) -> Stage:
        written = self._is_handed_over and not self._is_paused
        return Stage.NO_ANSWER if written else Stage.NOT_SENT

    # How an exchange ends.

    def _settle(self, outcome: Response | Broken) -> None:
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(outcome)
        self._wake_writer()

    def _break(self, what: str) -> None:
        """End what is under way, and the connection with it."""
        self.is_reusable = False
        self._settle(Broken(self._stage(), what))
        if self._secured is not None and not self._secured.done():
            self._secured.set_exception(ConnectionError(what))
        self.abort()

    def _expire(self, allowed: float) -> None:
        said = "no answer" if self._stage() is Stage.NO_ANSWER else "the request was not taken"
        self._break(f"{said} within {allowed:.3g} s")

    def _wake_writer(self) -> None:
        if self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    def _answered(self, response: Response) -> None:
        self.is_reusable = (
            response.keeps_alive
            and self._is_handed_over
            and not self._is_paused
            and not self._reader.surplus
        )
        self.idle_since = self._loop.time()
        self._settle(response)

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with a buffer that reports whatever it has to hold."""
        # uvloop's transports are not of asyncio's class; those of TCP have all of its methods.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)
        self._readable.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Read on in the answer."""
        if self._tls is None:
            self._take(data)
            return
        plain = self._decrypt(self._tls, data)
        if plain:
            self._take(plain)
        if self._tls.has_ended:
            self.eof_received()
            self.abort()

    def _take(self, data: bytes) -> None:
        if self._outcome is None or self._outcome.done() or not self._is_begun:
            self._break("SES spoke before it was asked")
            return
        try:
            response = self._reader.feed(data)
        except GarbledError as error:
            self._break(f"the answer is not HTTP: {error}")
            return
        if response is not None:
            self._answered(response)
        elif self._reader.has_begun:
            self._wake_writer()

    def eof_received(self) -> None:
        """Take the end of the stream for the end of the answer, if it may be that."""
        if self._outcome is None or self._outcome.done() or not self._is_begun:
            return
        try:
            self._answered(self._reader.end())
        except GarbledError as error:
            some = self._reader.has_begun or self._reader.surplus
            self._break(
                f"the answer is not whole: {error}"
                if some
                else "the connection was closed without an answer"
            )
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End what was under way."""
        reason = f": {describe(exc)}" if exc is not None else ""
        self._break(f"the connection was lost{reason}")
        self._on_lost(self)

    def pause_writing(self) -> None:
        """Note that the transport holds the end of what was handed over."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Note that the kernel has all that was handed over."""
        self._is_paused = False
        self._wake_writer()

    def _decrypt(self, channel: TlsChannel, octets: bytes) -> bytes:
        try:
            plain = channel.receive(octets)
        except ssl.SSLError as error:
            if alert := channel.pending():
                self._transport.write(alert)
            self._break(f"TLS failed: {describe(error)}")
            return b""
        if answer := channel.pending():
            self._transport.write(answer)
        if channel.is_secured and self._secured is not None and not self._secured.done():
            self._secured.set_result(None)
        return plain


def describe(error: BaseException) -> str:
    """Say in few words what went wrong; the words of the system, none of the peer's."""
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_message:
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        # Only those that OpenSSL raised have a reason.
        reason: str = getattr(error, "reason", None) or "protocol error"
        return reason.replace("_", " ").lower()
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
