"""What an HTTP answer to SendEmail says: taken, refused, or nothing one can tell.

Knows the answer forms of the SES API v2. Does not know what follows for the mail:
relay.policy.verdict does.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from relay.mail.reply import printable
from relay.policy.verdict import Accepted, Answer, Broken, Refused, Stage
from relay.ses.answer import FOREIGN_LIMIT, ID_SHAPE, MESSAGE_LIMIT, SUCCESS
from relay.ses.http1 import Response

# `com.amazonaws.ses#BadRequestException:http://internal.amazon.com/...`: the middle is the code.
_CODE: Final = re.compile(r"(?:[^#:]{1,256}#)?([A-Za-z0-9._-]{1,128})(?::.*)?", re.DOTALL)
_TAG: Final = re.compile(r"<[^<>]*>")


def read(response: Response) -> Answer:
    """Return what SES answered.

    A success without a message id may mean that SES has the mail: that is no answer, not a refusal.
    """
    said = as_object(response.body)
    if response.status in SUCCESS:
        message_id = said.get("MessageId")
        if not isinstance(message_id, str) or not ID_SHAPE.fullmatch(message_id.strip()):
            return Broken(Stage.NO_ANSWER, f"HTTP {response.status} without a message id")
        return Accepted(message_id.strip())
    return refusal(response, said)


def refusal(response: Response, said: dict[str, Any]) -> Refused:
    """Return what an answer that is no success says; `said` is the object it has."""
    named = response.fields.get(b"x-amzn-errortype", b"").decode("latin-1").strip()
    for name in (named, said.get("__type"), said.get("code")):
        code = _CODE.fullmatch(name) if isinstance(name, str) else None
        if code is not None:
            message = said.get("message", said.get("Message", ""))
            text = message[:MESSAGE_LIMIT] if isinstance(message, str) else ""
            return Refused(response.status, code[1], " ".join(text.split()))
    words = _TAG.sub(" ", response.body[:FOREIGN_LIMIT].decode("ascii", "replace"))
    return Refused(response.status, "", printable(" ".join(words.split())) or "no explanation")


def as_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of an answer; an empty one where it has none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
