"""Dialogues shown as they happen: what a client says and hears, content and secrets left out.

A session that nobody watches is not changed in the least: only where somebody does, methods of that
one session are replaced by such as tell, and put back once nobody watches any more. Does not know
who watches, or how it is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from relay.policy.sender import Host
from relay.smtp.pace import Pace
from relay.smtp.parting import CHUNK

if TYPE_CHECKING:
    from relay.smtp.session import Session

Network: TypeAlias = IPv4Network | IPv6Network

_HIDDEN: Final = "***"
_REPLACED: Final = ("obey", "say", "next_line", "next_chunk", "_hang_up", "left")


class Speaker(StrEnum):
    """Who said it."""

    CLIENT = "C"
    SERVER = "S"
    NOBODY = "*"
    """What happened."""


class Said(NamedTuple):
    """One line of a dialogue. `at` is in seconds since we began to watch that session."""

    session_id: str
    listener: str
    peer: str
    at: float
    speaker: Speaker
    text: str


@dataclass(eq=False, slots=True)
class Watch:
    """Somebody who watches the clients of a network. `tell` must neither wait nor fail."""

    network: Network
    tell: Callable[[Said], None]
    sessions: set[Session] = field(default_factory=set)


class Tracing:
    """Who watches whom. Asked once for each connection."""

    def __init__(self) -> None:
        self._watches: list[Watch] = []
        self._taps: dict[Session, _Tap] = {}

    def __bool__(self) -> bool:
        """Whether anybody watches."""
        return bool(self._watches)

    def begin(
        self, network: Network, tell: Callable[[Said], None], sessions: Iterable[Session]
    ) -> Watch:
        """Watch the clients of a network, those of these sessions that are its clients too."""
        watch = Watch(network, tell)
        self._watches.append(watch)
        for session in tuple(sessions):
            self._meet(session, [watch], "watched from here on")
        return watch

    def end(self, watch: Watch) -> None:
        """Watch no more."""
        self._watches.remove(watch)
        for session in tuple(watch.sessions):
            tap = self._taps[session]
            tap.watches.remove(watch)
            if not tap.watches:
                self._let_go(session)

    def meet(self, session: Session) -> None:
        """Watch a session that begins, if anybody watches such."""
        self._meet(session, self._watches, "connected")

    def _meet(self, session: Session, watches: Iterable[Watch], how: str) -> None:
        mine = [watch for watch in watches if _is_in(session.peer, watch.network)]
        if not mine:
            return
        tap = self._taps.get(session)
        if tap is None:
            self._taps[session] = tap = _Tap(session, lambda: self._let_go(session))
        tap.watches += mine
        for watch in mine:
            watch.sessions.add(session)
        tap.happened(how)

    def _let_go(self, session: Session) -> None:
        tap = self._taps.pop(session)
        for watch in tap.watches:
            watch.sessions.discard(session)
        tap.remove()


class _Tap:
    """The methods of one session that tell."""

    def __init__(self, session: Session, ended: Callable[[], None]) -> None:
        self.watches: list[Watch] = []
        self._session = session
        self._ended = ended
        self._began = time.monotonic()
        self._content = 0  # octets that have come since the last line
        for name in _REPLACED:
            setattr(session, name, getattr(self, name))

    def remove(self) -> None:
        """Put the session's own methods back."""
        for name in _REPLACED:
            delattr(self._session, name)

    def happened(self, words: str) -> None:
        """Tell of what nobody said."""
        self._tell(Speaker.NOBODY, words)

    # --- in place of the session's own; they are looked up there for what they do ---

    def obey(self, line: bytes) -> Coroutine[Any, Any, None] | None:
        """Tell a command, and obey it."""
        self._tell(Speaker.CLIENT, self._shown(line))
        return type(self._session).obey(self._session, line)

    def say(self, line: bytes) -> None:
        """Tell a reply, and say it."""
        for one in line.splitlines():
            self._tell(Speaker.SERVER, _printable(one))
        type(self._session).say(self._session, line)

    async def next_line(self) -> bytes:
        """Tell that a response has come, which is a secret or a part of one."""
        line = await type(self._session).next_line(self._session)
        self._tell(Speaker.CLIENT, _HIDDEN)
        return line

    async def next_chunk(self, pace: Pace, limit: int = CHUNK) -> bytes:
        """Count content: what it is nobody is told."""
        chunk = await type(self._session).next_chunk(self._session, pace, limit)
        self._content += len(chunk)
        return chunk

    def _hang_up(self, reply: Any) -> None:
        self.happened("the relay hangs up")
        type(self._session)._hang_up(self._session, reply)  # noqa: SLF001 - in its place

    def left(self) -> None:
        """Tell that the session has ended."""
        self.happened("the connection is closed")
        session = self._session
        self._ended()
        session.left()

    def _shown(self, line: bytes) -> str:
        """Return a command line without what is nobody's business."""
        verb, _, rest = line.partition(b" ")
        verb = verb.upper()
        if verb == b"AUTH":
            mechanism, _, secret = rest.strip().partition(b" ")
            return _printable(b"AUTH " + mechanism) + (f" {_HIDDEN}" if secret else "")
        if verb not in self._session.commands:
            # A password that comes where none was asked for looks like this.
            return f"({len(line)} octets that are no command)"
        return _printable(line)

    def _tell(self, speaker: Speaker, text: str) -> None:
        if self._content:
            octets, self._content = self._content, 0
            self._tell(Speaker.CLIENT, f"({octets} octets of content, line ends included)")
        session = self._session
        said = Said(
            session.session_id,
            session.settings.name,
            str(session.peer),
            round(time.monotonic() - self._began, 4),
            speaker,
            text,
        )
        for watch in self.watches:
            watch.tell(said)


def _printable(line: bytes) -> str:
    text = line.decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)


def _is_in(peer: Host, network: Network) -> bool:
    mapped = getattr(peer, "ipv4_mapped", None)
    return (mapped or peer) in network
