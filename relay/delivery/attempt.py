"""One attempt at one entry: its calls to SES, the verdicts, and what is recorded of each.

Knows the order that keeps mail safe: what a call brought is recorded before the next call is made.
Does not know what is due or whose turn it is; the scheduler does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from relay.delivery.gate import Gate
from relay.facts import Facts
from relay.mail.address import Address
from relay.mail.entry import Settled
from relay.mail.envelope import SenderName
from relay.mail.outcome import Ambiguous, Blame, Deferred, Failed, Outcome
from relay.mail.reply import Reply
from relay.policy.retry import Past
from relay.policy.ruleset import Ruleset
from relay.policy.sender import OnSuppressed, Sender
from relay.policy.verdict import verdict
from relay.ports import (
    Claim,
    Clock,
    Consignment,
    ContentError,
    LeaseLostError,
    Queue,
    SpoolError,
    Suppressions,
)

CHUNK: Final = 50
"""Recipients per call (SES API SendRawEmail, Destinations)."""

# How long an entry rests after a fault of our own.
FAULT_REST: Final = timedelta(minutes=5)
# What an attempt waits for its next call at most, in seconds; after that another may be due first.
LONGEST_PAUSE: Final = 10.0
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


class _UnrecordedError(Exception):
    """SES was asked, and what it answered can be recorded neither now nor later."""


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
    is_paused: Callable[[SenderName], bool]
    """Whether an operator keeps that sender's mail from being attempted."""
    may_expire: Callable[[], bool]
    """Whether mail may be given up for its age; not while the clock is in doubt."""


async def give_back(desk: Desk, claim: Claim) -> None:
    """Leave an entry as it was, due now: it was claimed and then not attempted.

    It stands before all that came after it, as it did.
    """
    arrived_at = claim.mail.arrived_at
    await _durably(
        desk, lambda now: desk.queue.release(claim, now=now, due_at=min(arrived_at, now))
    )


async def hold(desk: Desk, claim: Claim, reason: str) -> None:
    """Set an entry aside without an attempt, where operators see it."""
    await _durably(desk, lambda now: desk.queue.hold(claim, reason, now=now))
    desk.facts.held(claim.mail, reason)


class Attempt:
    """The attempt at one claim, from its first call until the entry is given back.

    The tokens of the first call are taken by whoever makes the attempt.
    """

    def __init__(
        self, desk: Desk, gate: Gate, claim: Claim, ruleset: Ruleset, sender: Sender
    ) -> None:
        self._desk = desk
        self._gate = gate
        self._claim = claim
        self._ruleset = ruleset
        self._sender = sender
        self.is_unrecorded = False
        """Whether an answer of SES could not be recorded, and never will be."""
        asked = claim.mail.ses_headers
        self._route = sender.route.asked_by(asked) if asked else sender.route
        # Ours (queue id, node, sender) name the mail in SES's events; its own follow.
        self._tags = (
            ("relay-id", claim.mail.queue_id),
            ("relay-node", desk.node),
            ("relay-sender", claim.mail.sender),
            *self._route.tags,
        )

    async def run(self) -> None:
        """Make the calls. Every way out leaves the entry settled or given back."""
        desk, claim = self._desk, self._claim
        try:
            await self._make_calls()
        except LeaseLostError as error:
            desk.facts.fault("attempt", error)
        except (ContentError, FileNotFoundError) as error:
            complaint = str(error) or type(error).__name__
            await _durably(
                desk,
                lambda now: desk.queue.damaged(claim, complaint, now=now),
            )
            desk.facts.damaged(claim.mail, complaint)
        except _UnrecordedError as error:
            # To begin more of this would be to send mail again and again.
            complaint = str(error)
            desk.facts.fault("attempt", error)
            self.is_unrecorded = True
            await _durably(desk, lambda now: desk.queue.damaged(claim, complaint, now=now))
            desk.facts.damaged(claim.mail, complaint)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not lose or fail mail (P5)
            desk.facts.fault("attempt", error)
            await _durably(
                desk, lambda now: desk.queue.release(claim, now=now, due_at=now + FAULT_REST)
            )

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
            if _concerns_all(outcome) or not await self._may_go_on():
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
        return [recipients[:marked], *(rest[at : at + CHUNK] for at in range(0, len(rest), CHUNK))]

    async def _divide(
        self, group: tuple[Address, ...]
    ) -> tuple[tuple[Address, ...], dict[Address, Settled]]:
        """Part those who may be mailed from those suppressed since they were admitted."""
        if self._sender.on_suppressed is OnSuppressed.IGNORE:
            return group, {}
        suppressions = self._desk.suppressions
        gone = {
            address: _SUPPRESSED
            for address in group
            if suppressions.may_hold(address) and await suppressions.find(address) is not None
        }
        return tuple(a for a in group if a not in gone) if gone else group, gone

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

    async def _record(self, settled: Mapping[Address, Settled], mark: Sequence[Address]) -> None:
        desk, claim = self._desk, self._claim
        try:
            await _durably(desk, lambda now: desk.queue.settle(claim, settled, now=now, mark=mark))
        except SpoolError as error:
            raise _UnrecordedError(f"what SES answered cannot be recorded: {error}") from error
        now = desk.clock.now()
        for address, one in settled.items():
            desk.facts.settled(self._gate.account.name, claim.mail, address, one, now)

    def _pay(self, group: Sequence[Address]) -> None:
        """Take the tokens of the next call. Those of the first the scheduler has taken."""
        self._gate.spend(self._sender.name, self._sender.priority, len(group))

    async def _give_back(self) -> None:
        """Leave the recipients not called for as they are: due, as soon as the gate lets them."""
        await give_back(self._desk, self._claim)

    async def _may_go_on(self) -> bool:
        """Wait for the pace; False once another sender waits, the account stops, or this is paused.

        Who waits is to be dealt with in turn, and a mail to a thousand is twenty turns.
        """
        name = self._sender.name
        while (
            self._gate.passes()
            and not self._gate.is_awaited(name)
            and not self._desk.is_paused(name)
        ):
            wait = self._gate.pace(self._sender.priority)
            if wait <= 0:
                return True
            if wait > LONGEST_PAUSE:
                return False
            # Looked at again and again: a drain does not wait for a slow account.
            await asyncio.sleep(min(wait, 1.0))
        return False


async def _durably(desk: Desk, operation: Callable[[datetime], Awaitable[object]]) -> None:
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
