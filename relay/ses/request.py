"""The body of a SendRawEmail call: what is asked of SES, as form octets.

Knows the wire form of API version 2010-12-01. Does not know endpoints, credentials or files.
"""

from __future__ import annotations

from binascii import b2a_base64
from functools import lru_cache
from typing import Final
from urllib.parse import quote_plus

from relay.mail.address import Address
from relay.policy.sender import Route
from relay.ports import Consignment
from relay.ses.frame import Frame

CONTENT_TYPE: Final = "application/x-www-form-urlencoded; charset=utf-8"

_ACTION: Final = "Action=SendRawEmail&Version=2010-12-01"
_ONLY: Final = "&Destinations.member.1="
# Most of what is quoted is ASCII, and a table is four times as fast as quote_plus.
_QUOTED: Final = {code: quote_plus(chr(code)) for code in range(128)}


def frame(consignment: Consignment) -> Frame:
    """Return the form up to where the encoded content follows; nothing follows that.

    The content comes last, so that a large one can be written as it is read. With the null
    reverse-path there is no Source, and SES takes the feedback address from the content; an empty
    ConfigurationSetName is an error to it.
    """
    tags, recipients = consignment.tags, consignment.recipients
    parts = [_beginning(consignment.mail.envelope.reverse_path)]
    if len(recipients) == 1:
        parts += (_ONLY, _quote(str(recipients[0])))
    else:
        parts += [
            f"&Destinations.member.{number}={_quote(str(recipient))}"
            for number, recipient in enumerate(recipients, 1)
        ]
    if tags:
        name, value = tags[0]
        parts += (_name(1, name), _quote(value))
    parts.append(_rest(tags[1:], consignment.route))
    return Frame("".join(parts).encode("ascii"), b"", encode)


# Most of a form is the same in all mail of a sender: the first tag names the mail, the others what
# it belongs to.


@lru_cache(maxsize=1024)
def _beginning(reverse_path: Address | None) -> str:
    return _ACTION if reverse_path is None else f"{_ACTION}&Source={_quote(str(reverse_path))}"


@lru_cache(maxsize=1024)
def _rest(tags: tuple[tuple[str, str], ...], route: Route) -> str:
    parts = [_name(number, name) + _quote(value) for number, (name, value) in enumerate(tags, 2)]
    parts += [
        f"&{name}={_quote(value)}"
        for name, value in (
            ("ConfigurationSetName", route.configuration_set),
            ("SourceArn", route.source_arn),
            ("FromArn", route.from_arn),
            ("ReturnPathArn", route.return_path_arn),
        )
        if value
    ]
    parts.append("&RawMessage.Data=")
    return "".join(parts)


@lru_cache(maxsize=1024)
def _name(number: int, name: str) -> str:
    """Return a tag up to where its value follows."""
    return f"&Tags.member.{number}.Name={_quote(name)}&Tags.member.{number}.Value="


def _quote(text: str) -> str:
    if text.isalnum() and text.isascii():
        return text
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
