"""The header block of RFC 5322, read and trimmed as octets; the body is never looked at.

Knows fields, folding and mailboxes in From-like fields. Does not know which fields policy removes,
and never re-serialises a field it keeps.
"""

from __future__ import annotations

import binascii
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
_LIST_LIMIT: Final = 4096
_ENCODED_WORD: Final = re.compile(r"=\?([^?\s*]+)(?:\*[^?\s]*)?\?([BQbq])\?([^?\s]*)\?=")
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
# What makes an address, ends a field, or is no part of a name.
_MARKS: Final = re.compile(r"[@<>\\\x00-\x08\x0a-\x1f\x7f]")
_QUOTE_MARKS: Final = re.compile(r'["@<>\\\x00-\x08\x0a-\x1f\x7f]')


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
    addresses are such cases; so is what would be an address once an encoded word is decoded.
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
        _check_name(name)
    elif "<" in text:
        raise HeaderError("something follows the angle bracket")
    try:
        return Address.parse(text.strip(" \t"))
    except AddressError as error:
        raise HeaderError("an address is not a mailbox of RFC 5321") from error


def _check_name(name: str) -> None:
    """Refuse a display name in which some reader could find an address before the real one.

    Quoted strings may hold anything, but nothing of an address may be glued to them or stand
    outside: `a@b "" <c@d>` and `"a"@b <c@d>` are a@b to many readers. An encoded word must not
    decode to the marks that make addresses, for there are readers that decode first.
    """
    for quoted in _QUOTED.findall(name):
        # Decoded first, an encoded quotation mark would end the string early.
        if any(_QUOTE_MARKS.search(_decoded(*word)) for word in _ENCODED_WORD.findall(quoted)):
            raise HeaderError("an encoded display name hides an address")
        if "=?" in _ENCODED_WORD.sub(" ", quoted):
            raise HeaderError("an encoded display name is cut short")
    bare = _QUOTED.sub(" ", name)
    for word in _ENCODED_WORD.findall(bare):
        decoded = _decoded(*word)
        if _MARKS.search(decoded) or decoded.count('"') % 2:
            raise HeaderError("an encoded display name hides an address")
    bare = _ENCODED_WORD.sub(" ", bare)
    if _MARKS.search(bare) or '"' in bare or "=?" in bare:
        raise HeaderError("a display name with an address in it must be quoted")


def _decoded(charset: str, encoding: str, text: str) -> str:
    """Return what an encoded word (RFC 2047) may be read as; every mark where it is unreadable."""
    try:
        if encoding in "bB":
            octets = binascii.a2b_base64(text)
        else:
            octets = binascii.a2b_qp(text.replace("_", " "))
        return octets.decode(charset)
    except (binascii.Error, LookupError, ValueError):
        return "@"
