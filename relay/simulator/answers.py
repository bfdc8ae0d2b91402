"""The XML that the v1 query APIs of SES and SNS answer with.

Renders; decides nothing. The shapes are those of the SES and SNS API References.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from xml.sax import saxutils

if TYPE_CHECKING:
    from relay.simulator.errors import ApiError

SES_NAMESPACE: Final = "http://ses.amazonaws.com/doc/2010-12-01/"
SNS_NAMESPACE: Final = "http://sns.amazonaws.com/doc/2010-03-31/"

# What XML 1.0 has no way to write.
_UNWRITABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body of one answer."""

    status: int
    body: str


@dataclass(frozen=True, slots=True)
class SendQuota:
    """What GetSendQuota reports."""

    max_24_hour_send: float
    max_send_rate: float
    sent_last_24_hours: float


def sent(message_id: str, request_id: str) -> Answer:
    """SES has taken the message."""
    return _result(
        "SendRawEmail", f"<MessageId>{_escaped(message_id)}</MessageId>", SES_NAMESPACE, request_id
    )


def send_quota(quota: SendQuota, request_id: str) -> Answer:
    """The account's allowances."""
    body = (
        f"<Max24HourSend>{float(quota.max_24_hour_send)}</Max24HourSend>"
        f"<MaxSendRate>{float(quota.max_send_rate)}</MaxSendRate>"
        f"<SentLast24Hours>{float(quota.sent_last_24_hours)}</SentLast24Hours>"
    )
    return _result("GetSendQuota", body, SES_NAMESPACE, request_id)


def confirmed(subscription_arn: str, request_id: str) -> Answer:
    """SNS has confirmed the subscription."""
    body = f"<SubscriptionArn>{_escaped(subscription_arn)}</SubscriptionArn>"
    return _result("ConfirmSubscription", body, SNS_NAMESPACE, request_id)


def error(error: ApiError, namespace: str, request_id: str) -> Answer:
    """The call is refused."""
    return Answer(
        error.status,
        f'<ErrorResponse xmlns="{namespace}">'
        f"<Error><Type>{error.at_fault}</Type><Code>{_escaped(error.code)}</Code>"
        f"<Message>{_escaped(error.text)}</Message></Error>"
        f"<RequestId>{request_id}</RequestId></ErrorResponse>",
    )


def _result(action: str, body: str, namespace: str, request_id: str) -> Answer:
    return Answer(
        200,
        f'<{action}Response xmlns="{namespace}"><{action}Result>{body}</{action}Result>'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        f"</{action}Response>",
    )


def _escaped(text: str) -> str:
    return saxutils.escape(_UNWRITABLE.sub("?", text))
