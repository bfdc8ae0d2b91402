"""A mail of the relay's own to SES's mailbox simulator, and the wait for its event to return.

Part of the composition root. It goes the way of any mail from the spool on: what it proves is that
mail is kept, paced, signed, taken by SES, and that SES's events find their way back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final

from relay.aftermath import Record
from relay.facts import Facts
from relay.mail.address import Address
from relay.mail.envelope import Envelope, QueueId, SenderName
from relay.policy.sender import Sender
from relay.ports import Clock, Rules, Spool, SpoolError

SIMULATOR: Final = Address("success", "simulator.amazonses.com")
"""SES Developer Guide, "Using the mailbox simulator": delivered at once; counts as no one's bounce,
and not against the daily quota."""
DEADLINE: Final = timedelta(minutes=5)
"""How long a probe may take before it has failed."""
_LOOK: Final = 0.5  # seconds between two looks into the ledger
_LINES: Final = 50
_LOST: Final = frozenset({"failed", "expired", "bounced", "complained"})


class ProbeError(Exception):
    """The probe cannot be sent, or did not come back; in words for an operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What a probe goes by."""

    spool: Spool
    record: Record
    rules: Rules
    clock: Clock
    returns: Callable[[], bool]
    """Whether events are expected to return at all."""
    is_paused: Callable[[SenderName], bool]


class Probe:
    """Sends probes, once or again and again."""

    def __init__(self, way: Way, facts: Facts, came_back: Callable[[datetime], None]) -> None:
        """`came_back` is told when a probe has come back."""
        self._way = way
        self._facts = facts
        self._came_back = came_back

    async def run(self, every: timedelta, sender: str, address: str) -> None:
        """Send one, wait, and again; never ends."""
        while True:
            queue_id = ""
            try:
                async for step in self.once(sender, address, DEADLINE):
                    queue_id = step.get("queue_id", queue_id)
            except ProbeError as error:
                self._facts.service("probe_failed", queue_id=queue_id, complaint=str(error))
            await asyncio.sleep(every.total_seconds())

    async def once(
        self, sender: str, address: str, deadline: timedelta
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """Send one; yield how far it has come, and return once it is back.

        Without a name the first sender is taken, without an address its first. Raises ProbeError.
        """
        way, began = self._way, self._way.clock.monotonic()

        def step(name: str, **words: str) -> Mapping[str, Any]:
            return {"step": name, "seconds": round(way.clock.monotonic() - began, 3), **words}

        chosen = self._sender(sender)
        queue_id = await self._commit(chosen, Address.parse(address) if address else None)
        yield step("queued", queue_id=queue_id, sender=chosen.name)
        told: set[str] = set()
        while way.clock.monotonic() - began < deadline.total_seconds():
            for fact, detail in await self._facts_of(queue_id):
                if fact in told:
                    continue
                told.add(fact)
                yield step(fact, detail=detail)
                if fact in _LOST:
                    raise ProbeError(f"the probe {queue_id} {fact}: {detail}")
            # The event may be quicker than the ledger.
            if "relayed" in told and ("delivered" in told or not way.returns()):
                if "delivered" in told:
                    self._came_back(way.clock.now())
                return
            await asyncio.sleep(_LOOK)
        missing = "no event came back" if "relayed" in told else "SES has not taken it"
        words = f"{missing} within {deadline.total_seconds():.0f} s; see relay trace {queue_id}"
        raise ProbeError(words)

    async def _facts_of(self, queue_id: QueueId) -> list[tuple[str, str]]:
        try:
            lines = await self._way.record.trace(queue_id, _LINES)
        except SpoolError as error:
            raise ProbeError(f"the ledger cannot be read: {error}") from error
        found = [(line.fact, line.detail) for line in lines if line.fact != "accepted"]
        return sorted(found, key=lambda one: one[0] == "delivered")

    def _sender(self, name: str) -> Sender:
        senders = self._way.rules.current.senders
        chosen = senders.get(SenderName(name)) if name else next(iter(senders.values()))
        if chosen is None:
            raise ProbeError(f"there is no sender {name}; there is {', '.join(sorted(senders))}")
        if self._way.is_paused(chosen.name):
            raise ProbeError(f"sender {chosen.name} is paused")
        return chosen

    async def _commit(self, sender: Sender, address: Address | None) -> QueueId:
        address = address or _address_of(sender)
        if not sender.allowed_from.hold(address):
            raise ProbeError(f"{address} is not in the from list of sender {sender.name}")
        draft = self._way.spool.draft()
        content = _content(draft.queue_id, address, self._way.clock.now())
        try:
            await draft.append(content)
            envelope = Envelope(address, (SIMULATOR,))
            return (await self._way.spool.commit(draft, sender.name, envelope)).queue_id
        except SpoolError as error:
            raise ProbeError(f"it cannot be kept: {error}") from error
        finally:
            await draft.discard()


def _address_of(sender: Sender) -> Address:
    """Return an address that the sender may use."""
    patterns = sender.allowed_from.patterns
    for pattern in patterns:
        if not pattern.startswith("@"):
            return Address.parse(pattern)
    for pattern in patterns:
        if not pattern.startswith("@."):
            return Address("relay-probe", pattern[1:])
    raise ProbeError(f"sender {sender.name} has no address of its own: name one with --from")


def _content(queue_id: QueueId, author: Address, now: datetime) -> bytes:
    return (
        f"From: {author}\r\nTo: {SIMULATOR}\r\nSubject: Probe {queue_id}\r\n"
        f"Date: {format_datetime(now)}\r\nMessage-ID: <{queue_id}@{author.domain}>\r\n"
        # RFC 3834 section 5: nothing is to answer it.
        "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n\r\n"
        "The relay sees whether its mail goes out and SES's events come back.\r\n"
    ).encode("ascii")
