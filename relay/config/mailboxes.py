"""Mailboxes of the file: an address, and an author as a From field shows one.

As relay.config.names: each function returns the value, or raises ValueError with a sentence that
goes on from the text and does not repeat it. Does not know which addresses a sender may use.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.header import Header
from email.utils import formataddr
from typing import Final

from relay.mail.address import Address, AddressError
from relay.mail.header import HeaderError, mailboxes

# A line has at most 998 octets (RFC 5322 section 2.1.1), and the field's name is part of it.
_AUTHOR_LIMIT: Final = 900

_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE: Final = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Author:
    """Who a mail is from. `field` is the value of the From field, in ASCII."""

    written: str
    address: Address
    field: str

    def __str__(self) -> str:
        return self.written


def address(text: str) -> Address:
    """Read an address that mail can be sent to and from."""
    try:
        found = Address.parse(text)
    except AddressError:
        raise ValueError("is not a mail address, such as user@example.com") from None
    if found.domain.startswith("["):
        raise ValueError("has no domain name: Amazon SES sends to and from domain names only")
    return found


def author(text: str) -> Author:
    """Read `scanner@example.com` or `Scanner <scanner@example.com>`.

    As strictly as a client's From header, so that what stands here is never refused there. A name
    beyond ASCII is encoded (RFC 2047), in words of at most the 75 characters that one may have.
    """
    found = _only_mailbox(text.encode())
    address(str(found))
    field = text.strip()
    if not text.isascii():
        field = formataddr((_encoded(text.rpartition("<")[0].strip()), str(found)))
        # Whoever decodes the name first must not find an address in it.
        _only_mailbox(field.encode())
    if len(field) > _AUTHOR_LIMIT:
        raise ValueError(f"is too long for a From header: {_AUTHOR_LIMIT} octets, encoded, at most")
    return Author(text, found, field)


def _only_mailbox(value: bytes) -> Address:
    try:
        found = mailboxes(value)
    except HeaderError as error:
        raise ValueError(
            f"is not an author, such as Scanner <scanner@example.com>: {error}"
        ) from None
    if len(found) != 1:
        raise ValueError("names several authors: write one")
    return found[0]


def _encoded(name: str) -> str:
    """Return a display name as encoded words, all on one line."""
    bare = _QUOTED.sub(lambda quoted: _ESCAPE.sub(r"\1", quoted[1]), name)
    # Not formataddr's own encoding: that makes one word of any length.
    return " ".join(Header(bare, "utf-8", maxlinelen=75).encode().split())
