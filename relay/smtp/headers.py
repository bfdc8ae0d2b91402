"""The room for headers that are not complete, shared by all sessions. Counts octets only.

A header is kept until it can be decided on. One is at most 256 KiB, but a thousand clients that
never finish theirs would have as many times that.
"""

from __future__ import annotations

from typing import Final

HEADER_WINDOW: Final = 64 * 1024 * 1024


class HeaderWindow:
    """How many octets of unfinished headers there are."""

    def __init__(self) -> None:
        self.taken = 0

    def take(self, octets: int) -> bool:
        """Make room for so many more octets, or say no."""
        if self.taken + octets > HEADER_WINDOW:
            return False
        self.taken += octets
        return True

    def give_back(self, octets: int) -> None:
        """Take note that so many octets are no longer kept."""
        self.taken -= octets
