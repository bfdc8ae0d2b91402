"""What is due, and what became of it (ports.Queue), with what operators see of it.

Knows what must follow a transaction: files removed, the ledger told, claims nobody took given
back. The transactions themselves are in relay.store.claiming, settling and returning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from relay.facts import Facts
from relay.mail.address import Address
from relay.mail.entry import Settled, State
from relay.mail.envelope import QueueId, SenderName
from relay.ports import Claim, Claims, ContentFile, LeaseLostError, SpoolError
from relay.store import returning, settling
from relay.store.backlog import Backlogs
from relay.store.batch import Operation
from relay.store.claiming import AGAIN, Claiming, Found, Lease, set_aside
from relay.store.content import Contents
from relay.store.due import due_ids, shown_mail
from relay.store.lifetime import Instant
from relay.store.reader import Reader
from relay.store.reporting import Cleared, Report
from relay.store.settling import Settlement
from relay.store.trouble import comes_of_damage
from relay.store.uptime import Uptime
from relay.store.view import View
from relay.store.writer import Writer


class EntryQueue(View):
    """The entries of the spool, as the scheduler meets them and operators see them.

    This store has one owner, so a lease ends when its claim is settled or given back, or when the
    relay begins anew; no other node waits for it to run out.
    """

    def __init__(
        self,
        writer: Writer,
        reader: Reader,
        contents: Contents,
        backlogs: Backlogs,
        *,
        facts: Facts,
        uptime: Uptime,
        on_settled: Callable[[], None],
    ) -> None:
        """`on_settled` is called in the loop when the outbox has something new."""
        super().__init__(reader)
        self._writer = writer
        self._contents = contents
        self._backlogs = backlogs
        self._facts = facts
        self._uptime = uptime
        self._on_settled = on_settled

    async def claim(
        self,
        wants: Mapping[SenderName, int],
        *,
        node: str,
        now: datetime,
        lease: timedelta,
        chunk: int,
        room: int,
    ) -> Claims:
        """Lease up to so many due entries of each sender, oldest due first, while there is room.

        Entries that are not what was spooled are set aside instead, and told of.
        """
        claiming = Claiming(
            wants=dict(wants),
            node=node,
            now=self._uptime.at(now),
            lease=lease,
            chunk=chunk,
            room=room,
            content_path=self._contents.path,
        )
        try:
            return (await self._claim(claiming)).claims
        except SpoolError as error:
            if not comes_of_damage(error):
                raise
        return await self._claim_singly(claiming)

    async def _claim(self, claiming: Claiming) -> Found:
        operation = self._writer.begin(claiming, self._claimed)
        try:
            return await self._writer.wait(operation)
        except asyncio.CancelledError:
            # It may have ended in the moment between its result and our cancellation.
            if operation.has_ended and not operation.future.cancelled() and not operation.error:
                self._give_back(operation.result.leases, claiming.now)
            raise

    async def _claim_singly(self, claiming: Claiming) -> Claims:
        """Claim entry by entry, each in its own transaction, past what cannot be read."""
        taken: list[Lease] = []
        stuck: set[SenderName] = set()
        try:
            for sender, wanted in claiming.wants.items():
                try:
                    ids = await self._reader.ask(partial(due_ids, sender=sender, now=claiming.now))
                except SpoolError as error:
                    # What names the mail that is due is damaged: a matter of this sender alone.
                    if not comes_of_damage(error):
                        raise
                    stuck.add(sender)
                    continue
                full = len(taken) + wanted
                for entry in ids:
                    marked = sum(lease.marked for lease in taken)
                    if len(taken) >= full or (taken and marked >= claiming.room):
                        break
                    try:
                        one = replace(claiming, wants={sender: 1}, only=entry)
                        taken += (await self._claim(one)).leases
                    except SpoolError as error:
                        if not comes_of_damage(error):
                            raise
                        if not await self._set_aside(entry, str(error), claiming.now):
                            stuck.add(sender)
            readable = [sender for sender in claiming.wants if sender not in stuck]
            nothing = replace(claiming, wants=dict.fromkeys(readable, 0))
            next_due = dict((await self._claim(nothing)).claims.next_due)
        except BaseException:
            self._give_back(taken, claiming.now)
            raise
        # Else they would be asked for at once, again and again.
        next_due |= dict.fromkeys(stuck, claiming.now.wall + AGAIN)
        return Claims(taken, next_due)

    async def _set_aside(self, entry: int, complaint: str, now: Instant) -> bool:
        """Set aside what cannot be read; False if its row cannot even be written."""
        mail = await self._reader.ask(partial(shown_mail, entry=entry))
        work = partial(set_aside, entry=entry, complaint=complaint, now=now)
        try:
            await self._writer.run(work)
        except SpoolError as error:
            if not comes_of_damage(error):
                raise
            return False
        self._contents.set_aside(mail.queue_id)
        self._facts.damaged(mail, complaint)
        return True

    async def settle(
        self,
        claim: Claim,
        settled: Mapping[Address, Settled],
        *,
        now: datetime,
        mark: Sequence[Address] = (),
    ) -> State | None:
        """Record outcomes, for the ledger too, and mark the recipients attempted next."""
        settlement = Settlement(_lease(claim), settled, now, mark, self._uptime)
        operation = self._writer.submit(settling.settle, settlement, self._settled, is_outcome=True)
        return await self._writer.wait(operation)

    async def release(self, claim: Claim, *, now: datetime, due_at: datetime) -> None:
        """Give the entry back: recipients of the claim without an outcome were not attempted."""
        lease, at = _lease(claim), self._uptime.at(now)
        await self._writer.run(
            lambda connection: settling.release(connection, lease, due_at, at), is_outcome=True
        )

    async def hold(self, claim: Claim, reason: str, *, now: datetime) -> None:
        """Give the entry back held, for all of its recipients and without a time."""
        lease, at = _lease(claim), self._uptime.at(now)
        await self._writer.run(
            lambda connection: settling.hold(connection, lease, reason, at), is_outcome=True
        )

    async def damaged(self, claim: Claim, complaint: str, *, now: datetime) -> None:
        """Set the entry aside, and its content file with it."""
        lease, at = _lease(claim), self._uptime.at(now)

        def ended(operation: Operation[None]) -> None:
            if operation.error is None and isinstance(claim.content, ContentFile):
                self._contents.set_aside(claim.mail.queue_id)

        await self._writer.run(
            lambda connection: settling.damage(connection, lease, complaint, at),
            ended,
            is_outcome=True,
        )

    async def readmit(self, senders: Collection[SenderName], *, now: datetime) -> int:
        """Make due what is held for want of its sender, which is back; return how many."""
        work = partial(returning.readmit, senders=tuple(senders), now=self._uptime.at(now))
        total = 0
        while count := await self._writer.run(work):
            total += count
        return total

    async def settle_reported(
        self, queue_id: QueueId, reported: Mapping[str, str], *, now: datetime
    ) -> int:
        """Let go recipients that SES reports on; return how many those were."""

        def ended(operation: Operation[Cleared]) -> None:
            if operation.error is not None or not operation.result.recipients:
                return
            self._on_settled()
            mail = operation.result.retired
            if mail is not None:
                self._backlogs.forget(mail)
                if operation.result.in_file:
                    self._contents.remove(mail.queue_id)

        report = Report(queue_id, dict(reported), self._uptime.at(now))
        return (await self._writer.run(report, ended, is_outcome=True)).recipients

    def _settled(self, operation: Operation[State | None]) -> None:
        if operation.error is not None:
            return
        self._on_settled()
        if operation.result is None:
            claim = operation.item.lease
            self._backlogs.forget(claim.mail)
            # Only now: a file that went before its row would be a row without its mail.
            if isinstance(claim.content, ContentFile):
                self._contents.remove(claim.mail.queue_id)

    def _claimed(self, operation: Operation[Found]) -> None:
        if operation.error is not None:
            return
        for mail, complaint in operation.result.damaged:
            self._contents.set_aside(mail.queue_id)
            self._facts.damaged(mail, complaint)
        # One stands for all: the reason is the same, and a full claim has many.
        for trouble in operation.result.trouble[:1]:
            self._facts.spool_failed(trouble)
        if operation.future.cancelled():
            self._give_back(operation.result.leases, operation.item.now)

    def _give_back(self, leases: Sequence[Lease], now: Instant) -> None:
        """Release claims whose taker has gone: nobody else would, before the next start."""
        for lease in leases:
            self._writer.post(partial(settling.release, lease=lease, due_at=now.wall, now=now))


def _lease(claim: Claim) -> Lease:
    if not isinstance(claim, Lease):
        raise LeaseLostError("the claim is not one of this spool's")
    return claim
