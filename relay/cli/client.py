"""Speaks to the admin API, over the socket of a daemon or another way. Knows HTTP, no verbs."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlencode

from relay.cli.exits import FOUND_BAD, NOT_ALLOWED, TRY_LATER, UNREACHABLE, USAGE

TIMEOUT: Final = 30.0  # seconds
PAGE: Final = 500
_BAD_REQUEST: Final = 400
_CONFLICT: Final = 409
_UNPROCESSABLE: Final = 422
_SERVER_ERROR: Final = 500
_UNAVAILABLE: Final = 503

Query: TypeAlias = Mapping[str, str | int | float | Sequence[str]]


class AdminError(Exception):
    """The daemon cannot be asked or says no. `exit_code` is the one to end with."""

    def __init__(self, words: str, exit_code: int) -> None:
        super().__init__(words)
        self.exit_code = exit_code


class _Connection(http.client.HTTPConnection):
    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._connect = connect

    def connect(self) -> None:
        self.sock = self._connect()
        self.sock.settimeout(TIMEOUT)


class AdminClient:
    """Requests to the admin API; raises AdminError with words for the operator."""

    def __init__(self, path: Path, connect: Callable[[], socket.socket] | None = None) -> None:
        """`connect` is another way than the admin socket at `path`."""
        self._path = path
        self._connect = connect or self.dial

    def dial(self) -> socket.socket:
        """Return a connection to the daemon; raises OSError."""
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(TIMEOUT)
            connection.connect(str(self._path))
        except BaseException:
            connection.close()
            raise
        return connection

    def ask(
        self,
        method: str,
        *segments: str,
        query: Query | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the JSON answer of /v1/<segments>."""
        (document,) = self.lines(method, *segments, query=query, body=body)
        return document

    def lines(
        self,
        method: str,
        *segments: str,
        query: Query | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield the JSON objects of an answer, one a line, as they come."""
        if not all(segments):
            raise AdminError("an id or address is needed", USAGE)
        target = "/v1/" + "/".join(quote(segment, safe="@") for segment in segments)
        if query:
            target += "?" + urlencode(query, doseq=True)
        with closing(_Connection(self._connect)) as connection:
            with self._in_words():
                connection.request(method, target, None if body is None else json.dumps(body))
                answer = connection.getresponse()
                if answer.status >= _BAD_REQUEST and answer.status != _UNPROCESSABLE:
                    raise _refusal(answer.status, answer.read().decode(errors="replace"))
            try:
                for line in answer:
                    document: dict[str, Any] = json.loads(line)
                    yield document
            except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
                raise AdminError("the daemon went away in the middle", TRY_LATER) from error

    def pages(self, noun: str, items: str, query: Query | None = None) -> Iterator[dict[str, Any]]:
        """Yield every item of a listing, page after page, in order of its key."""
        after: str | None = ""
        while after is not None:
            answer = self.ask("GET", noun, query={**(query or {}), "after": after, "limit": PAGE})
            yield from answer[items]
            after = answer["after"]

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """Say in words what of a connection has failed."""
        try:
            yield
        except PermissionError as error:
            raise AdminError(f"not allowed to open {self._path}", NOT_ALLOWED) from error
        except (OSError, http.client.HTTPException) as error:
            words = f"the daemon does not answer on {self._path} ({error}); is it running?"
            raise AdminError(words, UNREACHABLE) from error


def _refusal(status: int, words: str) -> AdminError:
    """Return what a status means to whoever asked."""
    if status in (_CONFLICT, _UNAVAILABLE):
        return AdminError(words, TRY_LATER)
    if status >= _SERVER_ERROR:
        return AdminError(f"the daemon failed: {status}; see its log", TRY_LATER)
    return AdminError(words, USAGE if status == _BAD_REQUEST else FOUND_BAD)
