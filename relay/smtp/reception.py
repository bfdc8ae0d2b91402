"""One content: from the command that brings it into the spool, and the reply it earns.

The same for DATA and BDAT, which know where a content ends; so a mail is judged alike however it
comes. Does not know commands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from relay.mail.envelope import Mail, QueueId
from relay.mail.reply import Refusal
from relay.policy.admission import admit_to_queue, too_large
from relay.ports import Clock, Draft, SpoolError, SpoolFullError, WithdrawnError
from relay.smtp.content import ContentIntake
from relay.smtp.dialogue import Dialogue
from relay.smtp.lines import ContentLines
from relay.smtp.replies import (
    CONTENT_FAULT,
    LONG_LINE,
    NOTHING_QUEUED,
    NUL_IN_CONTENT,
    SPOOL_FAILED,
    SPOOL_FULL,
    STRAY_LINE_ENDING,
)
from relay.smtp.surroundings import Surroundings
from relay.smtp.trace import redirected_from, trace_fields
from relay.smtp.transaction import Transaction


class Origin(NamedTuple):
    """Where a content comes from, as facts and trace fields tell it."""

    session_id: str
    listener: str
    trace_opening: bytes


class Reception:
    """Receives one content. What is refused is taken all the same, and not kept.

    `given_up` is called when nothing has come of it.
    """

    def __init__(
        self,
        dialogue: Dialogue,
        transaction: Transaction,
        surroundings: Surroundings,
        origin: Origin,
        lines: ContentLines,
        given_up: Callable[[], object],
    ) -> None:
        self._dialogue = dialogue
        self._transaction = transaction
        self._surroundings = surroundings
        self._origin = origin
        self._lines = lines
        self._given_up = given_up
        # Not a method of ours: with one, intake and reception would keep each other alive.
        trace = partial(_trace, surroundings.clock, origin.trace_opening, transaction)
        self._intake = ContentIntake(
            surroundings.spool, transaction.sender, trace, surroundings.headers
        )
        self._refusal: Refusal | None = None
        self._kept = 0  # octets, with line ends as they are to be kept: never fewer than came
        self.octets = 0
        """Octets taken; dots that were stuffed are not counted (RFC 1870 section 5)."""
        self.is_accepted = False
        """Whether the reply was 250."""

    async def take(self, octets: bytes) -> None:
        """Take the next octets."""
        self.octets += len(octets)
        await self._pass_on(self._lines.feed(octets))

    async def conclude(self) -> bytes:
        """Keep or refuse the content, now that all of it has come, and return the reply."""
        rest = self._lines.end()
        if rest:
            await self._pass_on(rest)
        answer: bytes | Refusal | None = self._verdict()
        if answer is None and self._intake.draft is None:
            try:
                answer = await self._intake.end()
            except Exception as error:  # noqa: BLE001 - a boundary, like the one around a command
                answer = self._fault(error)
        if answer is None:
            answer = await self._keep()
        if isinstance(answer, Refusal):
            self.refused(answer)
            return answer.reply.line
        self.is_accepted = True
        if self._lines.has_mended:
            origin, sender = self._origin, self._transaction.sender.name
            self._surroundings.facts.line_endings_mended(origin.session_id, origin.listener, sender)
        return answer

    async def close(self) -> None:
        """Forget the content, unless it was accepted; to be called however it went."""
        # Does nothing to what was committed.
        await self._intake.discard()
        if not self.is_accepted:
            self._given_up()

    def refused(self, refusal: Refusal) -> None:
        """Tell that the content was refused."""
        self._surroundings.facts.refused(
            self._origin.session_id, "data", refusal, self._transaction.sender.name
        )

    async def _pass_on(self, octets: bytes) -> None:
        self._kept += len(octets)
        if self._refusal is not None or self._lines.is_flawed:
            await self._intake.discard()
        elif octets:
            try:
                self._refusal = await self._intake.take(octets)
            except Exception as error:  # noqa: BLE001 - a boundary, like the one around a command
                self._refusal = self._fault(error)

    def _verdict(self) -> Refusal | None:
        """Say what is wrong with the content; the same whatever the pieces it came in."""
        sender, lines = self._transaction.sender, self._lines
        if self._kept > sender.limits.message_size:
            return too_large(sender)
        # Then flaws: what else was found may be due to them.
        if lines.has_stray:
            return STRAY_LINE_ENDING
        if lines.has_nul:
            return NUL_IN_CONTENT
        return LONG_LINE if lines.has_long else self._refusal

    def _fault(self, error: Exception) -> Refusal:
        """Refuse content that we failed to take: the rest of it is still content."""
        if isinstance(error, SpoolError):
            return refuse_for(error)
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
            # Asked again: transactions open at once do not know of each other.
            backlog = self._surroundings.spool.backlog(sender)
            refusal = admit_to_queue(transaction.sender, backlog, draft.size)
            if refusal is not None:
                return refusal
            began = monotonic()
            try:
                mail = await self._commit(draft)
            except SpoolError as error:
                return refuse_for(error)
            origin = self._origin
            facts.accepted(origin.session_id, origin.listener, mail, monotonic() - began)
            reply = b"250 2.0.0 Ok queued as %b\r\n" % mail.queue_id.encode("ascii")
        for recipient in transaction.dropped:
            facts.dropped(draft.queue_id, sender, recipient)
        return reply

    async def _commit(self, draft: Draft) -> Mail:
        """Commit, unless the client goes or the deadline passes before the spool takes it up.

        Only the spool decides whether taking it back came in time: a mail half committed, or kept
        and answered 451, would help nobody.
        """
        dialogue, transaction = self._dialogue, self._transaction
        if dialogue.is_lost:
            raise ConnectionResetError
        dialogue.timer.within(dialogue.deadlines.commit, dialogue.withdraw)
        dialogue.on_lost = dialogue.withdraw
        try:
            return await self._surroundings.spool.commit(
                draft, transaction.sender.name, transaction.envelope
            )
        except asyncio.CancelledError:
            if dialogue.is_lost:
                raise ConnectionResetError from None
            raise WithdrawnError from None
        finally:
            dialogue.on_lost = None
            dialogue.timer.busy()


def _trace(clock: Clock, opening: bytes, transaction: Transaction, queue_id: QueueId) -> bytes:
    fields = trace_fields(opening, queue_id, clock.now(), transaction.only_recipient)
    spared = transaction.redirected
    return fields + redirected_from(spared) if spared else fields


def refuse_for(error: SpoolError) -> Refusal:
    """Refuse what the spool could not keep."""
    return SPOOL_FULL if isinstance(error, SpoolFullError) else SPOOL_FAILED
