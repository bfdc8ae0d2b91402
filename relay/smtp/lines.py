"""What the lines of a content may be: their ends, their length, no NUL. The same for DATA and BDAT.

Pure and incremental: content goes in as it arrives, in pieces of any size, and comes out as it will
be kept. Does not know where content ends, nor what a refusal is answered.
"""

from __future__ import annotations

import re
from typing import Final

# RFC 5322 section 2.1.1: octets in a line, CRLF not counted.
LINE_LIMIT: Final = 998

# Each begins with the octet that is looked for, which makes it twice as fast as bytes.find and
# bytes.count are for the same, over a whole content.
_STRAY_CR: Final = re.compile(rb"\r(?!\n)")
_STRAY_LF: Final = re.compile(rb"\n(?<!\r\n)")
_STRAY: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n")


class ContentLines:
    r"""Looks at one content, line ends and all.

    A CR or LF outside CRLF is how one mail is made to look like two (CVE-2023-51764): what one
    server takes for text, the next may take for the end. It is noted, and the mail is refused once
    all of it has been read; or, with `normalize`, each becomes CRLF, so that nobody behind us sees
    one. A `\n.\n` becomes a line with a lone dot: no end to SES, which is given content by length.
    """

    __slots__ = (
        "_column",
        "_held",
        "_limits",
        "_normalizes",
        "has_long",
        "has_mended",
        "has_nul",
        "has_stray",
        "is_flawed",
    )

    def __init__(self, *, normalize: bool, limit: bool) -> None:
        self._normalizes = normalize
        self._limits = limit
        self._held = b""
        self._column = 0  # octets of the line that has not ended
        self.has_stray = False
        """Whether a CR or LF outside CRLF was seen that has to be refused."""
        self.has_mended = False
        """Whether a CR or LF outside CRLF was seen that became one."""
        self.has_nul = False
        """Whether a NUL was seen."""
        self.has_long = False
        """Whether a line was too long, where lines have a limit."""
        self.is_flawed = False
        """Whether any of these was seen, for which the mail will be refused."""

    def feed(self, octets: bytes) -> bytes:
        """Take the next octets; return the content they complete."""
        if self._held:
            octets = self._held + octets
            self._held = b""
        if octets[-1:] == b"\r":
            # Half of a CRLF, perhaps.
            self._held = b"\r"
            octets = octets[:-1]
        return self._look(octets)

    def end(self) -> bytes:
        """Take note that there is no more; return what was held back."""
        held, self._held = self._held, b""
        return self._look(held) if held else b""

    def _look(self, octets: bytes) -> bytes:
        if not self.has_stray and (_STRAY_CR.search(octets) or _STRAY_LF.search(octets)):
            if self._normalizes:
                octets = _STRAY.sub(b"\r\n", octets)
                self.has_mended = True
            else:
                self.has_stray = self.is_flawed = True
        if b"\0" in octets:
            self.has_nul = self.is_flawed = True
        if self._limits and not self.has_long and self._is_too_long(octets):
            self.has_long = self.is_flawed = True
        return octets

    def _is_too_long(self, octets: bytes) -> bool:
        begun, end = -self._column, len(octets)
        while end - begun > LINE_LIMIT:
            # The last line end that is near enough is as good as the first.
            newline = octets.rfind(b"\n", max(begun, 0), max(begun + LINE_LIMIT + 2, 0))
            if newline < 0:
                return True
            begun = newline + 1
        last = octets.rfind(b"\n")
        self._column = end - last - 1 if last >= 0 else end + self._column
        return False
