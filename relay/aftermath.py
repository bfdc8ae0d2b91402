"""What happens after mail has left: what is remembered, callbacks, SES's own list, SQS.

Part of the ports (see relay.ports). Each docstring is the contract both sides are tested against.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from relay.mail.address import Address
from relay.mail.entry import LedgerLine
from relay.mail.envelope import AccountName, QueueId, SenderName
from relay.mail.feedback import FeedbackEvent, SoftBounces, Suppression
from relay.policy.reputation import Reception


class Record(Protocol):
    """What is remembered after mail has left: ledger, feedback, suppression. Not the spool."""

    async def take_in(
        self,
        delivery_id: str,
        raw: bytes,
        event: FeedbackEvent | None,
        suppressions: Sequence[Suppression],
        soft: SoftBounces | None = None,
    ) -> Sequence[Suppression] | None:
        """Store one feedback message and its effects in one transaction; durable on return.

        Returns the suppressions that took effect, those among them that `soft` bounces have come
        to: an event older than an operator's removal of the address has none. `delivery_id` (SNS
        MessageId) de-duplicates: None means it was known. `event` is None for what was signed but
        not understood: it is kept raw, as are events of unknown kinds. The ledger, reputation and
        callbacks know of mail that is ours.
        """
        ...

    async def reported(self, queue_id: QueueId) -> Mapping[str, str]:
        """Return to whom SES says it has taken a mail, folded, and by which message ids."""
        ...

    async def suppress(self, suppressed: Suppression, *, actor: str) -> None:
        """Add or replace an entry by an operator's hand; audited."""
        ...

    async def suppress_all(self, suppressed: Sequence[Suppression], *, actor: str) -> None:
        """Add or replace entries by an operator's hand, in one transaction; audited."""
        ...

    async def unsuppress(
        self, address: str, *, actor: str, reason: str, now: datetime, scope: str | None = None
    ) -> bool:
        """Remove an address, in one scope or all; audited. False when it was not there."""
        ...

    async def entries_of(self, address: Address) -> Sequence[Suppression]:
        """Return all entries of one address, whatever their scope; raise SpoolError."""
        ...

    async def list_suppressed(
        self, after: str, limit: int, scope: str = ""
    ) -> Sequence[Suppression]:
        """Return entries in order of address and scope, after the given one."""
        ...

    async def trace(self, key: str, limit: int) -> Sequence[LedgerLine]:
        """Return the ledger of a queue id, SES message id or recipient, oldest first."""
        ...

    async def trace_message(self, message_id: str, limit: int) -> Sequence[LedgerLine]:
        """Return the ledger of all mail whose header has that Message-ID, oldest first."""
        ...

    async def audit(
        self, actor: str, action: str, subject: str, detail: str, *, now: datetime
    ) -> None:
        """Write down what an operator does to mail, or did; durable on return."""
        ...


@dataclass(frozen=True, slots=True)
class Callback:
    """What an application is still to be told, ready to be posted.

    `due_at` is None once it is dead: nobody tries any more, until it is replayed.
    """

    id: str
    sender: SenderName
    kind: str
    body: bytes
    made_at: datetime
    due_at: datetime | None
    attempts: int
    complaint: str


class CallbackBook(Protocol):
    """The durable queue of callbacks. All raise SpoolError."""

    async def due(
        self, sender: SenderName, now: datetime, limit: int, *, but: Collection[str]
    ) -> Sequence[Callback]:
        """Return what of a sender is due, the oldest first, without those under way."""
        ...

    async def next_due(self, senders: Collection[SenderName]) -> datetime | None:
        """Return when the next callback of these senders is due, dues in the past among them."""
        ...

    async def told(self, callback: Callback) -> None:
        """Forget a callback that was received."""
        ...

    async def put_off(self, callback: Callback, due_at: datetime | None, complaint: str) -> None:
        """Count an attempt that failed; without a time it is dead."""
        ...

    async def find(self, after: str, limit: int, *, only_dead: bool) -> Sequence[Callback]:
        """Return callbacks in order of their id, after the given one."""
        ...

    async def replay(
        self, ids: Collection[str], sender: SenderName | None, *, actor: str, now: datetime
    ) -> int:
        """Make dead ones due: those named, or all, of a sender if one is given; audited."""
        ...

    async def waiting(self) -> Mapping[str, int]:
        """Return how many are `pending` and how many are `dead`."""
        ...


class ReputationBook(Protocol):
    """What became of each sender's mail, counted as it is told."""

    async def reception(self, since: datetime, until: datetime) -> Mapping[SenderName, Reception]:
        """Return the numbers of that time, to five minutes; raise SpoolError."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the copy of an account's list has come."""

    sweep: int
    """Number of the full sweep, under way or last done."""
    token: str
    """Where the sweep under way goes on; empty when none is."""
    seen: int
    """Entries met in it."""
    newest: datetime | None
    """Time of the youngest entry ever met."""
    swept_at: datetime | None
    """When the last full sweep ended."""


class SyncBook(Protocol):
    """The suppression list as a copy of SES's own lists. All raise SpoolError."""

    async def progress(self, account: AccountName) -> Progress:
        """Return how far the copy is."""
        ...

    async def copy(
        self, account: AccountName, entries: Sequence[Suppression], progress: Progress
    ) -> int:
        """Follow a page of the list, and write down how far that is, in one transaction.

        Returns how many entries are new, or another reason than before.
        """
        ...

    async def finish(self, account: AccountName, progress: Progress) -> int:
        """End a full sweep: what it did not meet is let go. Returns how many those were."""
        ...


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry of an account's own suppression list, as SES spells it."""

    address: str
    reason: str
    """BOUNCE or COMPLAINT."""
    at: datetime


@dataclass(frozen=True, slots=True)
class ListPage:
    """Some of an account's list, and the token of what follows; empty at the end."""

    entries: Sequence[Listed]
    token: str


class TokenError(Exception):
    """The token is known no more: the listing is to be begun anew."""


class AccountList(Protocol):
    """SES's own suppression list of one account. Asks AWS, and may raise anything it raises."""

    async def page(self, since: datetime | None, token: str) -> ListPage:
        """Return some of the list, of what changed `since`; raise TokenError."""
        ...

    async def find(self, address: str) -> Listed | None:
        """Return the entry of exactly that spelling, or None."""
        ...

    async def put(self, address: str, reason: str) -> None:
        """Add an address."""
        ...

    async def remove(self, address: str) -> bool:
        """Remove the entry of exactly that spelling; False if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message that a queue has handed out, and will hand out again unless it is deleted."""

    id: str
    body: str
    handle: str
    times: int
    """How often it was handed out, this one included."""


class MessageQueue(Protocol):
    """An SQS queue. Blocks; may raise anything the SDK raises. Called in threads."""

    def receive(self) -> Sequence[Delivered]:
        """Wait up to 20 seconds for messages, and return at most 10."""
        ...

    def delete(self, handles: Sequence[str]) -> None:
        """Delete messages; what fails is handed out again."""
        ...

    def close(self) -> None:
        """Let go of the connections, of a call under way too."""
        ...
