"""Signs SNS messages for tests, with a key and certificate made once per run."""

from __future__ import annotations

import base64
import functools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

TOPIC = "arn:aws:sns:eu-west-1:123456789012:ses-feedback"
CERTIFICATE_URL = (
    "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
)
NOW = datetime(2026, 3, 2, 9, 15, 6, tzinfo=UTC)
_SIGNED = {
    "Notification": ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
    "SubscriptionConfirmation": [
        "Message",
        "MessageId",
        "SubscribeURL",
        "Timestamp",
        "Token",
        "TopicArn",
        "Type",
    ],
}
_SIGNED["UnsubscribeConfirmation"] = _SIGNED["SubscriptionConfirmation"]


@functools.cache
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@functools.cache
def certificate(valid_days: int = 365) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key().public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=400))
        .not_valid_after(NOW - timedelta(days=400) + timedelta(days=400 + valid_days))
        .sign(key(), hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def sign(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with the Signature SNS would put on it."""
    names = [name for name in _SIGNED[document["Type"]] if name in document]
    text = "".join(f"{name}\n{document[name]}\n" for name in names).encode()
    digest = hashes.SHA1() if document["SignatureVersion"] == "1" else hashes.SHA256()  # noqa: S303
    signature = key().sign(text, padding.PKCS1v15(), digest)
    return {**document, "Signature": base64.b64encode(signature).decode()}


def notification(message: str, **changes: Any) -> dict[str, Any]:
    """Return a signed Notification; `changes` are made before it is signed."""
    document = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Subject": "Amazon SES Email Event Notification",
        "Message": message,
        "Timestamp": "2026-03-02T09:15:06.655Z",
        "SignatureVersion": "2",
        "SigningCertURL": CERTIFICATE_URL,
        **changes,
    }
    return sign({name: value for name, value in document.items() if value is not None})


def confirmation(kind: str = "SubscriptionConfirmation", **changes: Any) -> dict[str, Any]:
    """Return a signed SubscriptionConfirmation or UnsubscribeConfirmation."""
    return sign(
        {
            "Type": kind,
            "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
            "Token": "2336412f37fb687f5d51e6e2",
            "TopicArn": TOPIC,
            "Message": f"You have chosen to subscribe to the topic {TOPIC}.",
            "SubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription",
            "Timestamp": "2026-03-02T09:00:00.123Z",
            "SignatureVersion": "2",
            "SigningCertURL": CERTIFICATE_URL,
            **changes,
        }
    )


def bounce(*addresses: str, bounce_type: str = "Permanent") -> str:
    """Return the JSON of a Bounce event as event publishing writes it."""
    return json.dumps(
        {
            "eventType": "Bounce",
            "bounce": {
                "bounceType": bounce_type,
                "bounceSubType": "General",
                "bouncedRecipients": [
                    {
                        "emailAddress": address,
                        "action": "failed",
                        "status": "5.1.1",
                        "diagnosticCode": "smtp; 550 5.1.1 user unknown",
                    }
                    for address in addresses
                ],
                "timestamp": "2026-03-02T09:15:06.402Z",
                "feedbackId": "010001941c2f9b21-000000",
            },
            "mail": {
                "timestamp": "2026-03-02T09:15:04.118Z",
                "source": "billing@example.com",
                "messageId": "010001941c2f5e7a-000000",
                "destination": list(addresses),
                "tags": {"relay-id": ["06H04YCY58GVCD1MB7KG"], "relay-node": ["node-1"]},
            },
        }
    )
