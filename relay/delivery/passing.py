"""Passing mail on while its client waits (relay.passing.Passage): who waits, how long, why not.

Knows patience, and what makes waiting vain. Does not know calls: a Handover makes them, when its
turn has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from math import inf

from relay.delivery.calls import Desk
from relay.delivery.gate import Gate
from relay.delivery.handover import Counter, Handover
from relay.delivery.lobby import Lobby
from relay.mail.envelope import AccountName, Mail
from relay.mail.reply import Refusal
from relay.passing import Parcel, Passed, Shelf
from relay.policy.day import Hold
from relay.policy.passing import (
    ACCOUNT_REMOVED,
    DAY_IS_OVER,
    DRAINING,
    OUT_OF_PATIENCE,
    SENDER_PAUSED,
    Ending,
    breaker_open,
)
from relay.policy.sender import CALL, Accept, Priority, Sender
from relay.ports import Spool


class Passages:
    """All mail that is being passed on."""

    def __init__(
        self,
        desk: Desk,
        shelf: Shelf,
        spool: Spool,
        gates: Mapping[AccountName, Gate],
        lobby: Lobby,
        rouse: Callable[[], None],
    ) -> None:
        """`rouse` is called when somebody waits in the lobby."""
        self._desk = desk
        self._shelf = shelf
        self._counter = Counter(desk, shelf, spool, lobby.discard)
        self._gates = gates
        self._lobby = lobby
        self._rouse = rouse

    async def pass_on(self, parcel: Parcel) -> Passed:
        """Return what became of it; see relay.passing.Passage."""
        draft, sender = parcel.draft, parcel.sender
        now = self._desk.clock.now()
        mail = Mail(
            queue_id=draft.queue_id,
            sender=sender.name,
            envelope=parcel.envelope,
            arrived_at=now,
            size=draft.size,
            message_id=draft.message_id,
            ses_headers=draft.ses_headers,
        )
        gate = self._gates.get(sender.route.account)
        is_queueable = sender.accept is Accept.RELAYED_OR_QUEUED
        # It may have come under older rules than those the accounts are of.
        refusal = ACCOUNT_REMOVED if gate is None else self._obstacle(sender, gate)
        if is_queueable and (refusal or len(mail.envelope.recipients) > CALL):
            # SES would take the latter in several calls, under as many message ids.
            return Passed(Ending.QUEUED, mail)
        if gate is None or refusal is not None:
            return Passed(Ending.DEFERRED, mail, refusal=refusal)
        try:
            content = await self._shelf.content(draft)
        except asyncio.CancelledError:
            return Passed(Ending.WITHDRAWN, mail)
        handover = Handover(self._counter, gate, parcel, mail, content)
        self._lobby.add(handover)
        self._rouse()
        return await self._wait(handover, gate)

    async def _wait(self, handover: Handover, gate: Gate) -> Passed:
        sender = handover.sender

        def lose_patience() -> None:
            handover.press(self._order(sender) or _condition(sender, gate)[0])

        loop = asyncio.get_running_loop()
        patience = loop.call_later(sender.patience, lose_patience)
        try:
            while True:
                try:
                    return await asyncio.shield(handover.answer)
                except asyncio.CancelledError:
                    handover.press()
        finally:
            patience.cancel()

    def _obstacle(self, sender: Sender, gate: Gate) -> Refusal | None:
        """Say why to wait would be vain, if it would."""
        refusal = self._order(sender)
        if refusal is None:
            why, wait = _condition(sender, gate)
            refusal = why if wait > sender.patience else None
        return refusal

    def _order(self, sender: Sender) -> Refusal | None:
        """Return which order of an operator keeps mail from being passed on, if one does."""
        if self._lobby.is_closed:
            return DRAINING
        return SENDER_PAUSED if self._desk.is_paused(sender.name) else None


def _condition(sender: Sender, gate: Gate) -> tuple[Refusal, float]:
    """Say what of the account keeps mail waiting, if anything does, and for how many seconds."""
    condition = gate.condition()
    if condition.hold is Hold.ALL or (
        condition.hold is Hold.BULK and sender.priority is Priority.BULK
    ):
        return DAY_IS_OVER, inf
    if condition.reason:
        return breaker_open(condition.reason), condition.probe_in
    return OUT_OF_PATIENCE, 0.0
