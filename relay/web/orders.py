"""An operator's order from its beginning to its end: one at a time, audited, told, and stoppable.

Knows what surrounds an order. Does not know HTTP, or what an order does to mail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import NamedTuple

from relay.aftermath import Record
from relay.facts import Facts
from relay.mail.envelope import SenderName
from relay.operators import Order, QueueOrders, Result, Turned, Verb
from relay.ports import Clock, SpoolError


class BusyError(Exception):
    """Another order is under way; in words for whoever has to wait."""


class StoppingError(Exception):
    """The order was ended before its end, because we stop."""


class Progress(NamedTuple):
    """How far an order has come: what the last page came to, and all pages together."""

    mails: Sequence[Turned]
    results: Mapping[Result, int]


class Orders:
    """Carries out one order at a time: two at once would undo each other's work, unseen."""

    def __init__(
        self,
        book: QueueOrders,
        record: Record,
        facts: Facts,
        clock: Clock,
        rouse: Callable[[SenderName], None],
    ) -> None:
        """`rouse` is called with each sender that has mail due by an order."""
        self._book = book
        self._record = record
        self._facts = facts
        self._clock = clock
        self._rouse = rouse
        self._under_way: str = ""
        self._stopping = False

    def stop(self) -> None:
        """End the order under way after its page, and begin no other."""
        self._stopping = True

    async def carry_out(self, order: Order) -> AsyncGenerator[Progress, None]:
        """Yield how far it has come, after each page. To be closed where it is not gone through.

        What is begun is audited before anything is changed, and how it ended after. Where that
        cannot be, this is told, and mail may be dropped all the same: that may be what the disk
        needs, and the ledger of each mail says who did it.
        """
        if self._stopping:
            raise StoppingError("the daemon is stopping")
        if self._under_way:
            raise BusyError(f"another order is under way: {self._under_way}; try again later")
        now = self._clock.now()
        self._under_way = f"{order.verb} {order.words()}, since {now:%H:%M:%S} UTC"
        results: Counter[Result] = Counter()
        try:
            await self._audit(order, order.verb, order.words())
            is_whole = False
            try:
                async with aclosing(self._book.carry_out(order)) as pages:
                    async for page in pages:
                        results.update(one.result for one in page.mails)
                        for sender in page.roused:
                            self._rouse(sender)
                        yield Progress(page.mails, results)
                        if self._stopping:
                            raise StoppingError("the daemon is stopping")
                is_whole = True
            finally:
                self._facts.ordered(order, results, is_whole=is_whole)
                counted = ", ".join(f"{count} {result}" for result, count in results.items())
                how = "ended" if is_whole else "broken off"
                await self._audit(order, f"{order.verb} {how}", counted or "nothing was selected")
        finally:
            self._under_way = ""

    async def foresee(self, order: Order) -> AsyncGenerator[Progress, None]:
        """Yield what would come of it, and change nothing."""
        results: Counter[Result] = Counter()
        async with aclosing(self._book.foresee(order)) as pages:
            async for page in pages:
                results.update(one.result for one in page.mails)
                yield Progress(page.mails, results)

    async def _audit(self, order: Order, action: str, detail: str) -> None:
        subject, now = order.selection.words(), self._clock.now()
        try:
            await self._record.audit(order.actor, action, subject, detail, now=now)
        except SpoolError as error:
            self._facts.fault("audit", error)


def complaint_of(order: Order) -> str:
    """Say what an order lacks to be carried out, or nothing."""
    named = bool(order.selection.queue_ids)
    if not order.reason and (order.verb in (Verb.HOLD, Verb.DROP) or not named):
        return f"to {order.verb} mail needs a reason: it is what others will see"
    if order.new_sender is None:
        return ""
    if order.verb is not Verb.RELEASE:
        return "only what is released can be given another sender"
    if order.senders is None:
        return "which senders there are is not known, and so none can be given mail"
    if order.new_sender not in order.senders:
        return f"there is no sender {order.new_sender}; there is {', '.join(sorted(order.senders))}"
    return ""
