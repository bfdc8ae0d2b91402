"""The calls to SES for one mail: whom each is for, what it brings, and when the next may be made.

Knows the order that keeps mail safe: what a call brought is recorded before the next call is made.
Does not know where that is recorded, or who waits for it: a subclass does.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from relay.delivery.gate import Gate
from relay.facts import Facts
from relay.mail.address import Address
from relay.mail.entry import Settled
from relay.mail.envelope import QueueId, SenderName
from relay.mail.outcome import Ambiguous, Blame, Deferred, Failed, Outcome, Relayed
from relay.mail.reply import Reply
from relay.policy.retry import Past
from relay.policy.ruleset import Ruleset
from relay.policy.sender import CALL, OnSuppressed, Sender
from relay.policy.verdict import verdict
from relay.ports import Claim, Clock, Consignment, Queue, SpoolError, Suppressions

# Between tries to record an outcome while the spool cannot.
RECORD_AGAIN: Final = 1.0

_SUPPRESSED: Final = Settled(
    Failed(
        Reply(550, "5.1.1", "The address is on the suppression list; SES was not asked"),
        "suppressed",
        Blame.RECIPIENT,
    ),
    None,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What every attempt needs; one for the whole daemon."""

    queue: Queue
    suppressions: Suppressions
    facts: Facts
    clock: Clock
    node: str
    jitter: Callable[[], float]
    """Draws from [0, 1)."""
    events_seen: Callable[[], bool]
    """Whether SES's Send events have been arriving of late."""
    reported: Callable[[QueueId], Awaitable[Mapping[str, str]]]
    """To whom SES says it has taken a mail, folded, and by which message ids."""
    is_paused: Callable[[SenderName], bool]
    """Whether an operator keeps that sender's mail from being attempted."""
    may_expire: Callable[[], bool]
    """Whether mail may be given up for its age; not while the clock is in doubt."""


