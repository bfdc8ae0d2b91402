"""The store kept in order (relay.upkeep.Upkeep): what must follow each transaction follows here.

The transactions are in relay.store.looking, expiry, nearing and purging. Does not know when it is
asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeVar

from relay.facts import Facts
from relay.mail.envelope import Mail, SenderName
from relay.policy.expiry import Terms
from relay.ports import SpoolError
from relay.store import purging
from relay.store.backlog import Backlogs
from relay.store.batch import Operation
from relay.store.content import Contents
from relay.store.expiry import Damage, Expiring
from relay.store.looking import Looking
from relay.store.nearing import Nearing
from relay.store.purging import History, Purged
from relay.store.reader import Reader
from relay.store.trouble import comes_of_damage
from relay.store.uptime import Uptime
from relay.store.writer import Writer
from relay.upkeep import Expired, Group, Page

T = TypeVar("T")

_MILLISECOND: Final = timedelta(milliseconds=1)


class StoredUpkeep:
    """Looks by a connection of its own, so that neither listings nor mail keep it waiting."""

    def __init__(
        self,
        spool: Writer,
        record: Writer,
        reader: Reader,
        contents: Contents,
        backlogs: Backlogs,
        uptime: Uptime,
        *,
        facts: Facts,
        on_settled: Callable[[], None],
    ) -> None:
        """`on_settled` is called in the loop when the outbox has something new."""
        self._spool = spool
        self._record = record
        self._reader = reader
        self._contents = contents
        self._backlogs = backlogs
        self._uptime = uptime
        self._facts = facts
        self._on_settled = on_settled
        self._history = History()

    async def look(self, start: int, terms: Terms, *, now: datetime) -> Page:
        """Look at the entries from `start` on, a page of them."""
        return await self._reader.ask(Looking(start, terms, self._uptime.at(now), self._up()))

    async def expire(self, group: Group, terms: Terms, *, now: datetime) -> Sequence[Expired]:
        """Give up what is past its time still; set aside what of it cannot be read."""
        at, up = self._uptime.at(now), self._up()

        async def work(some: Group) -> list[Expired]:
            operation = Expiring(some, terms, at, up)
            expired, _ = await self._spool.run(operation, self._expired)
            return expired

        return await self._past_damage(group, work)

    async def purge(self, group: Group, terms: Terms, *, now: datetime) -> Sequence[Mail]:
        """Forget failed mail that was kept as long as promised."""
        at = self._uptime.at(now)

        async def work(some: Group) -> list[Mail]:
            operation = partial(purging.purge, group=some, terms=terms, now=at)
            # It makes room on a full disk, and must not be refused for want of it.
            purged = await self._spool.run(operation, self._purged, is_outcome=True)
            return [one.mail for one in purged]

        return await self._past_damage(group, work)

    async def bring_near(
        self, group: Group, terms: Terms, *, now: datetime, jitter: Callable[[], float]
    ) -> Sequence[SenderName]:
        """Have mail due within the longest wait."""
        at = self._uptime.at(now)

        async def work(some: Group) -> list[SenderName]:
            return await self._spool.run(Nearing(some, terms, at, jitter))

        return await self._past_damage(group, work)

    async def forget(self, terms: Terms, *, now: datetime) -> bool:
        """Forget some of the history; False when there is no more."""
        return await self._record.run(partial(self._history.forget, terms=terms, now=now))

    async def note_time(self) -> None:
        """Write down how long the relay has been up, while there is mail to grow older."""
        if self._backlogs:
            await self._spool.run(self._uptime.write, is_outcome=True)

    def _up(self) -> timedelta:
        return self._uptime.in_this_run() * _MILLISECOND

    async def _past_damage(
        self, group: Group, work: Callable[[Group], Awaitable[list[T]]]
    ) -> list[T]:
        """Do a piece of work for a group; where the database is damaged, for each by itself."""
        try:
            return await work(group)
        except SpoolError as error:
            if not comes_of_damage(error):
                raise
        done: list[T] = []
        for entry in group:
            try:
                done += await work(Group((entry,)))
            except SpoolError as error:
                # It is set aside, and told of, when it is claimed or looked at.
                if not comes_of_damage(error):
                    raise
        return done

    def _expired(self, operation: Operation[tuple[list[Expired], list[Damage]]]) -> None:
        if operation.error is not None:
            return
        expired, damaged = operation.result
        if expired:
            self._on_settled()
        for mail, complaint in damaged:
            self._contents.set_aside(mail.queue_id)
            self._facts.damaged(mail, complaint)

    def _purged(self, operation: Operation[list[Purged]]) -> None:
        if operation.error is not None:
            return
        if operation.result:
            self._on_settled()
        for mail, in_file in operation.result:
            self._backlogs.forget(mail)
            # Only now: a file that went before its row would be a row without its mail.
            if in_file:
                self._contents.remove(mail.queue_id)
