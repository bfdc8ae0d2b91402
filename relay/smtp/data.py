"""Where content ends and what it is without its dots (RFC 5321 sections 4.1.1.4 and 4.5.2).

Pure and incremental: octets go in as they arrive, in pieces of any size, and come out un-stuffed.
Does not know sockets, headers or the spool.
"""

from __future__ import annotations

import re
from typing import Final

_CRLF: Final = b"\r\n"
_STUFFED: Final = b"\r\n."
_END: Final = b"\r\n.\r\n"

# Twice as fast as bytes.find and bytes.count for the same, over a whole content.
_DOT_LINE: Final = re.compile(rb"\r\n\.")
_STRAY_CR: Final = re.compile(rb"\r(?!\n)")


class ContentScanner:
    r"""Finds the end of DATA, un-stuffs dots, and notes what may not be in content.

    Only CRLF "." CRLF ends content. Whatever else some server takes for an end or for a line
    ending (a CR or an LF alone, a NUL in between) is how one mail is made to look like two
    (CVE-2023-51764), so it is noted, and the mail is refused once it has been read to its end.
    """

    __slots__ = ("_at_start", "_held", "ended", "has_nul", "has_stray", "remainder")

    def __init__(self) -> None:
        # The line that said DATA ended with CRLF, so `.` CRLF right behind it ends an empty
        # content: we begin as if that CRLF had been fed.
        self._held = _CRLF
        self._at_start = True
        self.ended = False
        """Whether the end has been seen."""
        self.remainder = b""
        """What followed the end: the client's next commands."""
        self.has_stray = False
        """Whether a CR or LF outside CRLF was seen."""
        self.has_nul = False
        """Whether a NUL was seen."""

    @property
    def is_flawed(self) -> bool:
        """Whether something was seen for which the mail will be refused."""
        return self.has_stray or self.has_nul

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
        if not self.has_stray:
            # Once every CR is known to be followed by LF, as many LF as CR leaves none over.
            self.has_stray = _STRAY_CR.search(octets) is not None or (
                octets.count(b"\n") != octets.count(b"\r")
            )
        self.has_nul = self.has_nul or b"\0" in octets
        if dot and dot.start() != end:
            octets = octets.replace(_STUFFED, _CRLF)
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
