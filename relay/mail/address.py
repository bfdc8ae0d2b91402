"""The mailbox of RFC 5321: what may stand between `<` and `>`.

Knows the grammar and nothing else: no SMTP dialogue, no policy, no DNS.
"""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum
from typing import Final, NamedTuple, Self

# RFC 5321 section 4.5.3.1: octets.
LOCAL_PART_LIMIT: Final = 64
DOMAIN_LIMIT: Final = 255
PATH_LIMIT: Final = 256  # with its angle brackets

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_DOT_STRING = rf"{_ATEXT}+(?:\.{_ATEXT}+)*"
_QUOTED_STRING = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# A trailing dot is not in the grammar; an underscore is not either, but hosts have them and SES
# takes them no more than we do.
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_LITERAL = r"\[[!-Z^-~]+\]"

_MAILBOX: Final = re.compile(
    rf"(?P<local>{_DOT_STRING}|{_QUOTED_STRING})@(?P<domain>{_DOMAIN}|{_LITERAL})"
)
_DOT_STRING_ONLY: Final = re.compile(_DOT_STRING)
_LOCAL_PART: Final = re.compile(f"{_DOT_STRING}|{_QUOTED_STRING}")
_ESCAPE: Final = re.compile(r"\\(.)")
_MUST_ESCAPE: Final = re.compile(r'(["\\])')


class AddressFault(StrEnum):
    """Why a text is not a mailbox; each has its own enhanced status at the SMTP border."""

    SYNTAX = "syntax"
    NON_ASCII = "non-ascii"
    TOO_LONG = "too-long"
    UNQUALIFIED = "unqualified"
    """A local part alone, such as `root`: whose, only the host it comes from knows."""


class AddressError(ValueError):
    """A text that is not a mailbox. `fault` says why; the text itself is never repeated."""

    def __init__(self, fault: AddressFault) -> None:
        super().__init__(f"not a mailbox: {fault}")
        self.fault = fault


class Address(NamedTuple):
    r"""One mailbox, unquoted and with its domain in lower case.

    `"a b"@Example.COM` and `"a\ b"@example.com` are the same mailbox (RFC 5321 section 4.1.2), so
    they are equal here. The local part keeps its case: only the final host may fold it (2.4).
    """

    local_part: str
    domain: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a mailbox as RFC 5321 section 4.1.2 writes it; raise AddressError otherwise.

        No comments, no source routes, no encoded words: what a lenient reader would repair is
        how one sender writes as another.
        """
        if not text.isascii():
            raise AddressError(AddressFault.NON_ASCII)
        if len(text) > PATH_LIMIT - 2:
            raise AddressError(AddressFault.TOO_LONG)
        match = _MAILBOX.fullmatch(text)
        if match is None and _LOCAL_PART.fullmatch(text):
            raise AddressError(AddressFault.UNQUALIFIED)
        # What looks like an encoded word (RFC 2047) is legal atext, but a reader behind us that
        # decodes it would see another address.
        if match is None or ("=?" in text and "?=" in text):
            raise AddressError(AddressFault.SYNTAX)
        local_part, domain = match.groups()
        if len(local_part) > LOCAL_PART_LIMIT or len(domain) > DOMAIN_LIMIT:
            raise AddressError(AddressFault.TOO_LONG)
        if local_part[0] == '"':
            local_part = _ESCAPE.sub(r"\1", local_part[1:-1])
            if not local_part:
                raise AddressError(AddressFault.SYNTAX)
        if domain[0] == "[" and not _is_address_literal(domain[1:-1]):
            raise AddressError(AddressFault.SYNTAX)
        return cls(local_part, domain.lower())

    def __str__(self) -> str:
        """Return the mailbox as it goes on the wire, quoted only where it must be."""
        local_part = self.local_part
        # Most are plain words, and that is found out faster.
        if local_part.isalnum() or _DOT_STRING_ONLY.fullmatch(local_part):
            return f"{local_part}@{self.domain}"
        quoted = _MUST_ESCAPE.sub(r"\\\1", self.local_part)
        return f'"{quoted}"@{self.domain}'

    @property
    def folded(self) -> str:
        """The mailbox with its local part in lower case too.

        SES ignores case when it compares addresses (suppression list, identities), so lookups
        that must agree with SES use this; no plus- or dot-folding, which only some hosts do.
        """
        return str(self).lower()


def _is_address_literal(text: str) -> bool:
    """Whether `text` is an IPv4 or tagged IPv6 literal (RFC 5321 section 4.1.3)."""
    try:
        if text[:5].lower() == "ipv6:":
            return "%" not in text and bool(ipaddress.IPv6Address(text[5:]))
        return bool(ipaddress.IPv4Address(text))
    except ValueError:
        return False
