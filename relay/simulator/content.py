"""The raw message as SES looks at it: header fields, MIME parts, attachment names.

Reads only; the octets are never changed. Does not know which findings are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import Message
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER_END: Final = re.compile(rb"\r?\n\r?\n")
_NAME_VALUE: Final = re.compile(r"([^\x00-\x20:\x7f]+)[ \t]*:(.*)", re.DOTALL)
_AUTHOR: Final = re.compile(
    rb"^from[ \t]*:[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*", re.IGNORECASE | re.MULTILINE
)
_NAMED: Final = re.compile(rb"[Nn][Aa][Mm][Ee][*0-9]*[ \t]*=[ \t\r\n]*\"?([^\"\r\n;]*)")
# The harmless file that every virus scanner reports, as it is and as base64.
_EICAR: Final = (
    b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE",
    b"WDVPIVAlQEFQWzRcUFpYNTQoUF4pN0NDKTd9JEVJQ0FS",
)


@dataclass(frozen=True, slots=True)
class Header:
    """One header field, unfolded."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Content:
    """What was sent, and what its header block says."""

    octets: bytes
    headers: tuple[Header, ...]
    #: Where the body begins.
    body_at: int
    #: A line of the header block is no header field.
    header_block_broken: bool

    @classmethod
    def read(cls, octets: bytes) -> Content:
        """Read the header block; never raises, whatever the octets are."""
        if octets.startswith((b"\n", b"\r\n")):
            return cls(octets, (), octets.index(b"\n") + 1, header_block_broken=False)
        end = _HEADER_END.search(octets)
        block = octets[: end.start()] if end else octets
        headers = tuple(_fields(block))
        return cls(
            octets,
            tuple(header for header in headers if header is not None),
            end.end() if end else len(octets),
            header_block_broken=None in headers,
        )

    def all(self, name: str) -> tuple[str, ...]:
        """The values of every header of that name, in order."""
        wanted = name.lower()
        return tuple(header.value for header in self.headers if header.name.lower() == wanted)

    def first(self, name: str) -> str | None:
        """The value of the first header of that name; the one that SES looks at."""
        values = self.all(name)
        return values[0] if values else None

    def with_author(self, author: str) -> Content:
        """The content with another From field, in the place of the one there is."""
        block, body = self.octets[: self.body_at], self.octets[self.body_at :]
        field = b"From: " + author.encode()
        return Content.read(_AUTHOR.sub(lambda _: field, block, count=1) + body)

    @property
    def start_boundary_missing(self) -> bool:
        """The Content-Type names a boundary and the body never uses it."""
        declared = Message()
        declared["Content-Type"] = self.first("Content-Type") or "text/plain"
        if declared.get_content_maintype() != "multipart":
            return False
        boundary = declared.get_boundary()
        if not boundary:
            return True
        delimiter = b"--" + boundary.encode("utf-8", "surrogateescape")
        return (
            self.octets.find(delimiter, self.body_at, self.body_at + len(delimiter)) < 0
            and self.octets.find(b"\n" + delimiter, self.body_at) < 0
        )

    def has_more_parts_than(self, limit: int) -> bool:
        """Whether the message has more leaf parts than that."""
        # Every part follows a line that begins so: most mail need not be parsed for this.
        if self.octets.count(b"\n--", max(self.body_at - 1, 0)) <= limit:
            return False
        return sum(not part.is_multipart() for part in self._parts()) > limit

    def attachment_ending_in(self, extensions: frozenset[str]) -> str | None:
        """The name of the first attachment with such an extension."""
        # Looking for it as text first spares most mail the parsing; what it finds may still be
        # prose in a body, or hide in an encoded word.
        if not any(
            mark in name or _extension(name) in extensions
            for name in (found.decode("latin-1") for found in _NAMED.findall(self.octets))
            for mark in ("=?", "''")
        ):
            return None
        names = (part.get_filename() for part in self._parts())
        return next((name for name in names if name and _extension(name) in extensions), None)

    @property
    def has_virus(self) -> bool:
        """Whether it carries the EICAR test file."""
        return any(mark in self.octets for mark in _EICAR)

    def _parts(self) -> Iterator[Message]:
        parsed: Message = message_from_bytes(self.octets, policy=policy.compat32)
        return parsed.walk()


def _fields(block: bytes) -> Iterator[Header | None]:
    """Each field of the block; None for a line that is none."""
    lines = block.decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n")
    folded: list[str] = []
    for line in lines:
        if line[:1] in {" ", "\t"} and folded:
            folded[-1] += line
        else:
            folded.append(line)
    for line in folded:
        # A bare CR glues two lines together, which SES reports as a header without a name.
        found = _NAME_VALUE.fullmatch(line) if "\r" not in line else None
        yield Header(found.group(1), found.group(2).strip()) if found else None


def _extension(name: str) -> str:
    _, dot, extension = name.rpartition(".")
    return extension.strip().lower() if dot else ""
