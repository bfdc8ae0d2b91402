"""Speaks to the running daemon over its admin socket. Knows HTTP on a unix socket, no verbs."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from relay.cli.exits import FOUND_BAD, NOT_ALLOWED, TRY_LATER, UNREACHABLE, USAGE

TIMEOUT: Final = 30.0  # seconds
PAGE: Final = 500
_BAD_REQUEST: Final = 400
_UNPROCESSABLE: Final = 422
_SERVER_ERROR: Final = 500


class AdminError(Exception):
    """The daemon cannot be asked or says no. `exit_code` is the one to end with."""

    def __init__(self, words: str, exit_code: int) -> None:
        super().__init__(words)
        self.exit_code = exit_code


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class AdminClient:
    """Requests to the admin API; raises AdminError with words for the operator."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(
        self,
        method: str,
        *segments: str,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the JSON answer of /v1/<segments>."""
        if not all(segments):
            raise AdminError("an id or address is needed", USAGE)
        target = "/v1/" + "/".join(quote(segment, safe="@") for segment in segments)
        if query:
            target += "?" + urlencode(query)
        connection = _UnixConnection(self._path)
        try:
            connection.request(method, target, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
        except PermissionError as error:
            raise AdminError(f"not allowed to open {self._path}", NOT_ALLOWED) from error
        except (OSError, http.client.HTTPException) as error:
            words = f"the daemon does not answer on {self._path} ({error}); is it running?"
            raise AdminError(words, UNREACHABLE) from error
        finally:
            connection.close()
        if answer.status >= _SERVER_ERROR:
            raise AdminError(f"the daemon failed: {answer.status}; see its log", TRY_LATER)
        if answer.status == _BAD_REQUEST:
            raise AdminError(text.decode(), USAGE)
        if answer.status > _BAD_REQUEST and answer.status != _UNPROCESSABLE:
            raise AdminError(text.decode(), FOUND_BAD)
        document: dict[str, Any] = json.loads(text)
        return document

    def pages(self, noun: str, items: str, key: str) -> Iterator[dict[str, Any]]:
        """Yield every item of a listing, page after page, in order of its key."""
        after = ""
        while True:
            found = self.ask("GET", noun, query={"after": after, "limit": PAGE})[items]
            yield from found
            if len(found) < PAGE:
                return
            after = found[-1][key]
