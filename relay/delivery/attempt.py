"""One attempt at one entry: its calls to SES, and what is recorded of each.

Knows how an entry is settled, given back, held and set aside. Does not know what is due or whose
turn it is; the scheduler does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from relay.delivery.calls import Calls, Desk, durably
from relay.delivery.gate import Gate
from relay.mail.address import Address
from relay.mail.entry import Settled
from relay.mail.envelope import AccountName
from relay.policy.ruleset import Ruleset
from relay.policy.sender import Sender
from relay.ports import Claim, ContentError, LeaseLostError, SpoolError

# How long an entry rests after a fault of our own.
FAULT_REST: Final = timedelta(minutes=5)
# What an attempt waits for its next call at most, in seconds; after that another may be due first.
LONGEST_PAUSE: Final = 10.0


class UnrecordedError(Exception):
    """SES was asked, and what it answered can be recorded neither now nor later."""


async def give_back(desk: Desk, claim: Claim) -> None:
    """Leave an entry as it was, due now: it was claimed and then not attempted.

    It stands before all that came after it, as it did.
    """
    arrived_at = claim.mail.arrived_at
    await durably(desk, lambda now: desk.queue.release(claim, now=now, due_at=min(arrived_at, now)))


async def hold(desk: Desk, claim: Claim, reason: str) -> None:
    """Set an entry aside without an attempt, where operators see it."""
    await durably(desk, lambda now: desk.queue.hold(claim, reason, now=now))
    desk.facts.held(claim.mail, reason)


async def record(
    desk: Desk,
    account: AccountName,
    claim: Claim,
    settled: Mapping[Address, Settled],
    mark: Sequence[Address] = (),
) -> None:
    """Record outcomes of a claim, and who is called for next; raise UnrecordedError if never."""
    try:
        await durably(desk, lambda now: desk.queue.settle(claim, settled, now=now, mark=mark))
    except SpoolError as error:
        raise UnrecordedError(f"what SES answered cannot be recorded: {error}") from error
    now = desk.clock.now()
    for address, one in settled.items():
        desk.facts.settled(account, claim.mail, address, one, now)


async def clear_up(desk: Desk, claim: Claim, error: Exception) -> None:
    """Leave an entry in order after an error ended its attempt."""
    if isinstance(error, ContentError | FileNotFoundError | UnrecordedError):
        complaint = str(error) or type(error).__name__
        if isinstance(error, UnrecordedError):
            # To begin more of this would be to send mail again and again.
            desk.facts.fault("attempt", error)
        await durably(desk, lambda now: desk.queue.damaged(claim, complaint, now=now))
        desk.facts.damaged(claim.mail, complaint)
        return
    desk.facts.fault("attempt", error)
    if not isinstance(error, LeaseLostError):
        await durably(desk, lambda now: desk.queue.release(claim, now=now, due_at=now + FAULT_REST))


class Attempt(Calls):
    """The attempt at one claim, from its first call until the entry is given back.

    The tokens of the first call are taken by whoever makes the attempt.
    """

    def __init__(
        self, desk: Desk, gate: Gate, claim: Claim, ruleset: Ruleset, sender: Sender
    ) -> None:
        super().__init__(desk, gate, claim, ruleset, sender)
        self.is_unrecorded = False
        """Whether an answer of SES could not be recorded, and never will be."""

    async def run(self) -> None:
        """Make the calls. Every way out leaves the entry settled or given back."""
        try:
            await self._make_calls()
        except Exception as error:  # noqa: BLE001 - a bug of ours must not lose or fail mail (P5)
            self.is_unrecorded = isinstance(error, UnrecordedError)
            await clear_up(self._desk, self._claim, error)

    async def _record(self, settled: Mapping[Address, Settled], mark: Sequence[Address]) -> None:
        await record(self._desk, self._gate.account.name, self._claim, settled, mark)

    async def _give_back(self) -> None:
        """Leave the recipients not called for as they are: due, as soon as the gate lets them."""
        await give_back(self._desk, self._claim)

    async def _may_go_on(self, *, is_halving: bool) -> bool:
        """Wait for the pace; False once another sender waits, the account stops, or this is paused.

        Who waits is to be dealt with in turn, and a mail to a thousand is twenty turns.
        """
        name = self._sender.name
        while (
            self._gate.passes()
            and (is_halving or not self._gate.is_awaited(name))
            and not self._desk.is_paused(name)
        ):
            wait = self._gate.pace(self._sender.priority)
            if wait <= 0:
                return True
            if wait > LONGEST_PAUSE and not is_halving:
                return False
            # Looked at again and again: a drain does not wait for a slow account.
            await asyncio.sleep(min(wait, 1.0))
        return False
