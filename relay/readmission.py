"""Mail of senders that are not configured, or are again: told of, and let go.

Part of the composition root. Does not know what else a change of the rules means.
"""

from __future__ import annotations

from collections.abc import Callable

from relay.facts import Facts
from relay.mail.envelope import SenderName
from relay.ports import Clock, Queue, Rules, SpoolError


class Readmission:
    """Looks through the queue for what a change of the senders means to it."""

    def __init__(
        self,
        queue: Queue,
        rules: Rules,
        notice: Callable[[SenderName], None],
        *,
        facts: Facts,
        clock: Clock,
    ) -> None:
        """`notice` is told who has mail that is due again."""
        self._queue = queue
        self._rules = rules
        self._notice = notice
        self._facts = facts
        self._clock = clock

    async def orphaned(self) -> list[str]:
        """Return a warning for each sender that has mail in the queue and is configured no more."""
        try:
            queued = await self._queue.senders()
        except SpoolError as error:
            # The rules are in force by now; whoever asked must not be told otherwise.
            self._facts.fault("reload", error)
            return []
        return [
            f"sender {name} is gone: its mail in the queue is held"
            for name in queued
            if name not in self._rules.current.senders
        ]

    async def readmit(self) -> None:
        """Let go what was held for want of a sender that is there again."""
        senders = self._rules.current.senders
        try:
            count = await self._queue.readmit(list(senders), now=self._clock.now())
        except SpoolError as error:
            # What is held can wait; all other mail should not.
            self._facts.fault("readmit", error)
            return
        if count:
            self._facts.service("readmitted", entries=count)
            for name in senders:
                self._notice(name)
