"""What an HTTP answer to SendRawEmail says: taken, refused, or nothing one can tell.

Knows the answer forms of API version 2010-12-01. Does not know what follows for the mail:
relay.policy.verdict does. No XML parser meets what the network sent; the three elements wanted
are found by pattern.
"""

from __future__ import annotations

import re
from typing import Final

from relay.mail.reply import printable
from relay.policy.verdict import Accepted, Answer, Broken, Refused, Stage
from relay.ses.http1 import Response

_MESSAGE_ID: Final = re.compile(rb"<MessageId>([^<]{1,1024})</MessageId>")
ID_SHAPE: Final = re.compile(r"[!-~]{1,256}")
_CODE: Final = re.compile(rb"<Code>\s*([A-Za-z0-9._:-]{1,128})\s*</Code>")
_MESSAGE: Final = re.compile(rb"<Message>([^<]*)</Message>", re.IGNORECASE)
# Before a request reaches the query protocol, AWS answers with the code as the name of the root.
_ROOT: Final = re.compile(rb"\s*(?:<\?[^>]*\?>\s*)?<([A-Za-z]{1,100}Exception)[\s/>]")
_TAG: Final = re.compile(r"<[^<>]*>")
_ENTITY: Final = re.compile(r"&(?:#(\d{1,7})|#x([0-9A-Fa-f]{1,6})|(amp|lt|gt|quot|apos));")
_NAMED: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_LAST_CHARACTER: Final = 0x10FFFF
# A foreign body (a proxy's page) is worth a line of log, not more.
FOREIGN_LIMIT: Final = 2048
MESSAGE_LIMIT: Final = 8192

SUCCESS: Final = range(200, 300)


def read(response: Response) -> Answer:
    """Return what SES answered.

    A success without a message id may mean that SES has the mail: that is no answer, not a refusal.
    """
    status, body = response.status, response.body
    if status in SUCCESS:
        found = _MESSAGE_ID.search(body)
        message_id = _text(found[1]).strip() if found else ""
        if not ID_SHAPE.fullmatch(message_id):
            return Broken(Stage.NO_ANSWER, f"HTTP {status} without a message id")
        return Accepted(message_id)
    return refusal(response)


def refusal(response: Response) -> Refused:
    """Return what an answer that is no success says."""
    status, body = response.status, response.body
    code = _CODE.search(body) or _ROOT.match(body)
    if code is None:
        words = _TAG.sub(" ", body[:FOREIGN_LIMIT].decode("ascii", "replace"))
        return Refused(status, "", printable(" ".join(words.split())) or "no explanation")
    message = _MESSAGE.search(body)
    text = _text(message[1][:MESSAGE_LIMIT]) if message else ""
    return Refused(status, code[1].decode("ascii"), " ".join(text.split()))


def _text(octets: bytes) -> str:
    """Return character data as text, entities resolved."""
    text = octets.decode("utf-8", "replace")
    return _ENTITY.sub(_character, text) if "&" in text else text


def _character(entity: re.Match[str]) -> str:
    decimal, hexadecimal, name = entity.groups()
    if name is not None:
        return _NAMED[name]
    code = int(decimal) if decimal is not None else int(hexadecimal, 16)
    return chr(code) if code <= _LAST_CHARACTER else "\N{REPLACEMENT CHARACTER}"
