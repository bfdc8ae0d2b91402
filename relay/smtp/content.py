"""Content on its way from the scanner into a draft: header decided on, trimmed and traced first.

Everything but the declared changes is copied as it came (promise P2). Does not know the dialogue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from relay.mail.envelope import QueueId
from relay.mail.header import HeaderBlock, HeaderError
from relay.mail.reply import Refusal, Reply
from relay.policy.admission import admit_header, is_removed, too_large
from relay.policy.sender import Sender
from relay.ports import Draft, Spool

HEADER_LIMIT: Final = 262144
FIELD_LIMIT: Final = 1000

_HEADER_TOO_LARGE: Final = Refusal(
    Reply(550, "5.6.0", f"The header is larger than {HEADER_LIMIT} octets"), "bad_content"
)
_TOO_MANY_FIELDS: Final = Refusal(
    Reply(550, "5.6.0", f"The header has more than {FIELD_LIMIT} fields"), "bad_content"
)


class ContentIntake:
    """Takes one content, un-stuffed and in pieces.

    `trace` writes the fields to prepend, given the queue id; until the header is complete and
    admitted there is no draft, so a refused mail costs the spool nothing.
    """

    def __init__(self, spool: Spool, sender: Sender, trace: Callable[[QueueId], bytes]) -> None:
        self._spool = spool
        self._sender = sender
        self._trace = trace
        self._head = bytearray()
        self.size = 0
        """Octets taken so far; dots that were stuffed are not counted (RFC 1870 section 5)."""
        self.draft: Draft | None = None

    async def take(self, octets: bytes) -> Refusal | None:
        """Take the next octets. After a refusal nothing more is to be taken."""
        self.size += len(octets)
        if self.size > self._sender.limits.message_size:
            return too_large(self._sender)
        if self.draft is not None:
            await self.draft.append(octets)
            return None
        if not self._head:
            # Most mail comes in one piece, header and all.
            end = _end_of_header(octets, 0)
            if end is not None:
                return await self._begin(octets, end)
            self._head += octets
        else:
            begun = len(self._head)
            self._head += octets
            end = _end_of_header(self._head, begun)
            if end is not None:
                return await self._begin(bytes(self._head), end)
        return _HEADER_TOO_LARGE if len(self._head) > HEADER_LIMIT else None

    async def end(self) -> Refusal | None:
        """Take note that the content is complete; without a blank line it was all header."""
        if self.draft is None:
            return await self._begin(bytes(self._head), len(self._head))
        return None

    async def discard(self) -> None:
        """Forget the draft, if there is one."""
        if self.draft is not None:
            await self.draft.discard()

    async def _begin(self, octets: bytes, end: int) -> Refusal | None:
        """Decide on the header, the first `end` octets; if admitted, begin the draft."""
        if end > HEADER_LIMIT:
            return _HEADER_TOO_LARGE
        block = octets[:end]
        # Folded lines continue a field; counted before anything is made of them.
        lines = block.count(b"\r\n") - block.count(b"\r\n ") - block.count(b"\r\n\t")
        if lines > FIELD_LIMIT:
            return _TOO_MANY_FIELDS
        try:
            header = HeaderBlock.parse(block)
        except HeaderError as error:
            return Refusal(
                Reply(550, "5.6.0", f"The message is not readable: {error}"), "bad_content"
            )
        refusal = admit_header(self._sender, header)
        if refusal is not None:
            return refusal
        kept = header.without(is_removed)
        self._head.clear()
        self.draft = draft = self._spool.draft()
        trace = self._trace(draft.queue_id)
        if kept is header:
            await draft.append(trace + octets)
        else:
            await draft.append(trace + kept.octets + octets[end:])
        return None


def _end_of_header(octets: bytes | bytearray, begun: int) -> int | None:
    """Return the length of the header block, or None when the blank line has not come yet.

    The first `begun` octets were looked at before.
    """
    if octets.startswith(b"\r\n"):
        return 0
    # The blank line and the CRLF before it may have been cut anywhere.
    at = octets.find(b"\r\n\r\n", max(0, begun - 3))
    return None if at < 0 else at + 2
