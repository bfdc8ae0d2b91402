"""All listeners together: opened, changed while clients come, and drained.

Does not know how a client is let in, nor what a session says.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from relay.mail.envelope import SenderName
from relay.smtp.connection import Connection
from relay.smtp.doorway import Doorway
from relay.smtp.listener import Listener
from relay.smtp.places import raise_capacity
from relay.smtp.replies import SENDER_CHANGED, SHUTTING_DOWN
from relay.smtp.session import Session
from relay.smtp.settings import AuthWithoutTls, Deadlines, ListenerSettings, TlsMode
from relay.smtp.surroundings import Surroundings

__all__ = [
    "AuthWithoutTls",
    "Change",
    "Deadlines",
    "FrontDoor",
    "Listener",
    "ListenerSettings",
    "Surroundings",
    "TlsMode",
]

# How many seconds our last words have to get out, once the time to finish is over.
_LAST_WORDS: Final = 1.0


class Change(NamedTuple):
    """Other listeners, ready to take over: one of the two follows."""

    enact: Callable[[], None]
    undo: Callable[[], None]


class FrontDoor:
    """All listeners of the relay."""

    def __init__(
        self,
        listeners: Sequence[ListenerSettings],
        surroundings: Surroundings,
        inherited: Mapping[str, Sequence[socket.socket]] | None = None,
    ) -> None:
        """`inherited` are sockets that others listen on for us, by the names of listeners."""
        # aiosmtpd logs each command a client sends; what happened is told by Facts.
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        self._surroundings = surroundings
        self._inherited = {} if inherited is None else inherited
        self._capacity = raise_capacity()
        self.listeners = [Listener(one, surroundings, self._capacity) for one in listeners]
        # Those of before a reload that have sessions left.
        self._retired: list[Listener] = []

    async def start(self) -> None:
        """Open all sockets, or none: raise OSError when one cannot be opened."""
        settings = [listener.settings for listener in self.listeners]
        opened = await self._open(settings, {})
        for listener in self.listeners:
            listener.begin(opened[listener.settings.name])

    async def prepare(self, listeners: Sequence[ListenerSettings]) -> Change:
        """Open what sockets these listeners need that there are none of. Raises OSError.

        A listener that stays as it is does not notice. Another has new settings for whoever comes;
        its sessions, begun under the old ones, are asked to end once they owe nothing. Nobody who
        waits to be let in is refused where the address, or the inherited socket, stays the same.
        """
        kept = self._kept(listeners)
        opened = await self._open(listeners, kept)

        def undo() -> None:
            for name, doorway in opened.items():
                if name not in kept:
                    doorway.close()

        return Change(lambda: self._enact(listeners, opened), undo)

    def _kept(self, listeners: Sequence[ListenerSettings]) -> dict[str, Doorway]:
        """Return the doorways that go on to be used, by the names of who will use them."""
        kept, free = {}, list(self.listeners)
        for one in listeners:
            for listener in free:
                was, doorway = listener.settings, listener.doorway
                is_same_place = (was.host, was.port) == (one.host, one.port)
                # A port that the system chose is that listener's own; an inherited socket has been
                # given a name.
                if doorway is not None and (
                    (was.name == one.name and (is_same_place or doorway.is_inherited))
                    or (is_same_place and one.port != 0 and not doorway.is_inherited)
                ):
                    kept[one.name] = doorway
                    free.remove(listener)
                    break
        return kept

    async def _open(
        self, listeners: Sequence[ListenerSettings], kept: Mapping[str, Doorway]
    ) -> dict[str, Doorway]:
        exhausted = partial(self._surroundings.facts.fault, "smtp.accept")
        opened: dict[str, Doorway] = {}
        try:
            for one in listeners:
                if one.name in kept:
                    opened[one.name] = kept[one.name]
                    continue
                doorway = opened[one.name] = Doorway(asyncio.get_running_loop(), exhausted)
                if sockets := self._inherited.get(one.name, ()):
                    doorway.adopt(sockets)
                    continue
                try:
                    await doorway.open(one.host, one.port)
                except OSError as error:
                    what = f"listener {one.name}, {one.host} port {one.port}: {error.strerror}"
                    raise type(error)(error.errno, what) from error
        except BaseException:
            for name, doorway in opened.items():
                if name not in kept:
                    doorway.close()
            raise
        return opened

    def _enact(self, listeners: Sequence[ListenerSettings], opened: Mapping[str, Doorway]) -> None:
        before = {listener.settings.name: listener for listener in self.listeners}
        unused = [one.doorway for one in self.listeners if one.doorway not in opened.values()]
        now: list[Listener] = []
        for one in listeners:
            listener = before.get(one.name)
            if listener is None or listener.settings != one:
                listener = Listener(one, self._surroundings, self._capacity)
            now.append(listener)
        self._retired = [one for one in self._retired if not one.is_deserted]
        for listener in self.listeners:
            if listener not in now:
                listener.retire()
                self._retired.append(listener)
        for listener in now:
            if listener.doorway is None:
                listener.begin(opened[listener.settings.name])
        for doorway in unused:
            if doorway is not None:
                doorway.close()
        self.listeners = now

    def revoke(self, senders: Collection[SenderName]) -> None:
        """End the sessions of senders that are no longer what they were.

        Content on its way is still taken by the old rules, and answered; then they connect again.
        """

        def is_revoked(session: Connection) -> bool:
            return isinstance(session, Session) and session.is_any_of(senders)

        for listener in self._all:
            listener.sessions.part_some(SENDER_CHANGED, is_revoked)

    @property
    def ports(self) -> dict[str, int]:
        """The port of each listener, by its name."""
        return {listener.settings.name: listener.port for listener in self.listeners}

    @property
    def open_sessions(self) -> int:
        """How many sessions there are."""
        return sum(len(listener.sessions) for listener in self._all)

    @property
    def _all(self) -> list[Listener]:
        return [*self.listeners, *self._retired]

    async def drain(
        self, grace: float, answered: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Take no more mail; return once all sessions are gone.

        A client that is sending content, or waiting for its reply, has `grace` seconds to finish.
        One that waits for SES has until `answered` returns: no call is begun then, and none under
        way.
        """
        for listener in self._all:
            listener.close()
            listener.sessions.part(SHUTTING_DOWN)
        if await self._gone(within=grace):
            return
        for listener in self._all:
            listener.sessions.cut_short(SHUTTING_DOWN)
        if await self._gone(within=_LAST_WORDS):
            return
        if answered is not None:
            for listener in self._all:
                listener.sessions.abort(spare_owed=True)
            await answered()
            if await self._gone(within=_LAST_WORDS):
                return
        for listener in self._all:
            listener.sessions.abort()
        await self._gone(within=None)

    async def _gone(self, *, within: float | None) -> bool:
        """Wait until all sessions are gone; False when that takes too many seconds."""
        try:
            async with asyncio.timeout(within):
                for listener in self._all:
                    await listener.gone()
        except TimeoutError:
            return False
        return True
