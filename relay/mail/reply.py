"""SMTP replies as values. Knows the syntax of RFC 5321 section 4.2; not who is answered."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

# RFC 5321 section 4.5.3.1.5: a reply line has at most 512 octets, code and CRLF included.
_TEXT_LIMIT: Final = 480
_UNPRINTABLE: Final = re.compile(r"[^ -~]+")


def printable(text: str) -> str:
    """Make foreign text (SES's, never the client's own) fit to stand in a reply or a log line."""
    return _UNPRINTABLE.sub(" ", text).strip()[:_TEXT_LIMIT]


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply line: code, enhanced status (RFC 3463; empty where none belongs), text."""

    code: int
    status: str
    text: str
    line: bytes = field(init=False, repr=False, compare=False)
    """The line as it goes on the wire."""

    def __post_init__(self) -> None:
        # RFC 3463 section 3: the class of the status is the first digit of the code.
        if self.status and self.status[0] != str(self.code)[0]:
            raise ValueError(f"{self.code} cannot carry status {self.status}")
        if _UNPRINTABLE.search(self.text) or len(self.text) > _TEXT_LIMIT:
            raise ValueError("a reply is one line of printable ASCII")
        status = f"{self.status} " if self.status else ""
        object.__setattr__(self, "line", f"{self.code} {status}{self.text}\r\n".encode("ascii"))

    def __str__(self) -> str:
        return self.line[:-2].decode("ascii")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reply that says no, and the reason by which refusals are counted.

    `reason` is one of a closed set (relay.policy.admission), never text from a client.
    """

    reply: Reply
    reason: str
