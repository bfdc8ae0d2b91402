"""The body of a SendRawEmail call: what is asked of SES, as form octets.

Knows the wire form of API version 2010-12-01. Does not know endpoints, credentials or files.
"""

from __future__ import annotations

from binascii import b2a_base64
from typing import Final
from urllib.parse import quote_plus

from relay.ports import Consignment
from relay.ses.frame import Frame

CONTENT_TYPE: Final = "application/x-www-form-urlencoded; charset=utf-8"

_ACTION: Final = "Action=SendRawEmail&Version=2010-12-01"
# Most of what is quoted is ASCII, and a table is four times as fast as quote_plus.
_QUOTED: Final = {code: quote_plus(chr(code)) for code in range(128)}


def frame(consignment: Consignment) -> Frame:
    """Return the form up to where the encoded content follows; nothing follows that.

    The content comes last, so that a large one can be written as it is read. With the null
    reverse-path there is no Source, and SES takes the feedback address from the content; an empty
    ConfigurationSetName is an error to it.
    """
    route, reverse_path = consignment.route, consignment.mail.envelope.reverse_path
    parts = [_ACTION]
    if reverse_path is not None:
        parts.append(f"Source={_quote(str(reverse_path))}")
    parts += [
        f"Destinations.member.{number}={_quote(str(recipient))}"
        for number, recipient in enumerate(consignment.recipients, 1)
    ]
    for number, (name, value) in enumerate(consignment.tags, 1):
        parts.append(f"Tags.member.{number}.Name={_quote(name)}")
        parts.append(f"Tags.member.{number}.Value={_quote(value)}")
    if route.configuration_set:
        parts.append(f"ConfigurationSetName={_quote(route.configuration_set)}")
    if route.source_arn:
        parts.append(f"SourceArn={_quote(route.source_arn)}")
    if route.from_arn:
        parts.append(f"FromArn={_quote(route.from_arn)}")
    if route.return_path_arn:
        parts.append(f"ReturnPathArn={_quote(route.return_path_arn)}")
    parts.append("RawMessage.Data=")
    return Frame("&".join(parts).encode("ascii"), b"", encode)


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
