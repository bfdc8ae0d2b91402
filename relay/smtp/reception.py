"""One DATA: content from the wire into the spool, and the reply it earns.

The content is always read to its end, refused or not, so that no octet of it is ever taken for a
command. Does not know commands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from relay.mail.envelope import Mail, QueueId
from relay.mail.reply import Refusal
from relay.policy.admission import too_large
from relay.ports import Clock, Draft, SpoolError, SpoolFullError, WithdrawnError
from relay.smtp.content import ContentIntake
from relay.smtp.data import ContentScanner
from relay.smtp.dialogue import Dialogue
from relay.smtp.hangup import HangUpError
from relay.smtp.replies import (
    CONTENT_FAULT,
    NOTHING_QUEUED,
    NUL_IN_CONTENT,
    SPOOL_FAILED,
    SPOOL_FULL,
    STRAY_LINE_ENDING,
    TIMED_OUT,
)
from relay.smtp.surroundings import Surroundings
from relay.smtp.trace import trace_fields
from relay.smtp.transaction import Transaction

# How far beyond its limit a client may go on before it is cut off. Up to there it gets to read why
# it was refused; beyond, it would only keep the line busy.
OVERRUN: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a content comes from, as facts and trace fields tell it."""

    session_id: str
    listener: str
    trace_opening: bytes


class Reception:
    """Receives one content."""

    def __init__(
        self,
        dialogue: Dialogue,
        transaction: Transaction,
        surroundings: Surroundings,
        origin: Origin,
    ) -> None:
        self._dialogue = dialogue
        self._transaction = transaction
        self._surroundings = surroundings
        self._origin = origin
        self._scanner = ContentScanner()
        # Not a method of ours: with one, intake and reception would keep each other alive.
        trace = partial(_trace, surroundings.clock, origin.trace_opening, transaction)
        self._intake = ContentIntake(
            surroundings.spool, transaction.sender, trace, surroundings.headers
        )
        self.has_ended = False
        """Whether the content was read to its end, so that commands can follow."""
        self.is_accepted = False
        """Whether the reply was 250."""

    async def receive(self) -> bytes:
        """Read the content, keep or refuse it, and return the reply."""
        try:
            refusal = await self._read()
            self.has_ended = True
            answer = refusal or await self._keep()
        except HangUpError as end:
            if end.reply is TIMED_OUT:
                self._refused(Refusal(TIMED_OUT, "timeout"))
            raise
        finally:
            # Does nothing to what was committed.
            await self._intake.discard()
        if isinstance(answer, Refusal):
            self._refused(answer)
            return answer.reply.line
        self.is_accepted = True
        return answer

    # --- reading ---

    async def _read(self) -> Refusal | None:
        dialogue, scanner, intake = self._dialogue, self._scanner, self._intake
        limit = self._transaction.sender.limits.message_size
        until = dialogue.loop.time() + dialogue.deadlines.data
        refusal: Refusal | None = None
        unkept = 0
        while not scanner.ended:
            octets = scanner.feed(await dialogue.next_chunk(until))
            if refusal is None and not scanner.is_flawed:
                refusal = await self._guard(intake.take(octets))
                continue
            await intake.discard()
            unkept += len(octets)
            if intake.size + unkept > limit + OVERRUN:
                refusal = too_large(self._transaction.sender)
                self._refused(refusal)
                raise HangUpError(refusal.reply, linger=True)
        dialogue.give_back(scanner.remainder)
        # A flaw comes first: whatever else was found may be due to it.
        if scanner.has_stray:
            return STRAY_LINE_ENDING
        if scanner.has_nul:
            return NUL_IN_CONTENT
        return refusal or await self._guard(intake.end())

    async def _guard(self, step: Coroutine[Any, Any, Refusal | None]) -> Refusal | None:
        """Await a step of the intake; its faults are refusals, for the rest is still content."""
        try:
            return await step
        except SpoolError as error:
            return _refuse(error)
        except Exception as error:  # noqa: BLE001 - a boundary, like the one around a command
            self._dialogue.note_fault("smtp.content", error)
            return CONTENT_FAULT

    # --- keeping ---

    async def _keep(self) -> bytes | Refusal:
        draft, transaction = self._intake.draft, self._transaction
        assert draft is not None  # noqa: S101 - an admitted header has begun it
        facts, monotonic = self._surroundings.facts, self._surroundings.clock.monotonic
        sender = transaction.sender.name
        if transaction.is_for_nobody:
            reply = NOTHING_QUEUED.line
        else:
            began = monotonic()
            try:
                mail = await self._commit(draft)
            except SpoolError as error:
                return _refuse(error)
            origin = self._origin
            facts.accepted(origin.session_id, origin.listener, mail, monotonic() - began)
            reply = b"250 2.0.0 Ok queued as %b\r\n" % mail.queue_id.encode("ascii")
        for recipient in transaction.dropped:
            facts.dropped(draft.queue_id, sender, recipient)
        return reply

    async def _commit(self, draft: Draft) -> Mail:
        """Commit, unless the client goes or the deadline passes before the spool takes it up.

        The commit is a task of its own, and only the spool decides whether cancelling it came in
        time: a mail half committed, or kept and answered 451, would help nobody.
        """
        dialogue, transaction = self._dialogue, self._transaction
        if dialogue.is_lost:
            raise ConnectionResetError
        spool = self._surroundings.spool
        commit = spool.commit(draft, transaction.sender.name, transaction.envelope)
        task = dialogue.loop.create_task(commit)
        dialogue.timer.within(dialogue.deadlines.commit, task.cancel)
        dialogue.on_lost = task.cancel
        try:
            return await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise  # the whole session is cancelled, and the commit with it
            if dialogue.is_lost:
                raise ConnectionResetError from None
            raise WithdrawnError from None
        finally:
            dialogue.on_lost = None
            dialogue.timer.busy()

    def _refused(self, refusal: Refusal) -> None:
        self._surroundings.facts.refused(
            self._origin.session_id, "data", refusal, self._transaction.sender.name
        )


def _trace(clock: Clock, opening: bytes, transaction: Transaction, queue_id: QueueId) -> bytes:
    return trace_fields(opening, queue_id, clock.now(), transaction.only_recipient)


def _refuse(error: SpoolError) -> Refusal:
    return SPOOL_FULL if isinstance(error, SpoolFullError) else SPOOL_FAILED
