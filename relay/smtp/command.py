"""The arguments of MAIL, RCPT and BDAT, read strictly (RFC 5321 section 4.1.1, extensions).

Knows the grammar. Does not know who may send or where; a text goes in, a value or a reply comes
out, and the text is never repeated in the reply.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from relay.mail.address import Address, AddressError, AddressFault
from relay.mail.reply import Refusal, Reply
from relay.policy.admission import refuse_address
from relay.smtp.replies import (
    BAD_PARAMETER,
    BDAT_SYNTAX,
    MAIL_SYNTAX,
    RCPT_SYNTAX,
    UNKNOWN_PARAMETER,
)

# What stands between the angle brackets is Address.parse's to judge; here a bracket within a
# quoted string must merely not end the path. Space after the colon is not in the grammar, but
# printers and scanners send it.
_PATH: Final = r'[ \t]*+<((?:[^<>"]++|"(?:[^"\\]|\\.)*+")*+)>(?:[ \t]+(.*))?'
_FROM: Final = re.compile("(?i:FROM:)" + _PATH)
_TO: Final = re.compile("(?i:TO:)" + _PATH)

# RFC 3030 section 2. The size is read first: whatever follows it, so many octets are content.
_CHUNK: Final = re.compile(r"([0-9]{1,19})(?:[ \t]+(.*))?", re.DOTALL)

_SPACE: Final = re.compile(r"[ \t]+")
_PARAMETER: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?")

# RFC 3461 section 4.
_XTEXT: Final = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})"


def _values(**patterns: str) -> Mapping[str, re.Pattern[str]]:
    return {key: re.compile(value, re.IGNORECASE) for key, value in patterns.items()}


# The DSN parameters (RFC 3461) and AUTH= (RFC 4954 section 5) are read and then ignored: old
# clients send them without asking, and refusing would lose their mail.
_MAIL_PARAMETERS: Final = _values(
    SIZE="[0-9]{1,20}",  # RFC 1870
    BODY="7BIT|8BITMIME",  # RFC 6152
    AUTH=rf"{_XTEXT}{{1,500}}",
    RET="FULL|HDRS",
    ENVID=rf"{_XTEXT}{{1,100}}",
)
# RFC 3030: known, but an extension we do not offer.
_BINARY: Final = "BINARYMIME"
_NOTIFY: Final = "(?:SUCCESS|FAILURE|DELAY)"
_RCPT_PARAMETERS: Final = _values(
    NOTIFY=rf"NEVER|{_NOTIFY}(?:,{_NOTIFY})*",
    ORCPT=rf"[A-Z0-9-]+;{_XTEXT}{{1,500}}",
)


class ChunkCommand(NamedTuple):
    """What BDAT said. Unless it `is_valid`, its octets follow all the same."""

    size: int
    is_last: bool
    is_valid: bool = True


class MailCommand(NamedTuple):
    """What MAIL said: None for `<>`, a fault for what is no mailbox.

    `size` is the announced size in octets, 0 when none was announced.
    """

    reverse_path: Address | AddressFault | None
    size: int


# An application writes from few addresses, again and again.
@lru_cache(maxsize=512)
def parse_mail(argument: str) -> MailCommand | Reply:
    """Read what follows `MAIL `; a Reply speaks of the syntax around the address."""
    match = _FROM.fullmatch(argument)
    if match is None:
        return MAIL_SYNTAX
    path, parameters = match.groups()
    size = 0
    if parameters:
        given = _read_parameters(parameters, _MAIL_PARAMETERS)
        if isinstance(given, Reply):
            return given
        size = int(given.get("SIZE", "0"))
    if not path:
        return MailCommand(None, size)
    try:
        return MailCommand(Address.parse(path), size)
    except AddressError as error:
        return MailCommand(error.fault, size)


def parse_rcpt(argument: str) -> Address | Refusal | Reply:
    """Read what follows `RCPT `: a Refusal speaks of the address, a Reply of the syntax."""
    match = _TO.fullmatch(argument)
    if match is None:
        return RCPT_SYNTAX
    path, parameters = match.groups()
    if parameters:
        given = _read_parameters(parameters, _RCPT_PARAMETERS)
        if isinstance(given, Reply):
            return given
    try:
        return Address.parse(path)
    except AddressError as error:
        return refuse_address(error.fault, reverse_path=False)


def parse_bdat(argument: str) -> ChunkCommand | Reply:
    """Read what follows `BDAT `; a Reply says that nobody knows how many octets follow."""
    match = _CHUNK.fullmatch(argument)
    if match is None:
        return BDAT_SYNTAX
    size, word = int(match[1]), (match[2] or "").upper()
    return ChunkCommand(size, word == "LAST", word in ("", "LAST"))


def _read_parameters(text: str, known: Mapping[str, re.Pattern[str]]) -> dict[str, str] | Reply:
    """Read `KEY=value KEY=value`; every key must be known, be given once and have its value."""
    given: dict[str, str] = {}
    for item in _SPACE.split(text):
        match = _PARAMETER.fullmatch(item)
        if match is None:
            return BAD_PARAMETER
        key, value = match[1].upper(), match[2]
        pattern = known.get(key)
        if pattern is None or (key == "BODY" and value and value.upper() == _BINARY):
            return UNKNOWN_PARAMETER
        if key in given or value is None or pattern.fullmatch(value) is None:
            return BAD_PARAMETER
        given[key] = value
    return given
