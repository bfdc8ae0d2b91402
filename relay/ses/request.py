"""The body of a SendRawEmail call: what is asked of SES, as form octets.

Knows the wire form of API version 2010-12-01. Does not know endpoints, credentials or files.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote_plus

from relay.mail.address import Address

CONTENT_TYPE: Final = "application/x-www-form-urlencoded; charset=utf-8"
SLICE: Final = 3 * 64 * 1024
"""Octets of content encoded at a time: a multiple of 3, so that base64 pads only the last."""

_ACTION: Final = "Action=SendRawEmail&Version=2010-12-01"
# Most of what is quoted is ASCII, and a table is four times as fast as quote_plus.
_QUOTED: Final = {code: quote_plus(chr(code)) for code in range(128)}


def form_fields(
    source: Address | None,
    recipients: Sequence[Address],
    tags: Sequence[tuple[str, str]],
    configuration_set: str,
) -> bytes:
    """Return the form up to where the encoded content follows.

    The content comes last, so that a large one can be written as it is read. Without `source` SES
    takes the feedback address from the content; an empty ConfigurationSetName is an error to it.
    """
    parts = [_ACTION]
    if source is not None:
        parts.append(f"Source={_quote(str(source))}")
    parts += [
        f"Destinations.member.{number}={_quote(str(recipient))}"
        for number, recipient in enumerate(recipients, 1)
    ]
    for number, (name, value) in enumerate(tags, 1):
        parts.append(f"Tags.member.{number}.Name={_quote(name)}")
        parts.append(f"Tags.member.{number}.Value={_quote(value)}")
    if configuration_set:
        parts.append(f"ConfigurationSetName={_quote(configuration_set)}")
    parts.append("RawMessage.Data=")
    return "&".join(parts).encode("ascii")


def _quote(text: str) -> str:
    return text.translate(_QUOTED) if text.isascii() else quote_plus(text)


def encode(octets: bytes) -> bytes:
    """Return content in base64, percent-encoded.

    Of the alphabet of base64 only these three are not plain in a form, and they are rare in mail;
    quoting octet by octet would take forty times as long.
    """
    return (
        b2a_base64(octets, newline=False)
        .replace(b"+", b"%2B")
        .replace(b"/", b"%2F")
        .replace(b"=", b"%3D")
    )
