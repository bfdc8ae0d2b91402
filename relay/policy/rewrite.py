"""What a sender's rewrite makes of a reverse-path or an author it may not use.

For clients nobody can configure: cron's null sender, `root` without a domain, a scanner that writes
as its own serial number. Knows header fields; does not know which addresses a sender may use.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from relay.mail.address import Address
from relay.mail.header import Field, FieldNames, HeaderBlock

_AUTHORS: Final = (b"from", b"sender")
# It vouches for the field that changes, and would only break (RFC 6376 section 5.4).
_SIGNATURE: Final = b"dkim-signature"
_SENDER: Final = FieldNames("sender", "dkim-signature")


class When(StrEnum):
    """When a rewrite takes place."""

    UNAUTHORISED = "unauthorised"
    """Only instead of a refusal: null, unqualified, unreadable, or not in the sender's `from`."""
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What takes the place of what the client gave; None or empty: nothing does.

    `author` is the value of a From field, in ASCII. With `keep_original` the client's From field
    goes on as X-Original-From.
    """

    when: When = When.UNAUTHORISED
    reverse_path: Address | None = None
    author: str = ""
    keep_original: bool = True

    @property
    def is_always(self) -> bool:
        """Whether what the client gave does not matter."""
        return self.when is When.ALWAYS


def with_author(header: HeaderBlock, rewrite: Rewrite) -> HeaderBlock:
    """Return the header with the rewrite's author alone: no Sender, and no DKIM signature."""
    return HeaderBlock.parse(b"".join(_with_author(header, rewrite)))


def without_sender(header: HeaderBlock) -> HeaderBlock:
    """Return the header less its Sender field, and less the DKIM signatures that may cover it."""
    return header.without(_SENDER)


def _with_author(header: HeaderBlock, rewrite: Rewrite) -> Iterator[bytes]:
    author = b"From: %b\r\n" % rewrite.author.encode("ascii")
    is_written = False
    for field in header.fields:
        if field.name == b"from" and not is_written:
            yield author
            is_written = True
        if field.name == b"from" and rewrite.keep_original:
            yield _original(header, field)
        elif field.name not in (*_AUTHORS, _SIGNATURE):
            yield header.octets[field.start : field.end]
    if not is_written:
        yield author


def _original(header: HeaderBlock, field: Field) -> bytes:
    """Return a From field under a name that claims nothing, its octets otherwise as they came."""
    octets = header.octets[field.start : field.end]
    return b"X-Original-From" + octets[octets.index(b":") :]
