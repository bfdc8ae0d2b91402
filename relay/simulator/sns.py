"""SNS messages for HTTP endpoints: their JSON, their headers and their signature.

SNS Developer Guide, "HTTP/HTTPS notification JSON format" and "Verifying the signatures of Amazon
SNS messages". Knows nothing of subscriptions, and posts nothing.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.simulator.settings import SignatureVersion

Envelope: TypeAlias = dict[str, str]

EVENT_SUBJECT: Final = "Amazon SES Email Event Notification"
VALIDATION_TEXT: Final = "Successfully validated SNS topic for Amazon SES event publishing."
USER_AGENT: Final = "Amazon Simple Notification Service Agent"
CONTENT_TYPE: Final = "text/plain; charset=UTF-8"

_KEY_BITS: Final = 2048
_VALIDITY: Final = timedelta(days=365)
_CONFIRMATION_FIELDS: Final = (
    "Message",
    "MessageId",
    "SubscribeURL",
    "Timestamp",
    "Token",
    "TopicArn",
    "Type",
)
SIGNED_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": _CONFIRMATION_FIELDS,
    "UnsubscribeConfirmation": _CONFIRMATION_FIELDS,
}


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key, and the certificate that SNS would publish for it."""

    key: rsa.RSAPrivateKey
    certificate_pem: bytes

    @classmethod
    def generate(cls, now: datetime) -> Self:
        """A new key with a self-made certificate, good for a year around `now`."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _VALIDITY)
            .not_valid_after(now + _VALIDITY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate.public_bytes(serialization.Encoding.PEM))

    @property
    def certificate_path(self) -> str:
        """The path under which SNS would publish the certificate."""
        digest = hashlib.sha256(self.certificate_pem).hexdigest()
        return f"/SimpleNotificationService-{digest[:32]}.pem"

    def certificate_url(self, region: str) -> str:
        """The URL that messages name. Nobody can fetch this certificate from there."""
        return f"{endpoint_url(region)}{self.certificate_path}"

    def sign(
        self, envelope: Mapping[str, str], *, version: SignatureVersion, region: str
    ) -> Envelope:
        """The envelope with a signature over what it says; an older signature is replaced."""
        algorithm = hashes.SHA256() if version == "2" else hashes.SHA1()  # noqa: S303 - version 1 is SHA-1
        signature = self.key.sign(string_to_sign(envelope), padding.PKCS1v15(), algorithm)
        return {
            **envelope,
            "SignatureVersion": version,
            "Signature": base64.b64encode(signature).decode(),
            "SigningCertURL": self.certificate_url(region),
        }


def string_to_sign(envelope: Mapping[str, str]) -> bytes:
    """What a signature of this envelope covers."""
    fields = SIGNED_FIELDS[envelope["Type"]]
    return "".join(f"{name}\n{envelope[name]}\n" for name in fields if name in envelope).encode()


def endpoint_url(region: str) -> str:
    """Where the SNS of a region is in real life."""
    return f"https://sns.{region}.amazonaws.com"


def notification(
    message: str, *, message_id: str, subscription_arn: str, subject: str | None, at: str
) -> Envelope:
    """A Notification, not yet signed."""
    topic_arn, _, _ = subscription_arn.rpartition(":")
    envelope = {"Type": "Notification", "MessageId": message_id, "TopicArn": topic_arn}
    if subject is not None:
        envelope["Subject"] = subject
    return {
        **envelope,
        "Message": message,
        "Timestamp": at,
        "UnsubscribeURL": f"{endpoint_url(_region(topic_arn))}/?Action=Unsubscribe"
        f"&SubscriptionArn={subscription_arn}",
    }


def subscription_confirmation(topic_arn: str, *, token: str, message_id: str, at: str) -> Envelope:
    """A SubscriptionConfirmation, not yet signed."""
    return {
        "Type": "SubscriptionConfirmation",
        "MessageId": message_id,
        "Token": token,
        "TopicArn": topic_arn,
        "Message": f"You have chosen to subscribe to the topic {topic_arn}.\n"
        "To confirm the subscription, visit the SubscribeURL included in this message.",
        "SubscribeURL": confirmation_url(topic_arn, token),
        "Timestamp": at,
    }


def unsubscribe_confirmation(
    subscription_arn: str, *, token: str, message_id: str, at: str
) -> Envelope:
    """An UnsubscribeConfirmation, not yet signed."""
    topic_arn, _, _ = subscription_arn.rpartition(":")
    return {
        "Type": "UnsubscribeConfirmation",
        "MessageId": message_id,
        "Token": token,
        "TopicArn": topic_arn,
        "Message": f"You have chosen to deactivate subscription {subscription_arn}.\n"
        "To cancel this operation and restore the subscription, visit the SubscribeURL included "
        "in this message.",
        "SubscribeURL": confirmation_url(topic_arn, token),
        "Timestamp": at,
    }


def confirmation_url(topic_arn: str, token: str) -> str:
    """The SubscribeURL, which in real life confirms when it is visited."""
    return (
        f"{endpoint_url(_region(topic_arn))}/?Action=ConfirmSubscription"
        f"&TopicArn={topic_arn}&Token={token}"
    )


def post_headers(envelope: Mapping[str, str], subscription_arn: str | None) -> dict[str, str]:
    """The headers SNS posts an envelope with; a subscription not yet confirmed has no ARN."""
    headers = {
        "x-amz-sns-message-type": envelope["Type"],
        "x-amz-sns-message-id": envelope["MessageId"],
        "x-amz-sns-topic-arn": envelope["TopicArn"],
        "Content-Type": CONTENT_TYPE,
        "User-Agent": USER_AGENT,
    }
    if subscription_arn is not None and envelope["Type"] != "SubscriptionConfirmation":
        headers["x-amz-sns-subscription-arn"] = subscription_arn
    return headers


def _region(topic_arn: str) -> str:
    return topic_arn.split(":")[3]
