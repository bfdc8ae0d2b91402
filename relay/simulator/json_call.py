"""The calls of the SES API v2, read from method, path and JSON body.

Knows the parameters and nothing about which values are allowed.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Final

from relay.simulator.content import Content
from relay.simulator.errors import ApiError
from relay.simulator.submission import Api, Submission

if TYPE_CHECKING:
    from collections.abc import Iterator

ACTIONS: Final = {
    ("POST", "/v2/email/outbound-emails"): "SendEmail",
    ("GET", "/v2/email/account"): "GetAccount",
}
"""SES API v2 Reference, actions: method and path."""
PREFIX: Final = "/v2/"


class _FormError(ValueError):
    """The body is not of the shape that the API Reference gives."""


def read_submission(body: bytes) -> Submission | ApiError:
    """Read the parameters of SES API v2 Reference, SendEmail, with raw content."""
    try:
        return _submission(_object(json.loads(body), "the request"))
    except _FormError as error:
        return ApiError("SerializationException", str(error))
    except (ValueError, RecursionError):
        return ApiError("SerializationException", "The request body is not valid JSON")


def _submission(asked: dict[str, object]) -> Submission | ApiError:
    content = _object(asked.get("Content"), "Content")
    if "Raw" not in content:
        return ApiError("BadRequestException", "Only raw content is known to this simulator.")
    encoded = _text(_object(content["Raw"], "Content.Raw"), "Data")
    if encoded is None:
        return ApiError("BadRequestException", "Content.Raw.Data must not be null")
    try:
        octets = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise _FormError("Content.Raw.Data is not valid base64") from None
    read = Content.read(octets)
    author = _text(asked, "FromEmailAddress")
    destination = _object(asked.get("Destination", {}), "Destination")
    arns = ("FromEmailAddressIdentityArn", "FeedbackForwardingEmailAddressIdentityArn")
    return Submission(
        api=Api.V2,
        source=_text(asked, "FeedbackForwardingEmailAddress"),
        destinations=tuple(
            address
            for kind in ("ToAddresses", "CcAddresses", "BccAddresses")
            for address in _texts(destination, kind)
        ),
        # With raw content SES writes it over the From field, display name and all.
        content=read if author is None else read.with_author(author),
        tags=tuple(_tags(asked)),
        configuration_set=_text(asked, "ConfigurationSetName") or None,
        identity_arns=tuple(arn for name in arns if (arn := _text(asked, name))),
        tenant=_text(asked, "TenantName") or None,
    )


def _tags(asked: dict[str, object]) -> Iterator[tuple[str, str]]:
    for tag in _list(asked, "EmailTags"):
        fields = _object(tag, "EmailTags")
        yield _text(fields, "Name") or "", _text(fields, "Value") or ""


def _object(value: object, name: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _FormError(f"{name} must be an object")
    return value


def _list(fields: dict[str, object], name: str) -> list[object]:
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _FormError(f"{name} must be a list")
    return value


def _texts(fields: dict[str, object], name: str) -> Iterator[str]:
    for value in _list(fields, name):
        if not isinstance(value, str):
            raise _FormError(f"{name} must be a list of strings")
        yield value


def _text(fields: dict[str, object], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise _FormError(f"{name} must be a string")
    return value
