"""The header block of RFC 5322, read and trimmed as octets; the body is never looked at.

Knows fields, folding and mailboxes in From-like fields. Does not know which fields policy removes,
and never re-serialises a field it keeps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from relay.mail.address import Address, AddressError

# One field with its folded lines (RFC 5322 section 2.2.3). Optional space before the colon is
# obsolete syntax (4.5) that receivers still read as the same field, so we must too.
_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*:([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)\r\n")
# A From field is a few hundred octets. Each is looked at by itself below, so 256 KiB of them would
# hold up every other session for 0.1 s.
_LIST_LIMIT: Final = 16384
_ENCODED_WORD: Final = re.compile(r"=\?[^?\s]+\?[^?\s]+\?[^?\s]*\?=")


class HeaderError(ValueError):
    """A header block that cannot be read without guessing. The message is ours, safe to show."""


class Field(NamedTuple):
    """One header field: its name in lower case, its unfolded value, and where it stands."""

    name: bytes
    value: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class HeaderBlock:
    """All fields of a message, in order, over the octets they were read from.

    `octets` ends with the CRLF of the last field; the empty line that follows is not part of it.
    """

    octets: bytes
    fields: tuple[Field, ...]

    @classmethod
    def parse(cls, octets: bytes) -> HeaderBlock:
        """Read a block of CRLF-terminated fields; raise HeaderError where a line is no field.

        An mbox `From ` line, or a line with a space in its name, would hide the fields behind it
        from policy while SES might still read them, so nothing is skipped.
        """
        fields = []
        at, end = 0, len(octets)
        while at < end:
            match = _FIELD.match(octets, at)
            if match is None:
                raise HeaderError("a line of the header is not a header field")
            name, value = match.groups()
            at = match.end()
            fields.append(
                Field(name.lower(), value.replace(b"\r\n", b"").strip(), match.start(), at)
            )
        return cls(octets, tuple(fields))

    def named(self, name: bytes) -> Iterator[Field]:
        """Yield the fields of that (lower-case) name."""
        return (field for field in self.fields if field.name == name)

    def without(self, unwanted: Callable[[bytes], bool]) -> HeaderBlock:
        """Return a block less the fields whose (lower-case) name is unwanted; no other changes."""
        kept = [field for field in self.fields if not unwanted(field.name)]
        if len(kept) == len(self.fields):
            return self
        octets = b"".join([self.octets[field.start : field.end] for field in kept])
        return HeaderBlock.parse(octets)


def mailboxes(value: bytes) -> tuple[Address, ...]:
    """Return every mailbox of an address list such as the value of From or Sender.

    Strict on purpose: display names are skipped, but where the list could be read in two ways it is
    refused with HeaderError, because SES's reading might not be ours. Comments, groups and route
    addresses are such cases; so is an address inside an encoded word.
    """
    if len(value) > _LIST_LIMIT:
        raise HeaderError("the address list is too long")
    try:
        text = value.decode("ascii")
    except UnicodeDecodeError:
        # Raw 8-bit display names exist in the wild; addresses beside them must still be ASCII.
        text = value.decode("latin-1")
    found = tuple(_mailbox(item) for item in _split(text))
    if not found:
        raise HeaderError("the address list is empty")
    return found


def _split(text: str) -> Iterator[str]:
    """Split an address list at its commas, minding quoted strings and angle brackets."""
    item: list[str] = []
    quoted = escaped = angled = False
    for char in text:
        if quoted:
            quoted = escaped or char != '"'
            escaped = not escaped and char == "\\"
        elif char == '"':
            quoted = True
        elif char == "<":
            if angled:
                raise HeaderError("angle brackets are nested")
            angled = True
        elif char == ">":
            if not angled:
                raise HeaderError("angle brackets do not match")
            angled = False
        elif char in "();:" and not angled:
            raise HeaderError("comments and groups are not accepted here")
        elif char == "," and not angled:
            yield "".join(item)
            item.clear()
            continue
        item.append(char)
    if quoted or angled:
        raise HeaderError("a quoted string or an angle bracket is not closed")
    yield "".join(item)


def _mailbox(item: str) -> Address:
    """Read one `name <address>` or bare address."""
    text = item.strip(" \t")
    if text.endswith(">"):
        name, _, text = text[:-1].rpartition("<")
        # `a@b <c@d>`: some readers show, and some authorise, the first.
        if '"' not in name and "@" in _ENCODED_WORD.sub("", name):
            raise HeaderError("a display name with an address in it must be quoted")
    elif "<" in text:
        raise HeaderError("something follows the angle bracket")
    try:
        return Address.parse(text.strip(" \t"))
    except AddressError as error:
        raise HeaderError("an address is not a mailbox of RFC 5321") from error
