"""What operators may see of the queue and do to it: the ports of their side, contracts likewise.

Knows neither how an operator asks (relay.web, relay.cli) nor how mail is kept (relay.store).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from relay.mail.entry import QueuedMail, State
from relay.mail.envelope import QueueId, SenderName


class Verb(StrEnum):
    """What an operator may have done to mail; where each leads is one table in relay.store."""

    HOLD = "hold"
    """Not attempted until it is released."""
    RELEASE = "release"
    """Due now, if it was held, for whatever reason."""
    RETRY = "retry"
    """Due now, whatever it waited for; failed mail too."""
    DROP = "drop"
    """Gone, content and all, without an attempt; the ledger says by whom and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which mail of the queue is meant: what meets every criterion given; without any, all mail.

    `recipient` and `reason` ignore case. `domain` is that of some recipient, and no subdomain of
    it. `reason` is a part of why the mail waits, as the listing or any recipient says it.
    """

    queue_ids: frozenset[QueueId] = frozenset()
    sender: SenderName | None = None
    recipient: str = ""
    domain: str = ""
    states: frozenset[State] = frozenset()
    arrived_before: datetime | None = None
    arrived_after: datetime | None = None
    message_id: str = ""
    reason: str = ""

    @property
    def is_everything(self) -> bool:
        """Whether no criterion is given."""
        return self == _EVERYTHING

    def words(self) -> str:
        """Say which mail is meant, for the audit and the log."""
        ids = sorted(self.queue_ids)
        many = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
        criteria = (
            ("id", ", ".join(ids[:_NAMED]) + many),
            ("sender", self.sender or ""),
            ("to", self.recipient),
            ("to domain", self.domain),
            ("state", ", ".join(sorted(self.states))),
            ("arrived before", _time(self.arrived_before)),
            ("arrived after", _time(self.arrived_after)),
            ("Message-ID", self.message_id),
            ("waits for", self.reason),
        )
        return "; ".join(f"{name} {value}" for name, value in criteria if value) or "all mail"


_EVERYTHING = Selection()
# Ids that are repeated in words; the ledger has all.
_NAMED = 5


def _time(at: datetime | None) -> str:
    return "" if at is None else at.isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An operator's verb, for a selection.

    With `new_sender` only mail of senders that are configured no more is released, as that one's.
    `senders` are those configured, None where that is not known.
    """

    verb: Verb
    selection: Selection
    actor: str
    reason: str = ""
    new_sender: SenderName | None = None
    senders: frozenset[SenderName] | None = None

    def words(self) -> str:
        """Say by whom and why, for the ledger and for whoever looks at held mail."""
        instead = f", as {self.new_sender}" if self.new_sender else ""
        return f"by {self.actor}{instead}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True, slots=True)
class Pause:
    """A sender whose mail is accepted and not attempted, since when, by whom and why."""

    sender: SenderName
    since: datetime
    actor: str
    reason: str


class Result(StrEnum):
    """What came of an order for one mail."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    """It makes no difference to mail in that state."""
    IN_FLIGHT = "in-flight"
    """SES has it at this moment: it is not called back, and may be asked for again."""
    ON_HOLD = "on-hold"
    """An operator holds it: to retry mail lets it go only where it, or held mail, is named."""
    NO_SENDER = "no-sender"
    """Its sender is configured no more: it needs another one, or to be dropped."""
    CORRUPT = "corrupt"
    """It is damaged, and so cannot be attempted, or not even be read."""
    UNKNOWN = "unknown"
    """Named by id, and not in the queue, or not as the other criteria want it."""


class Turned(NamedTuple):
    """What came of an order for one mail, and the state it is in now; None if there is none."""

    queue_id: QueueId
    result: Result
    state: State | None


class Page(NamedTuple):
    """What an order did to some of the queue: as durable as anything in it."""

    mails: Sequence[Turned]
    roused: frozenset[SenderName]
    """Senders with mail that has become due."""


class Found(NamedTuple):
    """Some of what was looked for, and after which queue id to go on; None at the end."""

    entries: Sequence[QueuedMail]
    after: str | None


class Axis(StrEnum):
    """By what the queue is sorted to see its shape."""

    SENDER = "sender"
    DOMAIN = "domain"
    """Of recipients: mail counts once for each domain it is for."""
    REASON = "reason"
    STATE = "state"


AGES = (5, 10, 20, 40, 80, 160, 320, 640, 1280)
"""Where each column of the shape ends, in minutes since the mail came, as in qshape(1)."""


class Shape(NamedTuple):
    """How much of the mail looked at is how old: a count for each of AGES, and one beyond.

    `total` counts each mail once.
    """

    groups: Mapping[str, Sequence[int]]
    total: Sequence[int]
    after: str | None
    """After which queue id to go on; None at the end."""


class QueueView(Protocol):
    """What operators may see of the queue. No question is long, however long the queue is."""

    async def counts(self) -> Mapping[State, int]:
        """Return the number of entries by state; every state is present."""
        ...

    async def show(self, queue_id: QueueId) -> QueuedMail | None:
        """Return one entry, or None when the spool does not know it."""
        ...

    async def find(self, selection: Selection, after: str, limit: int) -> Found:
        """Return entries in order of queue id, which is that of arrival, after the given one.

        They may be fewer than `limit`, or none, and yet not be all there are: the answer says
        where to go on. Of what is too damaged to be judged, all is found by a selection of
        everything, of its id, or of what is corrupt.
        """
        ...

    async def shape(self, selection: Selection, axis: Axis, after: str, now: datetime) -> Shape:
        """Count some of the queue, in order of queue id after the given one, by age."""
        ...


class QueueOrders(Protocol):
    """What operators may do to the queue.

    Goes through the queue page by page, and waits for the last page to be taken before it makes
    the next: mail that comes meanwhile is never kept waiting for long, and is not part of it. An
    order that is not gone through to its end has done what its pages say, and may be given again.
    """

    def carry_out(self, order: Order) -> AsyncGenerator[Page, None]:
        """Yield each page once it is durable. Raises SpoolError, with that page undone."""
        ...

    def foresee(self, order: Order) -> AsyncGenerator[Page, None]:
        """Yield what the pages would be, and change nothing. Corrupt mail is not looked at."""
        ...


class PauseBook(Protocol):
    """Where pauses are written down. Time in which a sender is paused makes its mail no older."""

    async def read(self) -> Sequence[Pause]:
        """Return all pauses; raise SpoolError."""
        ...

    async def write(self, pause: Pause) -> Pause:
        """Pause a sender; durable on return, with the pause as it is now. Raises SpoolError.

        What is paused already gets the reason, and has been paused since it first was.
        """
        ...

    async def remove(self, sender: SenderName) -> None:
        """End a pause; durable on return. Raises SpoolError: then the pause holds still."""
        ...


class Pausing(Protocol):
    """The pauses in force."""

    @property
    def in_force(self) -> Mapping[SenderName, Pause]:
        """Who is paused, since when and why."""
        ...

    async def pause(self, pause: Pause) -> Pause:
        """Pause a sender, or give its pause another reason; raise SpoolError."""
        ...

    async def resume(self, sender: SenderName) -> bool:
        """Let a sender's mail go again; False if it was not paused. Raises SpoolError."""
        ...
