"""The JSON that the SES API v2 answers with, and what it calls the errors of v1.

Renders; decides nothing. The shapes are those of the SES API v2 Reference.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from relay.simulator.errors import ApiError
from relay.simulator.settings import Sending

if TYPE_CHECKING:
    from relay.simulator.answers import SendQuota
    from relay.simulator.settings import Settings

ERROR_TYPE: Final = "x-amzn-ErrorType"

# SES API v2 Reference, SendEmail, errors; and "common errors" as JSON services spell them.
_NAMES: Final = {
    "InvalidParameterValue": ("BadRequestException", 400),
    "ValidationError": ("BadRequestException", 400),
    "ConfigurationSetDoesNotExist": ("NotFoundException", 404),
    "ConfigurationSetSendingPausedException": ("SendingPausedException", 400),
    "AccountSendingPausedException": ("SendingPausedException", 400),
    "AccessDenied": ("AccessDeniedException", 403),
    "MissingAuthenticationToken": ("MissingAuthenticationTokenException", 403),
    "InvalidClientTokenId": ("UnrecognizedClientException", 403),
    "ExpiredToken": ("ExpiredTokenException", 403),
    "SignatureDoesNotMatch": ("InvalidSignatureException", 403),
    "RequestExpired": ("InvalidSignatureException", 403),
    "IncompleteSignature": ("IncompleteSignatureException", 403),
    "InvalidAction": ("UnknownOperationException", 404),
    "InternalFailure": ("InternalServiceErrorException", 500),
}
_DAILY: Final = "Daily message quota exceeded."


@dataclass(frozen=True, slots=True)
class AccountReport:
    """What GetAccount reports."""

    quota: SendQuota
    settings: Settings


def in_v2(error: ApiError) -> ApiError:
    """The error under the name that v2 has for it; what it calls the same stays.

    That the day's quota is a LimitExceededException is what two code bases in the field expect; AWS
    documents it for something else.
    """
    if error.code == "Throttling":
        if error.text == _DAILY:
            return ApiError("LimitExceededException", error.text)
        return ApiError("TooManyRequestsException", error.text, 429)
    code, status = _NAMES.get(error.code, (error.code, error.status))
    return ApiError(code, error.text, status)


def sent(message_id: str) -> str:
    """SES has taken the message."""
    return json.dumps({"MessageId": message_id})


def account(report: AccountReport) -> str:
    """The account's allowances and standing."""
    quota, settings = report.quota, report.settings
    return json.dumps(
        {
            "DedicatedIpAutoWarmupEnabled": False,
            "EnforcementStatus": settings.enforcement_status,
            "ProductionAccessEnabled": not settings.sandbox,
            "SendQuota": {
                "Max24HourSend": float(quota.max_24_hour_send),
                "MaxSendRate": float(quota.max_send_rate),
                "SentLast24Hours": float(quota.sent_last_24_hours),
            },
            "SendingEnabled": settings.sending is Sending.ENABLED,
            "SuppressionAttributes": {"SuppressedReasons": ["BOUNCE", "COMPLAINT"]},
        }
    )


def error(refusal: ApiError) -> str:
    """The call is refused; the code is in the header field `x-amzn-ErrorType`."""
    return json.dumps({"message": refusal.text})
