"""The sessions that are open, so that they can be counted, asked to end, and waited for."""

from __future__ import annotations

import asyncio

from relay.mail.reply import Reply
from relay.smtp.connection import Connection


class Sessions:
    """A set of connections that knows when it is empty."""

    def __init__(self) -> None:
        self._open: set[Connection] = set()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._parting: Reply | None = None

    def __len__(self) -> int:
        return len(self._open)

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

    def abort(self) -> None:
        """Cut all connections."""
        for session in tuple(self._open):
            session.abort()

    async def gone(self) -> None:
        """Return once no session is open."""
        await self._emptied.wait()
