"""What SES lets an account send: how it is asked, and how its answer is read.

By GetSendQuota of API v1 or GetAccount of v2. Knows both forms. Does not know when to ask.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from relay.policy.verdict import Broken, Refused
from relay.ports import SendQuota
from relay.ses import answer, answer_v2, request
from relay.ses.caller import Caller
from relay.ses.http1 import Response
from relay.ses.lines import Lines
from relay.ses.signer import Keys

_NUMBER: Final = re.compile(
    rb"<(Max24HourSend|MaxSendRate|SentLast24Hours)>\s*([0-9.eE+-]{1,32})\s*</"
)


class QuotaError(Exception):
    """SES did not say what the account may send. The message says why."""


@dataclass(frozen=True, slots=True)
class Question:
    """One way to ask; `service`, `path`, `content_type` and `method` as in relay.ses.api.Api."""

    service: str
    path: str
    method: str
    content_type: str
    body: bytes
    read: Callable[[Response], SendQuota | Refused]


def _read_v1(response: Response) -> SendQuota | Refused:
    if response.status not in answer.SUCCESS:
        return answer.refusal(response)
    return _quota({name.decode(): text.decode() for name, text in _NUMBER.findall(response.body)})


def _read_v2(response: Response) -> SendQuota | Refused:
    said = answer_v2.as_object(response.body)
    if response.status not in answer.SUCCESS:
        return answer_v2.refusal(response, said)
    found = said.get("SendQuota")
    return _quota(found if isinstance(found, dict) else {})


def _quota(said: dict[str, Any]) -> SendQuota:
    try:
        return SendQuota(
            rate=_unbounded(said["MaxSendRate"]),
            daily=_unbounded(said["Max24HourSend"]),
            used=_number(said["SentLast24Hours"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        raise QuotaError("SES answered, and not with a quota") from None


def _unbounded(text: Any) -> float:
    """Return the number, or infinity for SES's -1."""
    number = _number(text)
    return math.inf if number < 0 else number


def _number(text: Any) -> float:
    number = float(text)
    if math.isnan(number):
        raise ValueError("not a number")
    return number


V1: Final = Question(
    "ses", "", "POST", request.CONTENT_TYPE, b"Action=GetSendQuota&Version=2010-12-01", _read_v1
)
V2: Final = Question("sesv2", "/v2/email/account", "GET", "", b"", _read_v2)


async def ask(caller: Caller, lines: Lines, keys: Keys, question: Question) -> SendQuota:
    """Ask SES once, or twice where the first answer told that our clock is wrong.

    Raises QuotaError, or what the SDK raises where it cannot say where to ask.
    """
    line = await lines.to(question)
    body = question.body
    while True:
        offset = caller.offset
        said = await caller.call(
            line, keys, body, sha256(body).hexdigest(), len(body), question.read
        )
        match said:
            case SendQuota():
                return said
            case Broken():
                raise QuotaError(said.what)
            case Refused() if caller.offset == offset:
                raise QuotaError(f"{said.code or said.http_status}: {said.message}")
