"""Which senders an operator has paused: their mail is accepted and kept, and none is attempted.

Knows names. What has been decided is durable before it is in force (relay.operators.PauseBook).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from relay.mail.envelope import SenderName
from relay.operators import Pause, PauseBook


class Pauses:
    """The pauses in force."""

    def __init__(self, book: PauseBook) -> None:
        self._book = book
        self.on_resumed: Callable[[SenderName], None] = lambda _: None
        """Called with who is paused no more."""
        self._by_sender: dict[SenderName, Pause] = {}
        self.in_force: Mapping[SenderName, Pause] = MappingProxyType(self._by_sender)
        """Who is paused, since when and why; follows what is decided."""

    def hold(self, sender: SenderName) -> bool:
        """Whether no mail of that sender is to be attempted. Asked for every deal."""
        return sender in self._by_sender

    async def recall(self) -> None:
        """Go on with the pauses of the last run; raise SpoolError if they cannot be read."""
        self._by_sender.update({pause.sender: pause for pause in await self._book.read()})

    async def pause(self, pause: Pause) -> Pause:
        """Pause a sender, or give the pause another reason; raise SpoolError.

        What SES is answering at this moment is not called back.
        """
        written = await self._book.write(pause)
        self._by_sender[pause.sender] = written
        return written

    async def resume(self, sender: SenderName) -> bool:
        """Let a sender's mail go again; False if it was not paused. Raise SpoolError."""
        if sender not in self._by_sender:
            return False
        await self._book.remove(sender)
        self._by_sender.pop(sender, None)
        self.on_resumed(sender)
        return True
