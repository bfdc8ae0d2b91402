"""Where the core meets its adapters. Each docstring is the contract both sides are tested against.

Adapters never import each other; `relay.daemon` hands them what they need of these. In this order:
values and errors, accepting mail, delivering it, who is not mailed. See relay.aftermath,
relay.facts and relay.upkeep too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol, TypeAlias

from relay.mail.address import Address
from relay.mail.entry import Backlog, Settled, State
from relay.mail.envelope import AccountName, Envelope, Mail, QueueId, SenderName
from relay.mail.feedback import Suppression
from relay.mail.ses_headers import SesHeaders
from relay.policy.ruleset import Ruleset
from relay.policy.sender import Route, Sender
from relay.policy.verdict import Answer


@dataclass(frozen=True, slots=True)
class ContentFile:
    """A spool file. Its length was looked at when it was claimed; readers check its CRC-32."""

    path: Path
    size: int
    crc32: int


Content: TypeAlias = bytes | ContentFile
"""The octets of a mail as spooled, or the file that holds them when they are many."""


class SpoolError(Exception):
    """The spool could not do what it was asked; nothing of it was done."""

    is_lasting = False  # asking again is of no use: what it needs is damaged, or it is closed


class UnsafeSpoolError(SpoolError):
    """The spool lies where accepted mail can be lost, and nobody said that this may be."""


class SpoolFullError(SpoolError):
    """There is no room: tell the client 452 and keep what is there."""


class ContentError(Exception):
    """Content is not what was spooled: missing, of another length, or failing its checksum."""


class WithdrawnError(SpoolError):
    """The commit was withdrawn before it was handed to a batch: nothing was kept."""


class LeaseLostError(Exception):
    """The claim is no longer ours (its token was superseded); its outcome must not be recorded."""


class Clock(Protocol):
    """The time. Wall time may step; monotonic time may not."""

    def now(self) -> datetime:
        """Return the wall time, UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start, never decreasing."""
        ...


class Rules(Protocol):
    """Where the rules in force are read. Take them once per session, transaction or attempt."""

    @property
    def current(self) -> Ruleset:
        """The newest ruleset."""
        ...


class Draft(Protocol):
    """Content on its way into the spool. Small content stays in memory, large goes to a file.

    A draft belongs to one transaction. It is committed or discarded exactly once; discarding what
    is already committed or discarded does nothing.
    """

    queue_id: QueueId
    size: int
    """Octets appended so far."""
    message_id: str
    """Of the mail's header, to find it by; empty unless it is set before the commit."""
    ses_headers: SesHeaders
    """What the mail asks of SES itself; nothing unless it is set before the commit."""

    async def append(self, octets: bytes) -> None:
        """Add octets, waiting while memory is short; raise SpoolError where there is no place.

        After an error, or when it was cancelled, the draft can only be discarded.
        """

    async def discard(self) -> None:
        """Forget the draft and its file. Never raises."""


class Spool(Protocol):
    """Durable store of accepted mail."""

    def draft(self) -> Draft:
        """Open a draft under a new queue id."""

    @property
    def is_well(self) -> bool:
        """Whether mail can be committed at all; while it cannot, a client is best told at once."""

    def has_room_for(self, octets: int) -> bool:
        """Whether mail of that size may be begun: the floor of free space holds, commits work."""

    def backlog(self, sender: SenderName) -> Backlog:
        """Return what is kept of a sender's mail, whatever its state; from memory."""

    async def commit(self, draft: Draft, sender: SenderName, envelope: Envelope) -> Mail:
        """Return once the mail survives power loss; else raise SpoolError, leaving nothing.

        Cancelling withdraws the commit if the writer has not picked it up yet; from then on it is
        kept, and the mail returned although the caller was cancelled. So row and reply never
        disagree. Discarding the draft meanwhile does the same, and raises WithdrawnError here.
        """


@dataclass(frozen=True, slots=True)
class Claim:
    """One entry leased for an attempt.

    `recipients` are those due; the first `marked` of them carry the durable mark "an attempt is
    about to be made". `attempts` counts those begun, this one included; to those `in_doubt` an
    earlier one may have gone out. `waited` is how long the mail could have been attempted, `held`
    how long it was held; neither counts downtime.
    """

    mail: Mail
    content: Content
    recipients: tuple[Address, ...]
    attempts: Mapping[Address, int]
    in_doubt: Collection[Address]
    marked: int
    token: int
    lease_until: datetime
    waited: timedelta
    held: timedelta


