"""How content comes: DATA, and BDAT (RFC 3030).

Knows where a content ends. However the commands go wrong, no octet of content is ever taken for a
command. Does not know what content may be: relay.smtp.reception does.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from relay.mail.reply import Refusal, Reply
from relay.policy.admission import too_large
from relay.policy.sender import Accept, LineEndings
from relay.smtp import replies
from relay.smtp.addressing import Addressing
from relay.smtp.chunks import Chunks
from relay.smtp.command import ChunkCommand, parse_bdat
from relay.smtp.data import ContentScanner
from relay.smtp.hangup import HangUpError
from relay.smtp.lines import ContentLines
from relay.smtp.pace import Pace
from relay.smtp.parting import CHUNK
from relay.smtp.passing import PassedReception
from relay.smtp.reception import Origin, Reception
from relay.smtp.transaction import Transaction

# How far beyond its limit the content of a DATA may go on before the client is cut off. Up to there
# it gets to read why it was refused; beyond, it would only keep the line busy.
OVERRUN: Final = 16 * 1024 * 1024


class Transfer(Addressing):
    """The part of a session in which content is received."""

    # ruff: noqa: N802

    _chunks: Chunks | None = None
    """What has come of the mail that comes in chunks, if one does."""

    async def forget_transaction(self) -> None:
        """Return to where MAIL may be given; what came of content is forgotten."""
        await super().forget_transaction()
        chunks, self._chunks = self._chunks, None
        self.is_in_content = False
        if chunks is not None and chunks.reception is not None:
            await chunks.reception.close()

    # --- DATA ---

    async def smtp_DATA(self, arg: str) -> None:
        """Receive the content; whatever comes of it, the transaction is over."""
        if arg:
            self.say_junk(replies.NO_ARGUMENT)
            return
        transaction = self.transaction
        if transaction is None:
            self.say_junk(replies.MAIL_FIRST)
        elif transaction.has_content:
            self.say_junk(replies.CONTENT_BEGUN)
        elif not transaction.has_recipient:
            tried = transaction.was_tried
            self.say_junk(replies.NO_VALID_RECIPIENT if tried else replies.RCPT_FIRST)
        else:
            self.transaction = None
            reception = self._open(transaction)
            if isinstance(reception, Refusal):
                self._refuse_content(reception, transaction)
                return
            try:
                self.say(replies.START_CONTENT.line)
                await self._to_its_end(self._read(reception, transaction), reception)
                await self._conclude(reception)
            finally:
                await reception.close()

    async def _read(self, reception: Reception, transaction: Transaction) -> None:
        scanner, pace = ContentScanner(), Pace(self.deadlines, self.loop.time())
        most = transaction.sender.limits.message_size + OVERRUN
        while not scanner.ended:
            await reception.take(scanner.feed(await self.next_chunk(pace)))
            if reception.octets > most:
                refusal = too_large(transaction.sender)
                reception.refused(refusal)
                raise HangUpError(refusal.reply, linger=True)
        if scanner.remainder:
            self.give_back(scanner.remainder)

    # --- BDAT ---

    async def smtp_BDAT(self, arg: str) -> None:
        """Receive a chunk; the last ends the transaction, whatever comes of it.

        What was announced is read before any reply: it is on its way already, and must not be taken
        for commands.
        """
        command = parse_bdat(arg)
        if isinstance(command, Reply):
            raise HangUpError(command, linger=True)
        self._hurry()
        fault = self._why_no_chunks()
        transaction = None if fault else self.transaction
        now = self.loop.time()
        chunks = self._chunks or Chunks(Pace(self.deadlines, now), now)
        chunks.octets += command.size
        if transaction is not None:
            transaction.has_content = True
            self._chunks = chunks
        self._bound(chunks, transaction)
        answer = fault or self._destination(command, chunks, transaction)
        if isinstance(answer, Reception):
            await self._take_chunk(command, chunks, answer)
        else:
            await self._discard_chunk(command, chunks, answer)
        chunks.ended_at = self.loop.time()

    def _hurry(self) -> None:
        """Hang up on a client that takes too long over its chunks: waits between them count too."""
        chunks = self._chunks
        if chunks is None:
            return
        now, pace = self.loop.time(), chunks.pace
        pace.took(0, now - chunks.ended_at)
        is_slow = pace.under_stress <= 0 and self.timer.is_stressed()
        if pace.patience(now) <= 0 or is_slow:
            if chunks.reception is not None:
                chunks.reception.refused(Refusal(replies.TIMED_OUT, "timeout"))
            raise HangUpError(replies.TIMED_OUT, linger=True)

    def _destination(
        self, command: ChunkCommand, chunks: Chunks, transaction: Transaction | None
    ) -> Reception | Refusal | Reply:
        """Say where the octets that follow go, or why nowhere."""
        if transaction is None:
            return replies.MAIL_FIRST
        fault = chunks.fault(command, transaction)
        if fault is not None:
            return fault
        if chunks.reception is None:
            opened = self._open(transaction)
            if isinstance(opened, Refusal):
                return opened
            chunks.reception = opened
        return chunks.reception

    def _why_no_chunks(self) -> Reply | None:
        if self.needs_starttls:
            return replies.TLS_REQUIRED.reply
        return replies.NOT_IMPLEMENTED if "CHUNKING" in self.settings.extensions_off else None

    def _bound(self, chunks: Chunks, transaction: Transaction | None) -> None:
        """Hang up on a client that announces more than can ever be wanted."""
        if transaction is None:
            if chunks.is_beyond(self._offer.largest(self.surroundings.rules.current)):
                raise HangUpError(replies.CHUNK_TOO_LARGE, linger=True)
        elif chunks.is_beyond(transaction.sender.limits.message_size):
            refusal = too_large(transaction.sender)
            self.facts.refused(self.session_id, "data", refusal, transaction.sender.name)
            raise HangUpError(refusal.reply, linger=True)

    async def _take_chunk(
        self, command: ChunkCommand, chunks: Chunks, reception: Reception
    ) -> None:
        await self._to_its_end(self._exactly(command.size, chunks.pace, reception), reception)
        if command.is_last:
            self.transaction = None
            try:
                await self._conclude(reception)
            finally:
                await self.forget_transaction()
            return
        self.is_in_content = True
        if not command.size:
            self.count_junk()
        self.say(b"250 2.0.0 %d octets received\r\n" % command.size)

    async def _discard_chunk(
        self, command: ChunkCommand, chunks: Chunks, why: Refusal | Reply
    ) -> None:
        await self._abandon(chunks)
        await self._to_its_end(self._exactly(command.size, chunks.pace), None)
        transaction = self.transaction
        if command.is_last and chunks is self._chunks:
            # The client has said all of it; its next MAIL is another one.
            await self.forget_transaction()
        if isinstance(why, Reply):
            self.say_junk(why)
        elif transaction is not None:
            self._refuse_content(why, transaction)

    async def _abandon(self, chunks: Chunks) -> None:
        """Forget the chunks there were: the mail cannot be completed any more."""
        self.is_in_content = False
        chunks.has_failed = True
        reception, chunks.reception = chunks.reception, None
        if reception is not None:
            await reception.close()

    async def _exactly(self, octets: int, pace: Pace, reception: Reception | None = None) -> None:
        while octets:
            chunk = await self.next_chunk(pace, min(octets, CHUNK))
            octets -= len(chunk)
            if reception is not None:
                await reception.take(chunk)

    # --- both ---

    def _open(self, transaction: Transaction) -> Reception | Refusal:
        """Begin to receive, if the sender's quotas let it; what is not kept is not counted."""
        given_up: Callable[[], object] = _nothing
        if transaction.sender.limits.is_refused:
            count = transaction.mailed_count
            refusal = self.lack_of_recipients(transaction, count)
            if refusal is not None:
                return refusal
            allowance = self.allowance(transaction)
            if allowance is not None:
                # Counted now: of two transactions at once, the second must see the first.
                taken = allowance.take_recipients(count, self.surroundings.clock.monotonic())
                give_back = self.surroundings.allowances.give_back
                given_up = partial(give_back, transaction.sender.name, taken)
        endings = transaction.sender.line_endings or self.settings.line_endings
        lines = ContentLines(
            normalize=endings is LineEndings.NORMALIZE, limit=self.settings.refuses_long_lines
        )
        opening = self.client.trace_opening(transaction.ruleset)
        origin = Origin(self.session_id, self.settings.name, opening)
        keeps = transaction.sender.accept is Accept.QUEUED
        kind = Reception if keeps else PassedReception
        return kind(self, transaction, self.surroundings, origin, lines, given_up)

    async def _to_its_end(
        self, reading: Coroutine[Any, Any, None], reception: Reception | None
    ) -> None:
        """Await the reading of content. A fault of ours in it ends the session: more may come."""
        try:
            await reading
        except HangUpError as end:
            if reception is not None and end.reply is replies.TIMED_OUT:
                reception.refused(Refusal(end.reply, "timeout"))
            raise
        except EOFError:
            raise
        except Exception as error:
            if self.is_lost:
                raise
            self.note_fault("smtp.content", error)
            raise HangUpError(replies.TOO_MANY_FAULTS) from None

    async def _conclude(self, reception: Reception) -> None:
        self.say(await reception.conclude())
        if reception.is_accepted:
            self.forgive_junk()
        else:
            self.count_junk()

    def _refuse_content(self, refusal: Refusal, transaction: Transaction) -> None:
        self.count_junk()
        self.refuse("data", refusal, transaction.sender.name)


def _nothing() -> None:
    """Give nothing back: nothing was counted."""
