"""Content on its way from the scanner into a draft: header decided on, trimmed and traced first.

Everything but the declared changes is copied as it came (promise P2). Does not know the dialogue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from relay.mail.envelope import QueueId
from relay.mail.header import HeaderBlock, HeaderError
from relay.mail.reply import Refusal, Reply
from relay.policy.admission import admit_header, admit_ses_headers, too_large
from relay.policy.sender import Sender
from relay.ports import Draft, Spool
from relay.smtp.headers import HeaderWindow
from relay.smtp.replies import CONTROL_IN_HEADER, TOO_MANY_HEADERS

HEADER_LIMIT: Final = 262144
FIELD_LIMIT: Final = 1000

# C0 without tab, CR and LF. No field may have them (RFC 5322 section 2.2), and what a reader makes
# of them is anybody's guess.
_CONTROLS: Final = bytes(set(range(32)) - set(b"\t\r\n"))

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

    def __init__(
        self,
        spool: Spool,
        sender: Sender,
        trace: Callable[[QueueId], bytes],
        window: HeaderWindow,
    ) -> None:
        self._spool = spool
        self._sender = sender
        self._trace = trace
        self._window = window
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
            end = _end_of_header(octets)
            if end is not None:
                return await self._begin(octets, end)
            if not self._hold(octets):
                return TOO_MANY_HEADERS
        else:
            begun = len(self._head)
            if not self._hold(octets):
                return TOO_MANY_HEADERS
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
        """Forget what was taken."""
        self._let_go()
        if self.draft is not None:
            await self.draft.discard()

    def _hold(self, octets: bytes) -> bool:
        """Keep octets of a header that is not complete, if there is room for them."""
        if not self._window.take(len(octets)):
            return False
        self._head += octets
        return True

    def _let_go(self) -> None:
        if self._head:
            self._window.give_back(len(self._head))
            self._head.clear()

    async def _begin(self, octets: bytes, end: int) -> Refusal | None:
        """Decide on the header, the first `end` octets; if admitted, begin the draft."""
        if end > HEADER_LIMIT:
            return _HEADER_TOO_LARGE
        block = octets[:end]
        # Counted before anything is made of them; folded lines continue a field.
        lines = block.count(b"\r\n")
        if lines > FIELD_LIMIT:
            lines -= block.count(b"\r\n ") + block.count(b"\r\n\t")
            if lines > FIELD_LIMIT:
                return _TOO_MANY_FIELDS
        if len(block.translate(None, _CONTROLS)) != len(block):
            return CONTROL_IN_HEADER
        try:
            header = HeaderBlock.parse(block)
        except HeaderError as error:
            return Refusal(
                Reply(550, "5.6.0", f"The message is not readable: {error}"), "bad_content"
            )
        kept = admit_header(self._sender, header)
        if isinstance(kept, Refusal):
            return kept
        asked = admit_ses_headers(self._sender, header)
        if isinstance(asked, Refusal):
            return asked
        if self._head:
            self._let_go()
        self.draft = draft = self._spool.draft()
        draft.message_id = header.message_id
        draft.ses_headers = asked
        trace = self._trace(draft.queue_id)
        if kept is header:
            await draft.append(trace + octets)
        else:
            await draft.append(trace + kept.octets + octets[end:])
        return None


def _end_of_header(octets: bytes | bytearray, begun: int = 0) -> int | None:
    """Return the length of the header block, or None when the blank line has not come yet.

    The first `begun` octets were looked at before.
    """
    # The blank line and the CRLF before it may have been cut anywhere.
    at = octets.find(b"\r\n\r\n", begun - 3 if begun > 3 else 0)  # noqa: PLR2004 - but one
    if octets[:2] == b"\r\n":
        return 0
    return None if at < 0 else at + 2
