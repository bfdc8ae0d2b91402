"""The header block of RFC 5322, read and trimmed as octets; the body is never looked at.

Knows fields, folding and mailboxes in From-like fields. Does not know which fields policy removes,
and never re-serialises a field it keeps.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from relay.mail.address import Address, AddressError

# One field with its folded lines (RFC 5322 section 2.2.3). Optional space before the colon is
# obsolete syntax (4.5) that receivers still read as the same field, so we must too.
_NAME: Final = rb"[!-9;-~]++"
_BODY: Final = rb"[^\r\n]*+(?:\r\n[ \t][^\r\n]*+)*"
_FIELD: Final = re.compile(rb"(%b)[ \t]*+:(%b)\r\n" % (_NAME, _BODY))
_BLOCK: Final = re.compile(rb"(?:%b[ \t]*+:%b\r\n)*" % (_NAME, _BODY))
# A From field is a few hundred octets. Each is looked at by itself below, so 256 KiB of them would
# hold up every other session for 0.1 s.
_LIST_LIMIT: Final = 4096
# What most authors are: an address, alone or in brackets behind a name of plain words.
_PLAIN_ADDRESS: Final = rb"""([^][()<>:;,"\\\x00- \x7f-\xff]++)"""
_PLAIN: Final = re.compile(rb"[A-Za-z0-9 ]*+<%b>|%b" % (_PLAIN_ADDRESS, _PLAIN_ADDRESS))
_CRLF: Final = b"\r\n"
_ENCODED_WORD: Final = re.compile(r"=\?([^?\s*]+)(?:\*[^?\s]*)?\?([BQbq])\?([^?\s]*)\?=")
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
# What makes an address, ends a field, or is no part of a name.
_MARKS: Final = re.compile(r"[@<>\\\x00-\x08\x0a-\x1f\x7f]")
_QUOTE_MARKS: Final = re.compile(r'["@<>\\\x00-\x08\x0a-\x1f\x7f]')
# Longer than any client writes, and little enough to keep beside every mail.
_MESSAGE_ID_LIMIT: Final = 250


class HeaderError(ValueError):
    """A header block that cannot be read without guessing. The message is ours, safe to show."""


class Field(NamedTuple):
    """One header field: its name in lower case, its unfolded value, and where it stands."""

    name: bytes
    value: bytes
    start: int
    end: int


class FieldNames:
    """Names of fields, in any case, that are looked for in one pass over a header.

    Each is written in lower case; one that ends with `*` stands for all that begin so.
    """

    def __init__(self, *names: str) -> None:
        alternatives = b"|".join(
            re.escape(name.removesuffix("*").encode("ascii")) + rb"[!-9;-~]*+" * name.endswith("*")
            for name in names
        )
        # Begins with the line end of the field before, for which all of a header can be searched
        # quickly, and leaves its own to the field behind.
        self.pattern: Final = re.compile(
            rb"\n(%b)[ \t]*+:(%b)(?=\r\n)" % (alternatives, _BODY), re.IGNORECASE
        )


_MESSAGE_ID: Final = FieldNames("message-id")


@dataclass(frozen=True, slots=True)
class HeaderBlock:
    """All fields of a message, in order.

    `octets` ends with the CRLF of the last field; the empty line that follows is not part of it.
    """

    octets: bytes

    @classmethod
    def parse(cls, octets: bytes) -> HeaderBlock:
        """Take a block of CRLF-terminated fields; raise HeaderError where a line is no field.

        An mbox `From ` line, or a line with a space in its name, would hide the fields behind it
        from policy while SES might still read them, so nothing is skipped.
        """
        if _BLOCK.fullmatch(octets) is None:
            raise HeaderError("a line of the header is not a header field")
        return cls(octets)

    @property
    def fields(self) -> tuple[Field, ...]:
        """All fields; most of a mail's are nobody's business, see `among`."""
        return tuple(_field(match, 0) for match in _FIELD.finditer(self.octets))

    def among(self, names: FieldNames) -> list[Field]:
        """Return the fields that have one of these names, in order."""
        found = names.pattern.finditer(b"\n" + self.octets)
        return [_field(match, -1) for match in found]

    @property
    def message_id(self) -> str:
        """The Message-ID as `message_id` returns it; empty without one. Of several, the first."""
        for field in self.among(_MESSAGE_ID):
            return message_id(field.value.decode("ascii", "replace"))
        return ""

    def named(self, name: bytes) -> Iterator[Field]:
        """Yield the fields of that (lower-case) name."""
        return (field for field in self.fields if field.name == name)

    def without(self, names: FieldNames) -> HeaderBlock:
        """Return a block less the fields that have one of these names; no other changes."""
        kept, at = [], 0
        for field in self.among(names):
            kept.append(self.octets[at : field.start])
            at = field.end
        return HeaderBlock(b"".join((*kept, self.octets[at:])))


def _field(match: re.Match[bytes], shift: int) -> Field:
    name, value = match.groups()
    start, end = match.span()
    if shift:
        # The line end before it was matched and its own was not.
        start, end = start + 1 + shift, end + len(_CRLF) + shift
    return Field(name.lower(), value.replace(_CRLF, b"").strip(), start, end)


def message_id(text: str) -> str:
    """Return a Message-ID (RFC 5322 section 3.6.4) as mail is found by it: without its brackets.

    What is none by the grammar is kept as well, for clients write what they like; but not all of a
    very long one.
    """
    return text.strip().removeprefix("<").removesuffix(">")[:_MESSAGE_ID_LIMIT]


def mailboxes(value: bytes) -> tuple[Address, ...]:
    """Return every mailbox of an address list such as the value of From or Sender.

    Strict on purpose: display names are skipped, but where the list could be read in two ways it is
    refused with HeaderError, because SES's reading might not be ours. Comments, groups and route
    addresses are such cases; so is what would be an address once an encoded word is decoded.
    """
    if len(value) > _LIST_LIMIT:
        raise HeaderError("the address list is too long")
    return _remembered(value) if len(value) <= _REMEMBERED_LENGTH else _read(value)


def _read(value: bytes) -> tuple[Address, ...]:
    plain = _PLAIN.fullmatch(value)
    if plain is not None:
        return (_address((plain[1] or plain[2]).decode("ascii")),)
    try:
        text = value.decode("ascii")
    except UnicodeDecodeError:
        # Raw 8-bit display names exist in the wild; addresses beside them must still be ASCII.
        text = value.decode("latin-1")
    found = tuple(_mailbox(item) for item in _split(text))
    if not found:
        raise HeaderError("the address list is empty")
    return found


# An application writes as few authors, again and again.
_remembered: Final = lru_cache(maxsize=512)(_read)
_REMEMBERED_LENGTH: Final = 256


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
    return _address(text.strip(" \t"))


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
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
