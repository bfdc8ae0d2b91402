"""Mailboxes as SES reads them, with SES's complaints.

Deliberately not the parser of the relay: two readings of the same text find each other's mistakes.
The texts are those that SES's InvalidParameterValue errors carry in the field.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# A quoted string, a comment, an angle address, a separator, or anything between.
_PIECE: Final = re.compile(
    r'"(?:[^"\\]|\\.)*"|\((?:[^()\\]|\\.)*\)|<[^<>]*>|[,:;]|[^",:;()<>]+|.', re.DOTALL
)
_SPECIALS: Final = frozenset('()<>,;:\\"[]')
_DOMAIN_CHARACTERS: Final = re.compile(r"[A-Za-z0-9.-]*")
_QUOTED_LOCAL_PART: Final = re.compile(r'("(?:[^"\\]|\\.)*")(?=@|$)')
_SPACE, _DELETE = 0x20, 0x7F


class AddressError(ValueError):
    """A text that SES does not take for an address; the message is SES's own."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One address, without its display name."""

    local_part: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local_part}@{self.domain}"

    @property
    def unlabelled(self) -> Mailbox:
        """The mailbox without its `+label`."""
        return Mailbox(self.local_part.partition("+")[0], self.domain)


def parse_mailbox(text: str) -> Mailbox:
    """The one mailbox in a parameter such as Source; a display name may stand before it."""
    mailboxes = parse_mailboxes(text)
    if not mailboxes:
        raise AddressError("Missing final '@domain'")
    if len(mailboxes) > 1:
        raise AddressError("Illegal address")
    return mailboxes[0]


def parse_mailboxes(text: str) -> tuple[Mailbox, ...]:
    """The mailboxes of a header, groups opened, empty places skipped."""
    return tuple(_mailbox(pieces) for pieces in _split(_PIECE.findall(text)))


def _split(pieces: list[str]) -> list[list[str]]:
    """The pieces of each address, between commas and without the names of groups."""
    found: list[list[str]] = []
    current: list[str] = []
    in_group = False
    for position, piece in enumerate(pieces):
        if piece == "," or (piece == ";" and in_group):
            found.append(current)
            current = []
            in_group = in_group and piece == ","
        elif piece == ":" and ";" in pieces[position:]:
            current = []
            in_group = True
        else:
            current.append(piece)
    found.append(current)
    return [kept for pieces in found if (kept := _without_comments(pieces))]


def _without_comments(pieces: list[str]) -> list[str]:
    kept = [piece for piece in pieces if not (piece.startswith("(") and piece.endswith(")"))]
    return kept if "".join(kept).strip() else []


def _mailbox(pieces: list[str]) -> Mailbox:
    angles = [piece for piece in pieces if piece.startswith("<")]
    if not angles:
        return _checked("".join(pieces).strip())
    if angles == ["<"] or len(angles[0]) == 1:
        raise AddressError("Invalid email address")
    if len(angles) > 1 or "".join(pieces[pieces.index(angles[0]) + 1 :]).strip():
        raise AddressError("Extra route-addr")
    if any(piece in {":", ";"} for piece in pieces):
        # A colon in an unquoted display name ("DEBUG: Bob <bob@...>").
        raise AddressError("Local address contains illegal character")
    return _checked(angles[0][1:-1].strip())


def _checked(address: str) -> Mailbox:
    """The mailbox, when SES takes it; the checks run in the order SES complains in."""
    if quoted := _QUOTED_LOCAL_PART.match(address):
        local_part, rest = quoted.group(1), address[quoted.end() :]
        at, domain = rest[:1], rest[1:]
    else:
        local_part, at, domain = address.partition("@")
        _check_local_part(local_part)
    if not at:
        raise AddressError("Missing final '@domain'")
    if not local_part:
        raise AddressError("Missing local name")
    _check_domain(domain)
    return Mailbox(local_part, domain)


def _check_local_part(local_part: str) -> None:
    for character in local_part:
        if not _SPACE < ord(character) < _DELETE:
            raise AddressError("Local address contains control or whitespace")
        if character in _SPECIALS:
            raise AddressError("Local address contains illegal character")
    _check_dots(local_part, "Local address")


def _check_domain(domain: str) -> None:
    if not domain:
        raise AddressError("Missing domain")
    if any(ord(character) <= _SPACE or ord(character) == _DELETE for character in domain):
        raise AddressError("Domain contains control or whitespace")
    if not _DOMAIN_CHARACTERS.fullmatch(domain):
        raise AddressError("Domain contains illegal character")
    _check_dots(domain, "Domain")


def _check_dots(text: str, part: str) -> None:
    if text.startswith("."):
        raise AddressError(f"{part} starts with dot")
    if ".." in text:
        raise AddressError(f"{part} contains dot-dot")
    if text.endswith("."):
        raise AddressError(f"{part} ends with dot")
