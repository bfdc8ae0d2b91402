"""The chunks of one mail (RFC 3030): which of them are wanted. Does not know the wire."""

from __future__ import annotations

from typing import Final

from relay.mail.reply import Refusal, Reply
from relay.policy.admission import too_large
from relay.smtp import replies
from relay.smtp.command import ChunkCommand
from relay.smtp.pace import Pace
from relay.smtp.reception import Reception
from relay.smtp.transaction import Transaction

# How many octets beyond the limit are read, so that the client gets to its reply. Beyond, it is
# told at once and cut off: what it announces could take for ever.
OVERRUN: Final = 1024 * 1024


class Chunks:
    """The chunks announced since MAIL, or since there was none."""

    __slots__ = ("ended_at", "has_failed", "octets", "pace", "reception")

    def __init__(self, pace: Pace, now: float) -> None:
        self.pace = pace
        self.reception: Reception | None = None
        """Where they go, once the first of them was wanted."""
        self.octets = 0
        """Octets announced, wanted or not."""
        self.ended_at = now
        """The loop time at which the last of them had come."""
        self.has_failed = False
        """Whether one of them was refused: a mail with a gap must never be completed."""

    def is_beyond(self, limit: int) -> bool:
        """Whether more is announced than will be read under a limit of so many octets."""
        return self.octets > limit + OVERRUN

    def fault(self, command: ChunkCommand, transaction: Transaction) -> Refusal | Reply | None:
        """Say why the octets that follow are not wanted: a Refusal speaks of the mail."""
        if not command.is_valid:
            return replies.BDAT_SYNTAX
        if self.has_failed:
            return replies.CHUNK_FAILED
        if not transaction.has_recipient:
            return replies.NO_VALID_RECIPIENT if transaction.was_tried else replies.RCPT_FIRST
        if self.octets > transaction.sender.limits.message_size:
            return too_large(transaction.sender)
        return None
