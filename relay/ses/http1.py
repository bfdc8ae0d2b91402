"""HTTP/1.1 answers, read from octets as they come (RFC 9112).

Knows no socket and no request: octets in, one answer out, the same however they were cut.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Final, NamedTuple

HEAD_LIMIT: Final = 64 * 1024
BODY_LIMIT: Final = 1024 * 1024

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_HEAD: Final = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n\0]*)?(?:\r\n" + _TOKEN + rb":[^\r\n\0]*)*"
)
_FIELD: Final = re.compile(rb"\r\n(" + _TOKEN + rb"):[ \t]*([^\r]*)")
_LENGTH: Final = re.compile(rb"[0-9]{1,19}")
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?")
_CHUNK_LINE_LIMIT: Final = 1024
_NO_BODY: Final = frozenset({204, 304})
_REDIRECTION: Final = 300
_FINAL: Final = 200  # everything below is interim (RFC 9110 section 15.2)


class GarbledError(Exception):
    """What came is not one whole HTTP answer."""


class Response(NamedTuple):
    """One final answer. Field names are in lower case; repeated fields are joined."""

    status: int
    fields: dict[bytes, bytes]
    body: bytes
    keeps_alive: bool


class ResponseReader:
    """Reads the answer to one request."""

    __slots__ = ("_buffer", "_ended", "_opens_tunnel", "_steps", "has_begun")

    def __init__(self, *, opens_tunnel: bool = False) -> None:
        """`opens_tunnel`: the request was CONNECT, and the octets of a success are the tunnel's."""
        self._opens_tunnel = opens_tunnel
        self.has_begun = False
        """A final status line was read: the peer has made up its mind."""
        self._buffer = bytearray()
        self._ended = False
        self._steps: Generator[None, None, Response] | None = None

    @property
    def surplus(self) -> int:
        """Octets that came and were not needed; after the answer they belong to nothing."""
        return len(self._buffer)

    def feed(self, octets: bytes) -> Response | None:
        """Take what came; return the answer once it is whole, raise GarbledError if it is none."""
        if self._steps is None:
            response = self._at_once(octets)
            if response is not None:
                return response
        self._buffer += octets
        return self._step()

    def end(self) -> Response:
        """Return the answer that the end of the stream completes; else raise GarbledError."""
        self._ended = True
        response = self._step()
        if response is None:
            raise GarbledError("it ended too soon")
        return response

    def _at_once(self, octets: bytes) -> Response | None:
        """Return an answer that came in one piece, as nearly all do; any other is read in steps."""
        end = octets.find(b"\r\n\r\n")
        if self._opens_tunnel or not 0 < end <= HEAD_LIMIT or not octets.startswith(b"HTTP/1."):
            return None
        minor, status, fields = _parse_head(octets[:end])
        length = fields.get(b"content-length")
        if (
            length is None
            or status < _FINAL
            or status in _NO_BODY
            or b"transfer-encoding" in fields
            or _parse_length(length) != len(octets) - end - 4
        ):
            return None
        self.has_begun = True
        return Response(status, fields, octets[end + 4 :], _keeps_alive(minor, fields))

    def _step(self) -> Response | None:
        if self._steps is None:
            self._steps = self._read()
        try:
            next(self._steps)
        except StopIteration as finished:
            response: Response | None = finished.value
            return response
        return None

    def _read(self) -> Generator[None, None, Response]:
        while True:
            yield from self._expect(b"HTTP/1.")
            head = yield from self._until(b"\r\n\r\n", HEAD_LIMIT, "its header")
            minor, status, fields = _parse_head(head)
            if status >= _FINAL:
                break
        self.has_begun = True
        keeps_alive = _keeps_alive(minor, fields)
        if self._opens_tunnel and status < _REDIRECTION:
            # There is neither body nor end, whatever the fields say, also of HTTP/1.0.
            return Response(status, fields, b"", keeps_alive=True)
        if status in _NO_BODY:
            body = b""
        elif (coding := fields.get(b"transfer-encoding")) is not None:
            if coding.strip().lower() != b"chunked":
                raise GarbledError("its transfer coding is unknown")
            # Both together is how answers are smuggled (RFC 9112 section 6.3); read, do not reuse.
            keeps_alive = keeps_alive and b"content-length" not in fields
            body = yield from self._chunks()
        elif (length := fields.get(b"content-length")) is not None:
            body = yield from self._exactly(_parse_length(length))
        else:
            keeps_alive = False
            body = yield from self._rest()
        return Response(status, fields, body, keeps_alive)

    def _expect(self, start: bytes) -> Generator[None, None, None]:
        """Wait until it begins so; what begins otherwise may never end and is told at once."""
        while not self._buffer.startswith(start):
            if not start.startswith(self._buffer):
                raise GarbledError("it has no status line")
            if self._ended:
                raise GarbledError("it ended too soon")
            yield

    def _until(self, mark: bytes, limit: int, what: str) -> Generator[None, None, bytes]:
        """Take what stands before `mark`, and the mark."""
        buffer, searched = self._buffer, 0
        while (end := buffer.find(mark, searched)) < 0:
            if len(buffer) >= limit + len(mark):
                break
            if self._ended:
                raise GarbledError("it ended too soon")
            searched = max(0, len(buffer) - len(mark) + 1)
            yield
        if not 0 <= end <= limit:
            raise GarbledError(f"{what} is too long")
        taken = bytes(buffer[:end])
        del buffer[: end + len(mark)]
        return taken

    def _exactly(self, count: int) -> Generator[None, None, bytes]:
        buffer = self._buffer
        while len(buffer) < count:
            if self._ended:
                raise GarbledError("it ended too soon")
            yield
        taken = bytes(buffer[:count])
        del buffer[:count]
        return taken

    def _chunks(self) -> Generator[None, None, bytes]:
        body = bytearray()
        while True:
            line = yield from self._until(b"\r\n", _CHUNK_LINE_LIMIT, "a chunk's size")
            match = _CHUNK_LINE.fullmatch(line)
            if match is None:
                raise GarbledError("a chunk has no size")
            size = int(match[1], 16)
            if size == 0:
                break
            if len(body) + size > BODY_LIMIT:
                raise GarbledError("its body is too long")
            body += yield from self._exactly(size)
            if (yield from self._exactly(2)) != b"\r\n":
                raise GarbledError("a chunk does not end where it says")
        while (yield from self._until(b"\r\n", HEAD_LIMIT, "its trailer")):
            pass
        return bytes(body)

    def _rest(self) -> Generator[None, None, bytes]:
        while len(self._buffer) <= BODY_LIMIT and not self._ended:
            yield
        if len(self._buffer) > BODY_LIMIT:
            raise GarbledError("its body is too long")
        taken = bytes(self._buffer)
        self._buffer.clear()
        return taken


def _keeps_alive(minor: bytes, fields: dict[bytes, bytes]) -> bool:
    """Whether the connection is good for another request (RFC 9112 section 9.3)."""
    if minor != b"1":
        return False
    options = fields.get(b"connection", b"").lower()
    return b"close" not in options or b"close" not in map(bytes.strip, options.split(b","))


def _parse_head(head: bytes) -> tuple[bytes, int, dict[bytes, bytes]]:
    match = _HEAD.fullmatch(head)
    if match is None:
        raise GarbledError("its header is malformed")
    fields: dict[bytes, bytes] = {}
    for name, value in _FIELD.findall(head, match.end(2)):
        name, value = name.lower(), value.rstrip(b" \t")  # noqa: PLW2901
        if name not in fields:
            fields[name] = value
        elif name != b"content-length":
            fields[name] += b", " + value
        elif fields[name] != value:
            raise GarbledError("it has two lengths")
    return match[1], int(match[2]), fields


def _parse_length(text: bytes) -> int:
    if not _LENGTH.fullmatch(text):
        raise GarbledError("its length is no number")
    length = int(text)
    if length > BODY_LIMIT:
        raise GarbledError("its body is too long")
    return length
