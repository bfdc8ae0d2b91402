"""Watches how each sender's mail is received, and breaks the circuit of one that harms the account.

Default is to say so; to pause is the operator's choice (R10). Looks every minute, in a task of its
own. Knows when; the policy says what is too much, and the store counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from relay.aftermath import ReputationBook
from relay.facts import Facts
from relay.mail.envelope import SenderName
from relay.operators import Pause, Pausing
from relay.policy.reputation import NOTHING, Reception, complaint_about
from relay.ports import Clock, SpoolError

LOOK: Final = 60.0  # seconds
ACTOR: Final = "circuit"

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)


class Circuits:
    """The circuits of all senders. `hour` and `day` are what became of each one's mail in that."""

    def __init__(
        self,
        book: ReputationBook,
        let_expire: Callable[[datetime], Awaitable[int]],
        pauses: Pausing,
        senders: Callable[[], Mapping[SenderName, bool]],
        *,
        facts: Facts,
        clock: Clock,
    ) -> None:
        """`senders` are those configured, and whether each is to be paused.

        `let_expire` lets go some of what is suppressed no more.
        """
        self._book = book
        self._let_expire = let_expire
        self._pauses = pauses
        self._senders = senders
        self._facts = facts
        self._clock = clock
        self.hour: Mapping[SenderName, Reception] = {}
        self.day: Mapping[SenderName, Reception] = {}
        self.suspects: dict[SenderName, str] = {}
        """Whose circuit is broken, and why."""
        self._stop = asyncio.Event()

    @property
    def windows(self) -> Mapping[str, Mapping[SenderName, Reception]]:
        """What became of each one's mail, by window."""
        return {"1h": self.hour, "24h": self.day}

    def stop(self) -> None:
        """End."""
        self._stop.set()

    async def run(self) -> None:
        """Look until `stop` is called."""
        while not self._stop.is_set():
            # That the record cannot be read is told where it turns sick.
            with suppress(SpoolError):
                await self.look()
                while await self._let_expire(self._clock.now()):
                    pass
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._stop.wait()

    async def look(self) -> None:
        """Count, and break or mend circuits; raise SpoolError."""
        now = self._clock.now()
        self.hour = await self._book.reception(now - _HOUR, now)
        self.day = await self._book.reception(now - _DAY, now)
        for sender, is_paused in self._senders().items():
            complaint = complaint_about(self.day.get(sender, NOTHING))
            if not complaint:
                self.suspects.pop(sender, None)
                continue
            # Once a time it breaks: who is resumed in spite of it is not paused again.
            if sender not in self.suspects:
                await self._break(sender, complaint, is_paused=is_paused)
            self.suspects[sender] = complaint

    async def _break(self, sender: SenderName, complaint: str, *, is_paused: bool) -> None:
        self._facts.service("sender_suspect", sender=sender, complaint=complaint)
        if is_paused and sender not in self._pauses.in_force:
            await self._pauses.pause(Pause(sender, self._clock.now(), ACTOR, complaint))
            self._facts.service("sender_paused", sender=sender, actor=ACTOR, reason=complaint)