class Calls(ABC):
    """The calls for the recipients of one claim. Tokens of the first are taken before."""

    def __init__(
        self, desk: Desk, gate: Gate, claim: Claim, ruleset: Ruleset, sender: Sender
    ) -> None:
        self._desk = desk
        self._gate = gate
        self._claim = claim
        self._ruleset = ruleset
        self._sender = sender
        asked = claim.mail.ses_headers
        self._route = sender.route.asked_by(asked) if asked else sender.route
        # Ours (queue id, node, sender) name the mail in SES's events; its own follow.
        self._tags = (
            ("relay-id", claim.mail.queue_id),
            ("relay-node", desk.node),
            ("relay-sender", claim.mail.sender),
            *self._route.tags,
        )

    # --- what a subclass is ---

    @abstractmethod
    async def _record(self, settled: Mapping[Address, Settled], mark: Sequence[Address]) -> None:
        """Record outcomes, and who is called for next."""

    @abstractmethod
    async def _give_back(self) -> None:
        """Leave the recipients not called for as they are: due, as soon as the gate lets them."""

    @abstractmethod
    async def _may_go_on(self, *, is_halving: bool) -> bool:
        """Wait for the pace; False where the next call is not to be made.

        While it `is_halving` nothing is known yet that could be recorded: who breaks off then
        begins anew with the same call, and may do so for ever.
        """

    # --- the calls ---

    async def _make_calls(self) -> None:
        groups = deque(self._groups())
        while groups:
            group, settled = await self._divide(groups.popleft())
            outcome = await self._call(group) if group else None
            if outcome is not None:
                if _is_divisible(outcome) and len(group) > 1:
                    # SES took nothing, and some recipient is at fault: halve until it stands
                    # alone, so that one bad recipient never fails the others.
                    half = len(group) // 2
                    groups.extendleft((group[half:], group[:half]))
                else:
                    settled |= self._settle(group, outcome)
            # Who waits for the pace does not bear the mark yet: a crash meanwhile is no doubt.
            must_wait = self._gate.pace(self._sender.priority) > 0
            if settled:
                await self._record(settled, mark=groups[0] if groups and not must_wait else ())
            if not groups:
                return
            if _concerns_all(outcome) or not await self._may_go_on(is_halving=not settled):
                await self._give_back()
                return
            # Before anything else is awaited, or the scheduler would deal the same tokens.
            self._pay(groups[0])
            if must_wait:
                await self._record({}, mark=groups[0])

    def _groups(self) -> list[tuple[Address, ...]]:
        """Split the recipients into calls; the first is the one already marked."""
        recipients, marked = self._claim.recipients, self._claim.marked
        rest = recipients[marked:]
        return [recipients[:marked], *(rest[at : at + CALL] for at in range(0, len(rest), CALL))]

    async def _divide(
        self, group: tuple[Address, ...]
    ) -> tuple[tuple[Address, ...], dict[Address, Settled]]:
        """Part those who may be mailed from those suppressed since, or whom SES reports on."""
        gone = await self._reported(group) if self._claim.in_doubt else {}
        if self._sender.on_suppressed is not OnSuppressed.IGNORE:
            find, may_hold = self._desk.suppressions.find, self._desk.suppressions.may_hold
            gone |= {
                address: _SUPPRESSED
                for address in group
                if address not in gone
                and may_hold(address)
                and await find(address, self._sender) is not None
            }
        return tuple(a for a in group if a not in gone) if gone else group, gone

    async def _reported(self, group: tuple[Address, ...]) -> dict[Address, Settled]:
        """Return those of an attempt in doubt of whom SES says that it has taken the mail."""
        try:
            reported = await self._desk.reported(self._claim.mail.queue_id)
        except SpoolError:
            # What is remembered cannot be read; mail flows all the same.
            return {}
        return {
            address: Settled(Relayed(reported[address.folded]), None)
            for address in group
            if address in self._claim.in_doubt and address.folded in reported
        }

    async def _call(self, group: tuple[Address, ...]) -> Outcome:
        """Ask SES once, and let pace and breaker learn from the answer."""
        desk, gate, mail = self._desk, self._gate, self._claim.mail
        began = desk.clock.monotonic()
        consignment = Consignment(mail, self._claim.content, group, self._route, self._tags)
        answer = await gate.account.carrier.relay(consignment)
        outcome = verdict(answer, group, mail.ses_headers)
        gate.learn(outcome, len(group))
        seconds = desk.clock.monotonic() - began
        desk.facts.attempted(gate.account.name, mail, group, outcome, seconds)
        return outcome

    def _settle(self, group: Sequence[Address], outcome: Outcome) -> dict[Address, Settled]:
        desk, claim = self._desk, self._claim
        # One throw for all: recipients that are due together go out in one call again.
        jitter, now, events_seen = desk.jitter(), desk.clock.now(), desk.events_seen()
        may_expire = desk.may_expire()
        return {
            address: self._ruleset.retry.settle(
                outcome,
                Past(claim.attempts[address], claim.waited, claim.held, address in claim.in_doubt),
                now=now,
                jitter=jitter,
                events_seen=events_seen,
                may_expire=may_expire,
            )
            for address in group
        }

    def _pay(self, group: Sequence[Address]) -> None:
        """Take the tokens of the next call. Those of the first the scheduler has taken."""
        self._gate.spend(self._sender.name, self._sender.priority, len(group))


async def durably(desk: Desk, operation: Callable[[datetime], Awaitable[object]]) -> None:
    """Record what happened, however long the spool takes: SES cannot be asked again.

    Raises SpoolError when it never will be.
    """
    while True:
        try:
            await operation(desk.clock.now())
        except SpoolError as error:
            if error.is_lasting:
                raise
            # The spool told of it already, and the scheduler starts nothing meanwhile.
            await asyncio.sleep(RECORD_AGAIN)
        else:
            return


def _concerns_all(outcome: Outcome | None) -> bool:
    """Whether those not called for yet would only hear the same."""
    if isinstance(outcome, Deferred):
        return not outcome.is_divisible
    return isinstance(outcome, Ambiguous)


def _is_divisible(outcome: Outcome) -> bool:
    return isinstance(outcome, Failed | Deferred) and outcome.is_divisible
