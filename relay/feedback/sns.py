"""An SNS message: read from JSON, placed by its topic, and checked against its signature.

Pure: the certificate is brought by the caller. Knows the SNS envelope (SNS Developer Guide,
"Verifying the signatures of Amazon SNS messages"); does not know what is inside Message.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final
from urllib.parse import urlencode

import orjson
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

NOTIFICATION: Final = "Notification"
SUBSCRIPTION: Final = "SubscriptionConfirmation"
UNSUBSCRIPTION: Final = "UnsubscribeConfirmation"

_CONFIRMATION_FIELDS: Final = (
    "Message",
    "MessageId",
    "SubscribeURL",
    "Timestamp",
    "Token",
    "TopicArn",
    "Type",
)
_SIGNED_FIELDS: Final = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    SUBSCRIPTION: _CONFIRMATION_FIELDS,
    UNSUBSCRIPTION: _CONFIRMATION_FIELDS,
}
_OPTIONAL: Final = frozenset({"Subject"})
_DIGESTS: Final = {"1": hashes.SHA1, "2": hashes.SHA256}

_TOPIC_ARN: Final = re.compile(
    r"arn:(?P<partition>aws(?:-[a-z]+)*):sns:(?P<region>[a-z]{2}(?:-[a-z]+)+-\d):\d{12}:[\w-]{1,256}",
    re.ASCII,
)
# botocore's endpoint data, by partition.
_SUFFIXES: Final = {
    "aws": "amazonaws.com",
    "aws-us-gov": "amazonaws.com",
    "aws-cn": "amazonaws.com.cn",
    "aws-eusc": "amazonaws.eu",
}
_CERTIFICATE_PATH: Final = re.compile(r"/SimpleNotificationService-[0-9A-Za-z]+\.pem")


class MalformedError(ValueError):
    """Not an SNS message. The message is ours, safe to log."""


class ForgedError(ValueError):
    """Known not to come from SNS: wrong certificate address or wrong signature."""


@dataclass(frozen=True, slots=True)
class SnsMessage:
    """One message as SNS posted it; `fields` holds its text fields."""

    kind: str
    topic: str
    message_id: str
    message: str
    fields: dict[str, str]

    @classmethod
    def parse(cls, body: bytes) -> SnsMessage:
        """Read a POST body; raise MalformedError for anything that is not an SNS message."""
        try:
            document = orjson.loads(body)
        except ValueError as error:
            raise MalformedError("the body is not JSON") from error
        if not isinstance(document, dict):
            raise MalformedError("the body is not a JSON object")
        fields = {key: value for key, value in document.items() if isinstance(value, str)}
        kind = fields.get("Type", "")
        if kind not in _SIGNED_FIELDS:
            raise MalformedError("the Type is not one of SNS's")
        needed = (*_SIGNED_FIELDS[kind], "Signature", "SignatureVersion", "SigningCertURL")
        missing = [name for name in needed if name not in fields and name not in _OPTIONAL]
        if missing:
            raise MalformedError(f"fields are missing: {', '.join(missing)}")
        # A Subject that is not text would be signed by nobody's rules.
        if not isinstance(document.get("Subject", ""), str | None):
            raise MalformedError("the Subject is not text")
        return cls(kind, fields["TopicArn"], fields["MessageId"], fields["Message"], fields)

    @property
    def version(self) -> str:
        """The SignatureVersion: 1 is SHA-1, 2 is SHA-256."""
        return self.fields["SignatureVersion"]

    def agrees_with(self, headers: Mapping[str, str]) -> bool:
        """Whether what SNS repeats in the header of its POST is what the body says."""
        return all(
            headers.get(name) in (None, said)
            for name, said in (
                ("x-amz-sns-message-type", self.kind),
                ("x-amz-sns-message-id", self.message_id),
                ("x-amz-sns-topic-arn", self.topic),
            )
        )

    def string_to_sign(self) -> bytes:
        """Return what SNS signs: name and value of each signed field, a line each."""
        names = [name for name in _SIGNED_FIELDS[self.kind] if name in self.fields]
        try:
            return "".join(f"{name}\n{self.fields[name]}\n" for name in names).encode()
        except UnicodeEncodeError as error:
            raise MalformedError("a field holds half a surrogate pair") from error

    def certificate_url(self) -> str:
        """Return the address of the signing certificate once it is proved to be SNS's own.

        Exactly `sns.<region of the topic>.<suffix>`: any looser rule has been answered with a
        certificate from somebody's S3 bucket. Raises ForgedError otherwise.
        """
        url, root = self.fields["SigningCertURL"], f"https://{sns_host(self.topic)}"
        if not url.startswith(root) or not _CERTIFICATE_PATH.fullmatch(url[len(root) :]):
            raise ForgedError("the certificate address is not SNS's for this topic's region")
        return url

    def confirmation_url(self) -> str:
        """Return the address that confirms this subscription, built from what we trust.

        SubscribeURL is not followed: topic and token are all it has to say.
        """
        query = urlencode(
            {
                "Action": "ConfirmSubscription",
                "TopicArn": self.topic,
                "Token": self.fields.get("Token", ""),
            }
        )
        return f"https://{sns_host(self.topic)}/?{query}"

    def verify(self, certificate_pem: bytes, now: datetime) -> None:
        """Check the signature; raise ForgedError when it is known wrong.

        Raises ValueError (CertificateError) when the certificate cannot serve as one: that is no
        verdict on the message.
        """
        digest = _DIGESTS.get(self.fields["SignatureVersion"])
        if digest is None:
            raise ForgedError("the SignatureVersion is neither 1 nor 2")
        try:
            signature = base64.b64decode(self.fields["Signature"], validate=True)
        except (binascii.Error, ValueError) as error:
            raise ForgedError("the signature is not base64") from error
        key = _public_key(certificate_pem, now)
        try:
            key.verify(signature, self.string_to_sign(), padding.PKCS1v15(), digest())
        except InvalidSignature as error:
            raise ForgedError("the signature does not match") from error


class CertificateError(ValueError):
    """The certificate is unreadable, out of date or not RSA."""


def _public_key(certificate_pem: bytes, now: datetime) -> rsa.RSAPublicKey:
    key, valid_from, valid_until = _read_certificate(certificate_pem)
    if not valid_from <= now <= valid_until:
        raise CertificateError("the signing certificate is out of date")
    return key


# The same few for every message, and reading one takes longer than checking a signature by it.
@lru_cache(maxsize=16)
def _read_certificate(pem: bytes) -> tuple[rsa.RSAPublicKey, datetime, datetime]:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        key = certificate.public_key()
    except ValueError as error:
        raise CertificateError("the signing certificate cannot be read") from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise CertificateError("the signing certificate has no RSA key")
    return key, certificate.not_valid_before_utc, certificate.not_valid_after_utc


@lru_cache(maxsize=16)
def sns_host(topic: str) -> str:
    """Return SNS's host for the region of a topic; raise ForgedError for no topic of SNS."""
    match = _TOPIC_ARN.fullmatch(topic)
    suffix = _SUFFIXES.get(match["partition"]) if match else None
    if match is None or suffix is None:
        raise ForgedError("the TopicArn is not one of SNS's")
    return f"sns.{match['region']}.{suffix}"
