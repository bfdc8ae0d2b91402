"""Stand-ins for ports that remember what they were told and fail on cue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from relay.mail.address import Address
from relay.mail.entry import Backlog
from relay.mail.envelope import Envelope, Mail, QueueId, SenderName, new_queue_id
from relay.mail.feedback import Suppression
from relay.mail.ses_headers import NOTHING_ASKED
from relay.policy.ruleset import Ruleset
from relay.policy.sender import Sender
from relay.ports import Draft


class FrozenClock:
    """A clock that moves when it is told to."""

    def __init__(self, now: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)) -> None:
        self._now = now
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, step: timedelta) -> None:
        self._now += step
        self._monotonic += step.total_seconds()

    def step(self, by: timedelta) -> None:
        """Set the wall clock, as NTP or an operator does: no time passes."""
        self._now += by

    def reboot(self) -> None:
        """Begin monotonic time anew, as a machine does that starts."""
        self._monotonic = 5.0


class RecordingFacts:
    """Facts that are remembered: `told` holds (name, positional arguments) in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[Any, ...]]] = []
        self.words: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)

        def tell(*args: Any, **words: Any) -> None:
            self.told.append((name, args))
            self.words.append((name, words))

        return tell

    def names(self) -> list[str]:
        """The facts told, by name."""
        return [name for name, _ in self.told]


class StaticRules:
    """Rules that change when they are told to."""

    def __init__(self, ruleset: Ruleset) -> None:
        self.current = ruleset


async def nothing_reported(_queue_id: QueueId) -> dict[str, str]:
    """Say that SES has reported on no mail."""
    return {}


class FakeSuppressions:
    """A suppression list in a dictionary."""

    def __init__(self, *suppressions: Suppression) -> None:
        self._by_address = {entry.address: entry for entry in suppressions}

    def add(self, suppression: Suppression) -> None:
        self._by_address[suppression.address] = suppression

    def may_hold(self, address: Address) -> bool:
        return address.folded in self._by_address

    async def find(self, address: Address, sender: Sender | None = None) -> Suppression | None:
        return self._by_address.get(address.folded)


class FakeDraft:
    """A draft in memory; `fate` is what became of it."""

    def __init__(self, queue_id: QueueId, spool: FakeSpool) -> None:
        self.queue_id = queue_id
        self.size = 0
        self.message_id = ""
        self.ses_headers = NOTHING_ASKED
        self.content = b""
        self.fate = "open"
        self._spool = spool

    async def append(self, octets: bytes) -> None:
        if self._spool.append_error is not None:
            raise self._spool.append_error
        self.size += len(octets)
        if self._spool.keeps:
            self.content += octets

    async def discard(self) -> None:
        if self.fate == "open":
            self.fate = "discarded"


class FakeSpool:
    """A spool in memory. Fails on cue, and holds commits until they are released."""

    def __init__(self) -> None:
        self.room = True
        self.is_well = True
        self.backlogs: dict[SenderName, Backlog] = {}
        """What is kept of each sender; commits add to it."""
        self.keeps = True
        """Whether content is kept, or only counted."""
        self.append_error: Exception | None = None
        self.commit_error: Exception | None = None
        self.drafts: list[FakeDraft] = []
        self.committed: list[tuple[Mail, bytes]] = []
        self.asked = asyncio.Event()
        """Set once a commit has been asked for."""
        self._released = asyncio.Event()
        self._released.set()
        self._is_picked = False

    def hold(self, *, picked: bool = False) -> None:
        """Let commits wait; `picked` ones can no longer be withdrawn."""
        self._released.clear()
        self._is_picked = picked

    def release(self) -> None:
        """Let held commits, and all that follow, through."""
        self._released.set()

    def draft(self) -> FakeDraft:
        draft = FakeDraft(new_queue_id(datetime(2026, 3, 1, 12, tzinfo=UTC)), self)
        self.drafts.append(draft)
        return draft

    def has_room_for(self, octets: int) -> bool:
        return self.room and octets >= 0

    def backlog(self, sender: SenderName) -> Backlog:
        return self.backlogs.get(sender, Backlog(0, 0))

    async def commit(self, draft: Draft, sender: SenderName, envelope: Envelope) -> Mail:
        assert isinstance(draft, FakeDraft)
        assert draft.fate == "open"
        assert envelope.recipients
        self.asked.set()
        while not self._released.is_set():
            try:
                await self._released.wait()
            except asyncio.CancelledError:
                if not self._is_picked:
                    draft.fate = "withdrawn"
                    raise
        if self.commit_error is not None:
            draft.fate = "failed"
            raise self.commit_error
        draft.fate = "committed"
        mail = Mail(
            draft.queue_id,
            sender,
            envelope,
            datetime(2026, 3, 1, 12, tzinfo=UTC),
            draft.size,
            draft.message_id,
            draft.ses_headers,
        )
        self.committed.append((mail, draft.content))
        messages, octets, _ = self.backlog(sender)
        self.backlogs[sender] = Backlog(messages + 1, octets + draft.size)
        return mail
