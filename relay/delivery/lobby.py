"""Mail whose clients wait for SES, before its turn has come: by sender, who came first goes first.

Knows who waits. Whose turn it is the scheduler says, by the same deal as for mail in the queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator

from relay.delivery.handover import Handover
from relay.mail.envelope import AccountName, SenderName
from relay.policy.passing import ACCOUNT_REMOVED, DRAINING
from relay.policy.sender import Sender


class Lobby:
    """Who waits."""

    def __init__(self) -> None:
        self._waiting: dict[SenderName, deque[Handover]] = {}
        self._yielded: set[SenderName] = set()
        self.is_closed = False
        """Whether nobody is let in any more."""

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    def add(self, handover: Handover) -> None:
        """Let somebody wait, behind those of the same sender who do."""
        self._waiting.setdefault(handover.sender.name, deque()).append(handover)
        # It came before, and its content has been made ready meanwhile.
        if self.is_closed:
            handover.press(DRAINING)

    def discard(self, handover: Handover) -> bool:
        """Let somebody go; False if it did not wait."""
        name = handover.sender.name
        waiting = self._waiting.get(name)
        if waiting is None or handover not in waiting:
            return False
        waiting.remove(handover)
        self._tidy(name)
        return True

    def senders(self, accounts: Container[AccountName]) -> Iterator[Sender]:
        """Yield whose mail waits, by the rules that its first came under.

        Who waits for another account than these, which a reload has taken away, is sent away.
        """
        for waiting in list(self._waiting.values()):
            while waiting and waiting[0].sender.route.account not in accounts:
                waiting[0].press(ACCOUNT_REMOVED)
            if waiting:
                yield waiting[0].sender

    def share(self, name: SenderName, lanes: int) -> int:
        """Return how many of a sender's lanes go to who waits where it has mail in the queue too.

        Half of them; of a single one every other. So neither keeps the other waiting for ever.
        """
        if lanes > 1 or name not in self._waiting:
            return (lanes + 1) // 2
        if name in self._yielded:
            self._yielded.discard(name)
            return lanes
        self._yielded.add(name)
        return 0

    def take(self, name: SenderName, account: AccountName) -> Handover | None:
        """Return who waited longest, if that is for this account; it waits no more."""
        waiting = self._waiting.get(name)
        if waiting is None or waiting[0].sender.route.account != account:
            return None
        first = waiting.popleft()
        self._tidy(name)
        return first

    def close(self) -> None:
        """Send everybody away, and let nobody in."""
        self.is_closed = True
        for waiting in list(self._waiting.values()):
            for handover in list(waiting):
                handover.press(DRAINING)

    def _tidy(self, name: SenderName) -> None:
        if not self._waiting[name]:
            del self._waiting[name]
            self._yielded.discard(name)
