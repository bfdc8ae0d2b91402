"""The mail that is sent: small and large, to one recipient and to many, each octet known.

Knows what a client has to send and how it tells its mail apart. Does not know sockets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from random import Random
from typing import Final

from tests.system.clients import TRACE

_MARK: Final = re.compile(rb"\r\nX-Mark: (\d+)\r\n")

# Octets of the content: mostly little, some in the row, some in a file, some in several requests'
# worth of slices; a row holds up to 128 KiB, a slice is 256 KiB.
_SIZES: Final = ((300, 6_000), (20_000, 110_000), (135_000, 250_000), (270_000, 600_000))
_SIZE_WEIGHTS: Final = (84, 8, 5, 3)
# Recipients: a call takes 50, so that some mail needs two calls or three.
_CROWDS: Final = ((1, 1), (2, 9), (10, 50), (51, 120))
_CROWD_WEIGHTS: Final = (70, 20, 5, 5)


@dataclass(frozen=True)
class Letter:
    """What is remembered of a mail: everything but its octets, of which there are many."""

    mark: int
    """A number in its header, and in nobody else's."""
    reverse_path: str
    recipients: tuple[str, ...]
    digest: bytes
    """Of its content."""

    def is_in(self, reverse_path: str | None, content: bytes) -> bool:
        """Whether that is this mail, octet for octet."""
        return reverse_path == self.reverse_path and digest_of(content) == self.digest


@dataclass(frozen=True)
class Mail:
    """One mail as its client has it before it."""

    letter: Letter
    content: bytes
    in_chunks: bool
    """Whether it goes by BDAT."""


def digest_of(content: bytes) -> bytes:
    """Return what tells a content from any other."""
    return sha256(content).digest()


class Writer:
    """Writes mails, of a client's, the same ones for the same seed."""

    def __init__(self, seed: str, marks: Iterator[int], *, begins_with_all: bool = False) -> None:
        """`begins_with_all`: the first mails are the least of each size and of each crowd."""
        self._dice = Random(seed)  # noqa: S311 - to be drawn again
        self._marks = marks
        self._text = _text()
        kinds = list(zip(_SIZES, reversed(_CROWDS), strict=True)) if begins_with_all else []
        self._dice.shuffle(kinds)
        self._kinds = kinds

    def write(self) -> Mail:
        """Write the next mail."""
        dice, mark = self._dice, next(self._marks)
        if self._kinds:
            (least, _), (fewest, _) = self._kinds.pop()
            most, crowd = least, fewest
        else:
            ((least, most),) = dice.choices(_SIZES, _SIZE_WEIGHTS)
            ((fewest, crowd),) = dice.choices(_CROWDS, _CROWD_WEIGHTS)
        recipients = [f"r{n}.{mark}@example.net" for n in range(dice.randint(fewest, crowd))]
        reverse_path = f"app{dice.randrange(3)}@example.com"
        head = f"From: {reverse_path}\r\nTo: undisclosed:;\r\nSubject: {mark}\r\nX-Mark: {mark}\r\n\r\n"
        at = dice.randrange(len(self._text))
        size = dice.randint(least, most)
        content = head.encode() + (self._text[at:] + self._text)[:size] + b"\r\n"
        # Cut anywhere: half a line end is none.
        content = content.replace(b"\r\r\n", b"\r\n")
        if b"\n" in content.replace(b"\r\n", b""):
            content = re.sub(rb"(?<!\r)\n", b"\r\n", content)
        letter = Letter(mark, reverse_path, tuple(recipients), digest_of(content))
        return Mail(letter, content, dice.random() < 0.3)


@cache
def _text() -> bytes:
    """Return lines of all kinds: dots, empty ones, long ones, 8-bit octets."""
    dice = Random("text")  # noqa: S311 - the same each time
    octets = dice.randbytes(700_000).translate(_PRINTABLE)
    lines, at = [], 0
    while at < len(octets):
        kind = dice.randrange(10)
        length = 0 if kind == 0 else dice.randrange(1, 900 if kind == 1 else 76)
        dots = b"." * (2 - kind) if kind < 2 else b""
        lines.append(dots + octets[at : at + length])
        at += length
    return b"\r\n".join(lines)


# Any octet but controls: what text may be, whatever its character set.
_PRINTABLE: Final = bytes(n if 32 <= n != 127 else 33 + n % 64 for n in range(256))


def mark_of(content: bytes) -> int:
    """Return the mark in a content; -1 if there is none."""
    found = _MARK.search(content[:4096])
    return int(found[1]) if found else -1


def without_trace(content: bytes) -> bytes:
    """Return a content without what the relay declares to put before it."""
    found = TRACE.match(content)
    return content[found.end() :] if found else content


QUEUE_ID: Final = re.compile(rb"^X-Relay-Id: ([0-9A-Z]{20})\r\n", re.MULTILINE)
"""How a mail says under which name the relay keeps it."""
