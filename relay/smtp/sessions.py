"""The sessions of a listener, so that they can be counted, asked to end, and waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from relay.mail.reply import Reply
from relay.smtp.connection import Connection
from relay.smtp.places import Places


class Sessions:
    """A set of connections that knows when it is empty. Each of them has one of the `places`."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self._open: set[Connection] = set()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._parting: Reply | None = None

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._open)

    def add(self, session: Connection) -> None:
        """Take in a session; one that comes after the others were told to end is told so too."""
        self._open.add(session)
        self._emptied.clear()
        if self._parting is not None:
            session.part(self._parting)

    def discard(self, session: Connection) -> None:
        """Forget a session that has ended."""
        self._open.discard(session)
        if not self._open:
            self._emptied.set()

    def part(self, reply: Reply) -> None:
        """Ask all sessions to end, with this as their last reply."""
        self._parting = reply
        for session in tuple(self._open):
            session.part(reply)

    def part_some(self, reply: Reply, whom: Callable[[Connection], bool]) -> None:
        """Ask those sessions to end; others, and those to come, go on."""
        for session in tuple(self._open):
            if whom(session):
                session.part(reply)

    def cut_short(self, reply: Reply) -> None:
        """Ask no longer: say this and hang up, even where content is still to come."""
        for session in tuple(self._open):
            session.cut_short(reply)

    def abort(self, *, spare_owed: bool = False) -> None:
        """Cut all connections; with `spare_owed` not those whose clients wait for SES."""
        for session in tuple(self._open):
            if not (spare_owed and session.is_owed):
                session.abort()

    async def gone(self) -> None:
        """Return once no session is open."""
        await self._emptied.wait()
