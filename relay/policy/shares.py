"""Whose turn it is on one account, and how many of its lanes each waiting sender gets.

Fair queueing by start times (Goyal, Vin, Cheng: Start-time Fair Queueing, SIGCOMM 1996). Knows
counts of recipients and of lanes, not mail and not time.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Hashable, Mapping
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from relay.mail.envelope import SenderName
from relay.policy.sender import Priority

Key = TypeVar("Key", bound=Hashable)

WEIGHTS: Final = MappingProxyType({Priority.TRANSACTIONAL: 9, Priority.BULK: 1})
"""How recipients are shared while mail of both waits: bulk gets a tenth, and all that is left."""


class _Turns(Generic[Key]):
    """Turns among keys: whoever has had least is next.

    Who did not wait has saved nothing up: it begins where those stand who did, and before them,
    whatever it had long ago.
    """

    __slots__ = ("_had", "_least")

    def __init__(self) -> None:
        self._had: dict[Key, float] = {}
        self._least = 0.0

    def places(self, keys: Collection[Key]) -> list[tuple[float, float, Key]]:
        """Return who waits: what each counts as having had, and what it has had; in no order."""
        places = []
        for key in keys:
            had = self._had.get(key, 0.0)
            places.append((max(had, self._least), had, key))
        self._least = min(places)[0]
        return places

    def charge(self, key: Key, cost: float) -> None:
        """Count a turn."""
        self._had[key] = max(self._least, self._had.get(key, 0.0)) + cost


class Shares:
    """How the senders of one account share it.

    Transactional mail goes before bulk mail, which gets a tenth of the recipients all the same;
    within each, every sender gets as many recipients as any other that waits. One sender has no
    more than half of the lanes, so that its slow calls cannot stop the others.
    """

    def __init__(self) -> None:
        self._priorities = _Turns[Priority]()
        self._senders = {priority: _Turns[SenderName]() for priority in Priority}

    def charge(self, name: SenderName, priority: Priority, recipients: int) -> None:
        """Count a call for so many recipients."""
        self._priorities.charge(priority, recipients / WEIGHTS[priority])
        self._senders[priority].charge(name, recipients)

    def deal(
        self,
        waiting: Mapping[SenderName, Priority],
        *,
        free: int,
        free_for_bulk: int,
        busy: Mapping[SenderName, int],
        lanes: int,
        ceilings: Mapping[SenderName, int],
    ) -> dict[SenderName, int]:
        """Deal `free` lanes out, one at a time; who is to be served first comes first.

        Bulk senders get no more than `free_for_bulk` between them. No sender gets more than half of
        all `lanes`, those it is `busy` in included; nor more than its ceiling, what its own limits
        let go. Nobody is charged: what a lane will cost is known once its mail is.
        """
        most = max(1, lanes // 2)
        queues = []
        for priority, left in zip(Priority, (free, min(free, free_for_bulk)), strict=True):
            room = {
                name: min(most - busy.get(name, 0), ceilings.get(name, most))
                for name, own in waiting.items()
                if own is priority
            }
            hungry = {name: own for name, own in room.items() if own > 0} if left > 0 else None
            if hungry:
                queues.append(_Queue(priority, self._senders[priority], hungry, left))
        if not queues:
            return {}
        places = self._priorities.places([queue.priority for queue in queues])
        for queue, (stands, _, _) in zip(queues, places, strict=True):
            queue.stands = stands
        dealt: dict[SenderName, int] = {}
        while free > 0 and queues:
            # Of two that have had as much the first is, and that is the transactional one.
            queue = queues[0] if len(queues) == 1 else min(queues, key=_stands)
            name = queue.next()
            dealt[name] = dealt.get(name, 0) + 1
            free -= 1
            if not queue.left:
                queues.remove(queue)
        return dealt


class _Queue:
    """The senders of one priority that can take another lane, in the order of their turns."""

    __slots__ = ("_heap", "_room", "_step", "left", "priority", "stands")

    def __init__(
        self,
        priority: Priority,
        turns: _Turns[SenderName],
        room: dict[SenderName, int],
        left: int,
    ) -> None:
        self.priority = priority
        self.stands = 0.0
        self.left = min(left, sum(room.values()))
        """How many lanes they can take between them."""
        self._step = 1 / WEIGHTS[priority]
        self._room = room
        self._heap = turns.places(room)
        heapq.heapify(self._heap)

    def next(self) -> SenderName:
        """Return whose turn it is, and have it stand behind the others."""
        stands, had, name = self._heap[0]
        # Of a call that is not known yet it is known that it is for somebody.
        if self._room[name] > 1:
            heapq.heapreplace(self._heap, (stands + 1, had + 1, name))
        else:
            heapq.heappop(self._heap)
        self._room[name] -= 1
        self.left -= 1
        self.stands += self._step
        return name


def _stands(queue: _Queue) -> float:
    return queue.stands
