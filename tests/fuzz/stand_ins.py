"""What stands behind a fuzzed session: spool, facts and clock, cheap enough for a million of them.

They keep only what invariants are judged by, and complain when a port's promises are broken.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from relay.mail.entry import Backlog
from relay.mail.envelope import Envelope, Mail, QueueId, SenderName
from relay.mail.reply import Refusal
from relay.mail.ses_headers import NOTHING_ASKED
from relay.ports import Draft, SpoolError, SpoolFullError, WithdrawnError
from tests.fuzz.loop import SteppedLoop

_NOTHING: Final = Backlog(0, 0)
_EPOCH: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# How long a slow commit takes; a client may be gone by then, or the relay be asked to stop.
_SLOW: Final = 1.0


class LoopClock:
    """The time of the stepped loop."""

    def __init__(self, loop: SteppedLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        """Return the wall time."""
        return _EPOCH + timedelta(seconds=int(self._loop.time()))

    def monotonic(self) -> float:
        """Return the loop's time."""
        return self._loop.time()


class FuzzDraft:
    """A draft in memory that knows what became of it."""

    def __init__(self, queue_id: QueueId, spool: FuzzSpool) -> None:
        self.queue_id = queue_id
        self.size = 0
        self.message_id = ""
        self.ses_headers = NOTHING_ASKED
        self.pieces: list[bytes] = []
        self.fate = "open"
        self._spool = spool

    async def append(self, octets: bytes) -> None:
        """Keep octets, or fail as the script wants it."""
        if self.fate != "open":
            self._spool.complaints.append(f"append to a draft that is {self.fate}")
        if self._spool.mode == "failing":
            raise SpoolError("cannot be written")
        if self._spool.mode == "broken":
            raise ZeroDivisionError("a fault of ours")
        self.size += len(octets)
        self.pieces.append(bytes(octets))

    async def discard(self) -> None:
        """Forget the draft."""
        if self.fate == "open":
            self.fate = "discarded"


class FuzzSpool:
    """A spool in memory: at once, slow, picked (too late to withdraw), or failing."""

    def __init__(self) -> None:
        self.mode = "quick"
        self.complaints: list[str] = []
        self.drafts: list[FuzzDraft] = []
        self.committed: list[tuple[Mail, bytes]] = []
        self._number = 0

    def draft(self) -> FuzzDraft:
        """Open a draft; its queue id is one of a sequence, so that a script plays the same."""
        self._number += 1
        digits = [_ALPHABET[(self._number >> shift) & 31] for shift in range(45, -1, -5)]
        draft = FuzzDraft(QueueId("06H04YCY58" + "".join(digits)), self)
        self.drafts.append(draft)
        return draft

    is_well = True

    def has_room_for(self, octets: int) -> bool:
        """Whether the announced size is sane."""
        return octets < 1 << 40

    def backlog(self, sender: SenderName) -> Backlog:
        """Return that nothing is kept of the sender's mail."""
        return _NOTHING

    async def commit(self, draft: Draft, sender: SenderName, envelope: Envelope) -> Mail:
        """Keep the mail, or not, as the script wants it."""
        assert isinstance(draft, FuzzDraft)
        if draft.fate != "open":
            self.complaints.append(f"commit of a draft that is {draft.fate}")
        if not envelope.recipients:
            self.complaints.append("commit of a mail to nobody")
        mode = self.mode
        if mode in ("slow", "picked"):
            await self._dawdle(draft, is_picked=mode == "picked")
        if mode == "full":
            draft.fate = "failed"
            raise SpoolFullError("no room")
        draft.fate = "committed"
        mail = Mail(draft.queue_id, sender, envelope, _EPOCH, draft.size)
        self.committed.append((mail, b"".join(draft.pieces)))
        return mail

    async def _dawdle(self, draft: FuzzDraft, *, is_picked: bool) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + _SLOW
        while loop.time() < until:
            try:
                await asyncio.sleep(until - loop.time())
            except asyncio.CancelledError:
                if not is_picked:
                    draft.fate = "withdrawn"
                    raise
        if draft.fate == "discarded":
            raise WithdrawnError("discarded meanwhile")

    def forget(self) -> None:
        """Begin the next session with nothing."""
        self.complaints = []
        self.drafts = []
        self.committed = []


class FuzzFacts:
    """Facts of which only faults and refusals are kept."""

    def __init__(self) -> None:
        self.faults: list[tuple[str, BaseException]] = []
        self.refusals: list[str] = []
        self.accepted_ids: list[str] = []

    def fault(self, where: str, error: BaseException, session_id: str = "") -> None:
        """Keep a fault."""
        self.faults.append((where, error))

    def refused(self, session_id: str, phase: str, refusal: Refusal, *_: object) -> None:
        """Keep the reason of a refusal."""
        self.refusals.append(f"{phase} {refusal.reason}")

    def accepted(self, session_id: str, listener: str, mail: Mail, seconds: float) -> None:
        """Keep the queue id of what was accepted."""
        self.accepted_ids.append(mail.queue_id)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return _ignore

    def forget(self) -> None:
        """Begin the next session with nothing."""
        self.faults = []
        self.refusals = []
        self.accepted_ids = []


def _ignore(*_: object, **__: object) -> None:
    return None
