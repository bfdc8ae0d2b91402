"""The body of a request but for the content, which is encoded into the middle of it.

Knows no API: each says what stands around the content and how that is encoded. Small content is
encoded whole, large content slice by slice (relay.ses.spooled).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

SLICE: Final = 3 * 64 * 1024
"""Octets of content encoded at a time: a multiple of 3, so that base64 pads only the last."""


class Frame(NamedTuple):
    """What stands before and after the content, and what becomes of the content itself."""

    before: bytes
    after: bytes
    encode: Callable[[bytes], bytes]

    def around(self, content: bytes) -> bytes:
        """Return the whole body."""
        return b"%b%b%b" % (self.before, self.encode(content), self.after)
