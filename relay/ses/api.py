"""The two ways in which SES takes a raw message, and which of them a call goes by.

v1 is SendRawEmail, which any role that may send is allowed and which ends at 10 MiB; v2 is
SendEmail with raw content, which takes 40 MB and knows tenants. Does not know their wire forms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from relay.policy.verdict import Answer
from relay.ports import Consignment
from relay.ses import answer, answer_v2, request, request_v2
from relay.ses.frame import Frame
from relay.ses.http1 import Response

V1_LIMIT: Final = 10_485_760
"""Octets of the largest message that v1 takes (SES Developer Guide, service quotas)."""


class Preference(StrEnum):
    """By which API an account's mail goes."""

    AUTO = "auto"
    """v1, but v2 for what v1 cannot do."""
    V1 = "v1"
    V2 = "v2"


@dataclass(frozen=True, slots=True)
class Api:
    """One way: what is posted where, and how the answer is read."""

    service: str
    """What the AWS SDK calls it, as in AWS_ENDPOINT_URL_SESV2."""
    path: str
    """What is appended to the path of the endpoint; nothing, where that is what is posted to."""
    content_type: str
    frame: Callable[[Consignment], Frame]
    read: Callable[[Response], Answer]
    method: str = "POST"


V1: Final = Api("ses", "", request.CONTENT_TYPE, request.frame, answer.read)
V2: Final = Api(
    "sesv2",
    "/v2/email/outbound-emails",
    request_v2.CONTENT_TYPE,
    request_v2.frame,
    answer_v2.read,
)


class Choice(NamedTuple):
    """Chooses the API of each call."""

    preference: Preference

    def of(self, consignment: Consignment) -> Api:
        """Return the way for this consignment; its size is what SES will count, trace included."""
        if self.preference is Preference.AUTO:
            is_beyond = consignment.mail.size > V1_LIMIT or consignment.route.needs_v2
            return V2 if is_beyond else V1
        return V2 if self.preference is Preference.V2 else V1
