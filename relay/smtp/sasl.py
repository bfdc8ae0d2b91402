"""AUTH PLAIN (RFC 4616) and LOGIN as exchanges of lines, to be driven by a session.

Pure: a mechanism is a generator that yields the lines to say, is sent the client's lines, and
returns what they proved to be. Does not know which credentials are right.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from relay.mail.reply import Reply
from relay.smtp.replies import AUTH_CANCELLED, AUTH_NOT_BASE64

_CANCEL: Final = b"*"
_EMPTY: Final = b"="

_PROCEED: Final = b"334 \r\n"
# LOGIN was never standardised; clients compare these two prompts letter by letter.
_USERNAME: Final = b"334 VXNlcm5hbWU6\r\n"
_PASSWORD: Final = b"334 UGFzc3dvcmQ6\r\n"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client claims. `login` is None where no login can be that: never a known one."""

    login: str | None
    password: bytes = field(repr=False)


class ExchangeError(Exception):
    """The exchange ended without credentials; the reply says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


Exchange: TypeAlias = Generator[bytes, bytes, Credentials]


def _plain(initial: bytes | None) -> Exchange:
    response = _decode((yield _PROCEED) if initial is None else initial)
    parts = response.split(b"\0")
    if len(parts) != 3:  # noqa: PLR2004 - authzid, authcid, passwd
        raise ExchangeError(AUTH_NOT_BASE64)
    acting_for, login, password = parts
    if acting_for not in (b"", login):
        # Nobody here may act for another.
        return Credentials(None, password)
    return Credentials(_text(login), password)


def _login(initial: bytes | None) -> Exchange:
    login = _decode((yield _USERNAME) if initial is None else initial)
    password = _decode((yield _PASSWORD))
    return Credentials(_text(login), password)


MECHANISMS: Final[Mapping[str, Callable[[bytes | None], Exchange]]] = {
    "PLAIN": _plain,
    "LOGIN": _login,
}


def _decode(line: bytes) -> bytes:
    if line == _CANCEL:
        raise ExchangeError(AUTH_CANCELLED)
    if line == _EMPTY:
        # RFC 4954 section 4: an initial response that is there, and empty.
        return b""
    # Python lets a padding character too many pass.
    if len(line) % 4:
        raise ExchangeError(AUTH_NOT_BASE64)
    try:
        return binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error:
        # The cause is left out: it would carry the line, and so a password, into a traceback.
        raise ExchangeError(AUTH_NOT_BASE64) from None


def _text(login: bytes) -> str | None:
    try:
        return login.decode("utf-8")
    except UnicodeDecodeError:
        return None
