"""Where content ends and what it is without its dots (RFC 5321 sections 4.1.1.4 and 4.5.2).

Pure and incremental: octets go in as they arrive, in pieces of any size, and come out un-stuffed.
Does not know sockets, headers or the spool, nor what lines may be.
"""

from __future__ import annotations

import re
from typing import Final

_CRLF: Final = b"\r\n"
_END: Final = b"\r\n.\r\n"

# Twice as fast as bytes.find for the same, over a whole content.
_DOT_LINE: Final = re.compile(rb"\r\n\.")
# A dot that stands alone on a line, by whatever else but CRLF that line ends, is not a stuffed one:
# without it, `CRLF . LF` would become an empty line where line endings are normalised.
_STUFFED: Final = re.compile(rb"\r\n\.(?![\r\n])")


class ContentScanner:
    """Finds the end of DATA and un-stuffs dots.

    Only CRLF "." CRLF ends content, and only a dot behind CRLF was stuffed. Whatever else some
    server takes for an end is content here; what becomes of it is for relay.smtp.lines to say.
    """

    __slots__ = ("_at_start", "_held", "ended", "remainder")

    def __init__(self) -> None:
        # The line that said DATA ended with CRLF, so `.` CRLF right behind it ends an empty
        # content: we begin as if that CRLF had been fed.
        self._held = _CRLF
        self._at_start = True
        self.ended = False
        """Whether the end has been seen."""
        self.remainder = b""
        """What followed the end: the client's next commands."""

    def feed(self, octets: bytes) -> bytes:
        """Take the next octets; return the content they complete. Not to be called once ended."""
        octets = self._held + octets
        dot = _DOT_LINE.search(octets)
        # In most content the first line with a dot is the end.
        end = octets.find(_END, dot.start()) if dot else -1
        if end >= 0:
            self.ended = True
            self.remainder = octets[end + len(_END) :]
            octets = octets[: end + len(_CRLF)]
        else:
            # A tail that may turn out to begin the end is held back whole, so that neither a CRLF
            # nor a dot behind it is ever looked at in two halves.
            held = _undecided(octets)
            self._held = octets[len(octets) - held :]
            octets = octets[: len(octets) - held]
        if not octets:
            return b""
        if dot and dot.start() != end:
            octets = _STUFFED.sub(_CRLF, octets)
        if self._at_start:
            self._at_start = False
            return octets[len(_CRLF) :]
        return octets


def _undecided(octets: bytes) -> int:
    """Return how many octets at the end could be the beginning of the end."""
    for length in (4, 3, 2, 1):
        if octets.endswith(_END[:length]):
            return length
    return 0
