"""What the sweeper asks of the store: mail past its time, and what nobody needs any more.

Part of the ports (see relay.ports). Every call does a little, so that mail on its way hardly waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NewType, Protocol

from relay.mail.address import Address
from relay.mail.envelope import Mail, SenderName
from relay.mail.outcome import Failed
from relay.policy.expiry import Terms

Group = NewType("Group", tuple[int, ...])
"""Entries that are few enough to be changed in one transaction. Only the store looks inside."""


@dataclass(frozen=True, slots=True)
class Page:
    """What was found among some of the entries, from the oldest on."""

    expiring: Sequence[Group]
    """Mail past its time that may be given up."""
    spent: Sequence[Group]
    """Failed mail that was kept as long as promised."""
    far: Sequence[Group]
    """Mail due later than any schedule says: the clock was ahead when that was written."""
    overdue: timedelta
    """How long the mail that is most past its time has been, mail that may not expire included."""
    held_long: int
    """Mail that has been held for half the time after which it is given up."""
    next: int | None
    """Where the next page begins; None after the last."""


@dataclass(frozen=True, slots=True)
class Expired:
    """A mail some recipients of which were given up."""

    mail: Mail
    outcomes: Mapping[Address, Failed]


@dataclass(frozen=True, slots=True)
class Note:
    """What is to be remembered of a sender's limits, and when that was.

    By the wall clock, and by monotonic time within one boot of the machine.
    """

    sender: SenderName
    at: datetime
    boot: str
    monotonic: float
    used: str


class Notes(Protocol):
    """What is remembered of senders' limits over a restart."""

    async def read(self) -> Sequence[Note]:
        """Return what was noted last of each sender; raise SpoolError."""
        ...

    def write(self, note: Note, failed: Callable[[], None]) -> None:
        """Begin to note; `failed` is called should it fail.

        Durable no later than any mail that is committed after this call. Raises SpoolError where
        nothing is written any more.
        """
        ...

    async def write_all(self, notes: Sequence[Note]) -> None:
        """Note; durable on return. Raises SpoolError."""
        ...


class Upkeep(Protocol):
    """The spool and the record, as they are kept in order. All raise SpoolError."""

    async def look(self, start: int, terms: Terms, *, now: datetime) -> Page:
        """Look at the entries from `start` on, a page of them; the first page begins at 0."""
        ...

    async def expire(self, group: Group, terms: Terms, *, now: datetime) -> Sequence[Expired]:
        """Give up what is past its time still; recorded for the ledger. The content is kept."""
        ...

    async def purge(self, group: Group, terms: Terms, *, now: datetime) -> Sequence[Mail]:
        """Forget failed mail and its content; the ledger is told."""
        ...

    async def bring_near(
        self, group: Group, terms: Terms, *, now: datetime, jitter: Callable[[], float]
    ) -> Sequence[SenderName]:
        """Have mail due within the longest wait, spread over it; return whose it is."""
        ...

    async def forget(self, terms: Terms, *, now: datetime) -> bool:
        """Forget some of the history older than is kept; False when there is no more."""
        ...

    async def note_time(self) -> None:
        """Write down how long the relay has been up, so that a kill costs little of it."""
        ...
