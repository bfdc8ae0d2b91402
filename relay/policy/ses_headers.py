"""Which X-SES-* fields of a sender's mail are heeded, and what its mail asks by them.

Knows the rule of one sender. Does not know what SES makes of it, nor how it is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.mail.header import FieldNames, HeaderBlock
from relay.mail.ses_headers import (
    MESSAGE_TAGS,
    NOTHING_ASKED,
    RESERVED_TAGS,
    TAGS_LIMIT,
    SesHeaderError,
    SesHeaders,
)


@dataclass(frozen=True, slots=True)
class HeededHeaders:
    """The fields by which a sender may choose how its mail leaves, as SES_HEADERS writes them."""

    names: tuple[str, ...]
    _wanted: FieldNames = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_wanted", FieldNames(*(name.lower() for name in self.names)))

    def read(self, header: HeaderBlock, tags: tuple[tuple[str, str], ...]) -> SesHeaders:
        """Return what a header asks for; raise SesHeaderError where that cannot be read.

        `tags` are those the configuration gives the sender's mail: together with them and the
        relay's own there must not be too many.
        """
        found = header.among(self._wanted)
        if not found:
            return NOTHING_ASKED
        fields = []
        for name, value, _, _ in found:
            if not value.isascii():
                raise SesHeaderError(f"{name.decode().upper()} has characters beyond ASCII")
            fields.append((name.decode().upper(), value.decode("ascii")))
        asked = SesHeaders.read(fields)
        count = len(RESERVED_TAGS) + len(merged(tags, asked.tags))
        if count > TAGS_LIMIT:
            raise SesHeaderError(
                f"{MESSAGE_TAGS}: with those of the relay there are {count} tags, and "
                f"{TAGS_LIMIT} at most are possible"
            )
        return asked


def merged(
    configured: tuple[tuple[str, str], ...], asked: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    """Return the tags of a mail: those configured, unless the mail has its own of that name."""
    if not asked:
        return configured
    return tuple((dict(configured) | dict(asked)).items())