@dataclass(frozen=True, slots=True)
class Claims:
    """What a claim found, and when the next entry of each sender asked for is due, if one is."""

    taken: Sequence[Claim]
    next_due: Mapping[SenderName, datetime]


class Queue(Protocol):
    """What is due, and what became of it; leased by node, time and token."""

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
        """Lease up to so many due entries of each sender, oldest due first.

        Senders are served in the order of `wants`. Nothing more is leased once the entries leased
        have `room` recipients marked between them; the first is leased however many it has. What
        cannot be read is set aside as corrupt, and never keeps others from being leased.

        In the same transaction the first `chunk` due recipients of each get the attempt mark:
        after a crash a marked recipient is ambiguous, an unmarked one is not.
        """
        ...

    async def settle(
        self,
        claim: Claim,
        settled: Mapping[Address, Settled],
        *,
        now: datetime,
        mark: Sequence[Address] = (),
    ) -> State | None:
        """Record outcomes, for the ledger too, and mark the recipients attempted next.

        Durable when it returns. While recipients of the claim have no outcome the entry stays in
        flight. Returns the state the entry is in now, or None once it is retired (all relayed: the
        content is gone). Raises LeaseLostError, recording nothing, when the token was superseded.
        """
        ...

    async def release(self, claim: Claim, *, now: datetime, due_at: datetime) -> None:
        """Give the entry back: recipients of the claim without an outcome were not attempted."""
        ...

    async def hold(self, claim: Claim, reason: str, *, now: datetime) -> None:
        """Give the entry back held: nothing was sent, and nothing will be until it is released."""
        ...

    async def damaged(self, claim: Claim, complaint: str, *, now: datetime) -> None:
        """Set the entry aside: its content is missing, short or fails its checksum (P5)."""
        ...

    async def readmit(self, senders: Collection[SenderName], *, now: datetime) -> int:
        """Make due what is held for want of its sender, which is back; return how many."""
        ...

    async def settle_reported(
        self, queue_id: QueueId, reported: Mapping[str, str], *, now: datetime
    ) -> int:
        """Let go recipients that SES reports on: it has taken the mail, whatever we heard of it.

        `reported` has their addresses, folded, and SES's message ids. The ledger is told that they
        are relayed. What is in flight is left to its attempt. Returns how many those were.
        """
        ...

    async def senders(self) -> Sequence[SenderName]:
        """Return the senders with entries in the spool, configured or not."""
        ...


@dataclass(frozen=True, slots=True)
class Consignment:
    """One call to SES: at most 50 recipients of one mail, and how they leave.

    `route` and `tags` are complete: with what the mail itself asks for, and in `tags` ours (queue
    id, node, sender).
    """

    mail: Mail
    content: Content
    recipients: tuple[Address, ...]
    route: Route
    tags: tuple[tuple[str, str], ...]


class Carrier(Protocol):
    """Takes mail onward, for one account. One call is one request: it never retries."""

    async def relay(self, consignment: Consignment) -> Answer:
        """Ask SES to take the consignment; return what came of it, whatever SES or network do.

        Raises ContentError when the content is not what was spooled, OSError when it cannot be
        read now.
        """
        ...


@dataclass(frozen=True, slots=True)
class SendQuota:
    """What an account may send (SES API GetSendQuota). Infinite where SES says -1.

    `rate` is recipients a second, `daily` those in any 24 hours, `used` those in the last 24.
    `number` tells one reading from the one before it.
    """

    rate: float
    daily: float
    used: float
    number: int = field(default=0, compare=False)


class Account(Protocol):
    """Named credentials + region + endpoint, and what SES says of them."""

    @property
    def name(self) -> AccountName:
        """The name senders refer to."""
        ...

    @property
    def carrier(self) -> Carrier:
        """The way to SES with these credentials."""
        ...

    @property
    def quota(self) -> SendQuota | None:
        """The quota last read; None until SES has answered once."""
        ...


class Suppressions(Protocol):
    """The suppression list: asked at every RCPT and before every attempt."""

    def may_hold(self, address: Address) -> bool:
        """Whether the address may be on the list, from memory; never False for one that is."""
        ...

    async def find(self, address: Address, sender: Sender | None = None) -> Suppression | None:
        """Return why that sender may not mail the address, or None; without a sender, why any.

        Raises SpoolError if it cannot be read.
        """
        ...
