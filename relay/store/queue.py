"""What is due, and what became of it (ports.Queue), with what operators see of it.

Knows what must follow a transaction: files removed, the ledger told, claims nobody took given
back. The transactions themselves are in relay.store.claiming and relay.store.settling.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from relay.facts import Facts
from relay.mail.address import Address
from relay.mail.entry import Settled, State
from relay.mail.envelope import SenderName
from relay.ports import Claim, Claims, ContentFile, LeaseLostError
from relay.store import settling
from relay.store.batch import Operation
from relay.store.claiming import Claiming, Found, Lease
from relay.store.content import Contents
from relay.store.reader import Reader
from relay.store.settling import Settlement
from relay.store.view import View
from relay.store.writer import Writer


class EntryQueue(View):
    """The entries of the spool, as the scheduler and operators meet them.

    This store has one owner, so a lease ends when its claim is settled or given back, or when the
    relay begins anew; no other node waits for it to run out.
    """

    def __init__(
        self,
        writer: Writer,
        reader: Reader,
        contents: Contents,
        *,
        facts: Facts,
        on_settled: Callable[[], None],
    ) -> None:
        """`on_settled` is called in the loop when the outbox has something new."""
        super().__init__(writer, reader)
        self._contents = contents
        self._facts = facts
        self._on_settled = on_settled

    async def claim(
        self,
        wants: Mapping[SenderName, int],
        *,
        node: str,
        now: datetime,
        lease: timedelta,
        chunk: int,
    ) -> Claims:
        """Lease up to so many due entries of each sender, oldest due first.

        Entries whose content is not what was spooled are set aside instead, and told of.
        """
        claiming = Claiming(dict(wants), node, now, lease, chunk, self._contents.path)
        operation = self._writer.begin(claiming, self._claimed)
        try:
            found = await self._writer.wait(operation)
        except asyncio.CancelledError:
            # It may have ended in the moment between its result and our cancellation.
            if operation.has_ended and not operation.future.cancelled():
                self._give_back(operation)
            raise
        return found.claims

    async def settle(
        self,
        claim: Claim,
        settled: Mapping[Address, Settled],
        *,
        now: datetime,
        mark: Sequence[Address] = (),
    ) -> State | None:
        """Record outcomes, for the ledger too, and mark the recipients attempted next."""
        settlement = Settlement(_lease(claim), settled, now, mark)
        operation = self._writer.submit(settling.settle, settlement, self._settled)
        return await self._writer.wait(operation)

    async def release(self, claim: Claim, *, now: datetime, due_at: datetime) -> None:
        """Give the entry back: recipients of the claim without an outcome were not attempted."""
        lease = _lease(claim)
        await self._writer.run(lambda connection: settling.release(connection, lease, due_at, now))

    async def hold(self, claim: Claim, reason: str, *, now: datetime) -> None:
        """Give the entry back held, for all of its recipients and without a time."""
        lease = _lease(claim)
        await self._writer.run(lambda connection: settling.hold(connection, lease, reason, now))

    async def damaged(self, claim: Claim, complaint: str, *, now: datetime) -> None:
        """Set the entry aside, and its content file with it."""
        lease = _lease(claim)

        def ended(operation: Operation[None]) -> None:
            if operation.error is None and isinstance(claim.content, ContentFile):
                self._contents.set_aside(claim.mail.queue_id)

        await self._writer.run(
            lambda connection: settling.damage(connection, lease, complaint, now), ended
        )

    def _settled(self, operation: Operation[State | None]) -> None:
        if operation.error is not None:
            return
        self._on_settled()
        if operation.result is None:
            claim = operation.item.lease
            # Only now: a file that went before its row would be a row without its mail.
            if isinstance(claim.content, ContentFile):
                self._contents.remove(claim.mail.queue_id)

    def _claimed(self, operation: Operation[Found]) -> None:
        if operation.error is not None:
            return
        for mail, complaint in operation.result.damaged:
            self._contents.set_aside(mail.queue_id)
            self._facts.damaged(mail, complaint)
        if operation.future.cancelled():
            self._give_back(operation)

    def _give_back(self, operation: Operation[Found]) -> None:
        """Release claims whose taker has gone: nobody else would, before the next start."""
        if operation.error is not None:
            return
        now = operation.item.now
        for lease in operation.result.leases:
            self._writer.post(partial(settling.release, lease=lease, due_at=now, now=now))


def _lease(claim: Claim) -> Lease:
    if not isinstance(claim, Lease):
        raise LeaseLostError("the claim is not one of this spool's")
    return claim
