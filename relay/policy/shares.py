"""Which waiting senders get the free lanes of an account. Knows counts, not mail."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from relay.mail.envelope import SenderName
from relay.policy.sender import Priority

# One deal in so many starts with bulk mail, so that transactional mail cannot starve it.
BULK_FIRST_EVERY: Final = 10


def in_turn(waiting: Mapping[SenderName, Priority], deal: int) -> list[SenderName]:
    """Order the waiting senders for the `deal`-th dealing of lanes.

    Transactional before bulk; within each, whoever was first last time comes last.
    """
    groups: list[list[SenderName]] = []
    for priority in (Priority.TRANSACTIONAL, Priority.BULK):
        names = [name for name, own in waiting.items() if own is priority]
        turn = deal % len(names) if names else 0
        groups.append(names[turn:] + names[:turn])
    if deal % BULK_FIRST_EVERY == 0:
        groups.reverse()
    return groups[0] + groups[1]


def shares(
    waiting: Sequence[SenderName],
    *,
    free: int,
    bulk: Collection[SenderName],
    free_for_bulk: int,
    busy: Mapping[SenderName, int],
    lanes: int,
    ceilings: Mapping[SenderName, int],
) -> dict[SenderName, int]:
    """Deal `free` lanes out one at a time, in the order of `waiting`.

    The senders in `bulk` get no more than `free_for_bulk` between them. No sender gets more than
    half of all `lanes`, those it is `busy` in included, so that one sender's slow calls cannot
    stop the others; nor more than its ceiling, what its own rate allows.
    """
    most = max(1, lanes // 2)
    dealt: dict[SenderName, int] = {}
    hungry = list(waiting)
    while free > 0 and hungry:
        still = []
        for name in hungry:
            if free == 0:
                break
            had = dealt.get(name, 0)
            if busy.get(name, 0) + had >= most or had >= ceilings.get(name, lanes):
                continue
            if name in bulk:
                if free_for_bulk == 0:
                    continue
                free_for_bulk -= 1
            dealt[name] = had + 1
            free -= 1
            still.append(name)
        hungry = still
    return dealt
