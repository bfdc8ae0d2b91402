"""Operators' orders carried out (operators.QueueOrders): page by page, and never in anybody's way.

Knows what must follow a page: files removed, the ledger told, backlogs counted. What a page does is
in relay.store.turning, which entries are meant in relay.store.selecting.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from sqlite3 import Connection
from typing import Final

from relay.mail.entry import State
from relay.mail.envelope import QueueId
from relay.operators import Order, Page, Result, Selection, Turned, Verb
from relay.ports import Clock, SpoolError
from relay.store import returning
from relay.store.backlog import Backlogs
from relay.store.batch import Operation
from relay.store.content import Contents
from relay.store.reader import Reader
from relay.store.selecting import Place, by_weight, criteria_of, newest, places, stretch_after
from relay.store.states import known
from relay.store.trouble import comes_of_damage
from relay.store.turning import Effects, Turning
from relay.store.uptime import Uptime
from relay.store.writer import Writer

# What one transaction takes on, for mail that comes in meanwhile waits for it: some 10 ms. To
# remove content takes longest.
ENTRIES: Final = 100
_RECIPIENTS: Final = 400
_OCTETS: Final = 1024 * 1024

_NOTHING: Final = Page((), frozenset())


class StoredOrders:
    """Carries out operators' orders on the spool."""

    def __init__(
        self,
        writer: Writer,
        reader: Reader,
        contents: Contents,
        backlogs: Backlogs,
        uptime: Uptime,
        *,
        clock: Clock,
        on_lines: Callable[[], None],
    ) -> None:
        """`on_lines` is called in the loop when the outbox has something new."""
        self._writer = writer
        self._reader = reader
        self._contents = contents
        self._backlogs = backlogs
        self._uptime = uptime
        self._clock = clock
        self._on_lines = on_lines

    def carry_out(self, order: Order) -> AsyncGenerator[Page, None]:
        """Yield each page once it is durable; of a stretch in which nothing is meant, an empty one.

        Mail that comes after the first page was asked for is not part of it.
        """
        return self._pages(order, self._turn)

    def foresee(self, order: Order) -> AsyncGenerator[Page, None]:
        """Yield what the pages would be, and change nothing."""
        return self._pages(order, self._foresee)

    async def _pages(
        self, order: Order, turn: Callable[[Order, Sequence[Place]], Awaitable[Page]]
    ) -> AsyncGenerator[Page, None]:
        unseen = set(order.selection.queue_ids)
        until = await self._reader.ask(newest)
        key: str | None = ""
        while key is not None:
            look = partial(_look, selection=order.selection, after=key, until=until)
            found, damaged, key = await self._reader.ask(look)
            # Only what is dropped takes its content along.
            octets = _OCTETS if order.verb is Verb.DROP else None
            pages = by_weight(found, entries=ENTRIES, recipients=_RECIPIENTS, octets=octets)
            for some in pages:
                page = await turn(order, some)
                unseen -= {one.queue_id for one in page.mails}
                yield page
            unseen -= set(damaged)
            yield Page([_corrupt(name) for name in damaged], frozenset()) if damaged else _NOTHING
        if unseen:
            left = [Turned(name, Result.UNKNOWN, None) for name in sorted(unseen)]
            yield Page(left, frozenset())

    async def _foresee(self, order: Order, some: Sequence[Place]) -> Page:
        turning = self._turning(order, some, {})
        return await self._reader.ask(turning.foresee)

    async def _turn(self, order: Order, some: Sequence[Place]) -> Page:
        complaints: dict[int, str] = {}
        unsure: list[Place] = []
        if order.verb is Verb.RETRY:
            for place in some:
                if known(place.state) in (State.CORRUPT, None):
                    try:
                        complaints[place.id] = await self._complaint_of(place)
                    except SpoolError:
                        unsure.append(place)
        sure = [place for place in some if place not in unsure]
        turned = await self._turn_together(order, sure, complaints)
        left = [_corrupt(place.queue_id) for place in unsure]
        return Page([*turned.mails, *left], turned.roused)

    async def _turn_together(
        self, order: Order, some: Sequence[Place], complaints: dict[int, str]
    ) -> Page:
        """Turn entries in one transaction; if some of it is damaged, each in its own."""
        try:
            turning = self._turning(order, some, complaints)
            # What makes room on a full disk must not be refused for want of it.
            drops = order.verb is Verb.DROP
            return (await self._writer.run(turning, self._turned, is_outcome=drops)).page
        except SpoolError as error:
            if not comes_of_damage(error):
                raise
            if len(some) == 1:
                return Page([_corrupt(some[0].queue_id)], frozenset())
        pages = [await self._turn_together(order, [place], complaints) for place in some]
        mails = [one for page in pages for one in page.mails]
        return Page(mails, frozenset().union(*(page.roused for page in pages)))

    def _turning(self, order: Order, some: Sequence[Place], complaints: dict[int, str]) -> Turning:
        return Turning(
            order=order,
            criteria=criteria_of(order.selection),
            entries=[place.id for place in some],
            now=self._uptime.at(self._clock.now()),
            complaints=complaints,
        )

    async def _complaint_of(self, place: Place) -> str:
        """Say what is wrong with corrupt mail, or nothing if it is whole again.

        Its file is in its place then. Raises SpoolError where that cannot be told now.
        """
        now = self._uptime.at(self._clock.now())
        look = partial(returning.suspect, entry=place.id, now=now)
        found = await self._reader.ask(look)
        if found is None or found.complaint or not found.in_file:
            return "" if found is None else found.complaint
        return await self._contents.restore(QueueId(place.queue_id), found.size, found.crc32)

    def _turned(self, operation: Operation[Effects]) -> None:
        """Let follow what follows a page that is durable."""
        if operation.error is not None:
            return
        effects = operation.result
        if effects.has_lines:
            self._on_lines()
        for one in effects.dropped:
            self._backlogs.forget(one.mail())
            # Only now: a file that went before its row would be a row without its mail.
            if one.in_file:
                self._contents.forget(QueueId(one.queue_id))
        new_sender = operation.item.order.new_sender
        for one in effects.passed_on:
            mail = one.mail()
            self._backlogs.forget(mail)
            self._backlogs.add(mail._replace(sender=new_sender))


def _look(
    connection: Connection, *, selection: Selection, after: str, until: int
) -> tuple[list[Place], list[QueueId], str | None]:
    """Return what is meant of one stretch, what of it cannot be read, and where to go on."""
    stretch, key = stretch_after(connection, selection, after, until=until)
    if stretch is None:
        return [], [], None
    found, damaged = places(connection, stretch, criteria_of(selection))
    return found, [QueueId(name) for _, name in damaged], key


def _corrupt(queue_id: str) -> Turned:
    return Turned(QueueId(queue_id), Result.CORRUPT, State.CORRUPT)
