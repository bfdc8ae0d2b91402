"""SNS envelopes and their signatures, checked by code of this file."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from relay.simulator import sns

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 3, 2, 9, 15, 4, tzinfo=UTC)
TOPIC = "arn:aws:sns:eu-west-1:123456789012:ses-feedback"
SUBSCRIPTION = f"{TOPIC}:c9135db0-26c4-47ec-8998-413945fb5a96"
AT = "2026-03-02T09:15:04.000Z"

Version: TypeAlias = Literal["1", "2"]

ENVELOPES: dict[str, Callable[[], sns.Envelope]] = {
    "notification": lambda: sns.notification(
        '{"eventType": "Send", "text": "Grüße\\n"}',
        message_id="22b80b92",
        subscription_arn=SUBSCRIPTION,
        subject=sns.EVENT_SUBJECT,
        at=AT,
    ),
    "notification without subject": lambda: sns.notification(
        "plain", message_id="22b80b92", subscription_arn=SUBSCRIPTION, subject=None, at=AT
    ),
    "subscription": lambda: sns.subscription_confirmation(
        TOPIC, token="abc", message_id="165545c9", at=AT
    ),
    "unsubscription": lambda: sns.unsubscribe_confirmation(
        SUBSCRIPTION, token="abc", message_id="47138184", at=AT
    ),
}


@pytest.fixture(scope="module")
def signer() -> sns.Signer:
    return sns.Signer.generate(NOW)


def string_to_sign(envelope: dict[str, str]) -> bytes:
    """SNS Developer Guide, read once more and independently of the package."""
    if envelope["Type"] == "Notification":
        names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    else:
        names = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
    lines: list[str] = []
    for name in names:
        if name in envelope:
            lines += [name, envelope[name]]
    return ("\n".join(lines) + "\n").encode()


def public_key(pem: bytes) -> rsa.RSAPublicKey:
    key = x509.load_pem_x509_certificate(pem).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    return key


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("kind", ENVELOPES)
def test_every_envelope_is_signed_as_sns_signs(
    signer: sns.Signer, kind: str, version: Version
) -> None:
    posted = json.dumps(signer.sign(ENVELOPES[kind](), version=version, region="eu-west-1"))
    envelope = json.loads(posted)
    assert envelope["SignatureVersion"] == version
    algorithm = hashes.SHA256() if version == "2" else hashes.SHA1()  # noqa: S303 - version 1
    public_key(signer.certificate_pem).verify(
        base64.b64decode(envelope["Signature"], validate=True),
        string_to_sign(envelope),
        padding.PKCS1v15(),
        algorithm,
    )


@pytest.mark.parametrize("name", ["Message", "MessageId", "Subject", "Timestamp", "TopicArn"])
def test_a_changed_field_breaks_the_signature(signer: sns.Signer, name: str) -> None:
    envelope = signer.sign(ENVELOPES["notification"](), version="2", region="eu-west-1")
    envelope[name] += "x"
    with pytest.raises(InvalidSignature):
        public_key(signer.certificate_pem).verify(
            base64.b64decode(envelope["Signature"]),
            string_to_sign(envelope),
            padding.PKCS1v15(),
            hashes.SHA256(),
        )


def test_signing_again_replaces_the_signature(signer: sns.Signer) -> None:
    first = signer.sign(ENVELOPES["subscription"](), version="1", region="eu-west-1")
    again = signer.sign(first, version="2", region="eu-west-1")
    assert again["SignatureVersion"] == "2"
    assert len(again) == len(first)
    assert again["Signature"] != first["Signature"]


def test_the_certificate_is_good_around_the_moment_it_was_made(signer: sns.Signer) -> None:
    certificate = x509.load_pem_x509_certificate(signer.certificate_pem)
    assert certificate.not_valid_before_utc < NOW - timedelta(days=300)
    assert certificate.not_valid_after_utc > NOW + timedelta(days=300)
    assert certificate.subject.rfc4514_string() == "CN=sns.amazonaws.com"
    assert public_key(signer.certificate_pem).key_size == 2048


def test_the_certificate_url_has_the_shape_of_the_real_one(signer: sns.Signer) -> None:
    url = signer.certificate_url("eu-west-1")
    host, _, path = url.removeprefix("https://").partition("/")
    assert host == "sns.eu-west-1.amazonaws.com"
    assert path.startswith("SimpleNotificationService-")
    assert path.endswith(".pem")
    assert sns.Signer.generate(NOW).certificate_url("eu-west-1") != url


def test_the_subscribe_url_is_the_real_looking_one() -> None:
    assert ENVELOPES["subscription"]()["SubscribeURL"] == (
        "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription"
        f"&TopicArn={TOPIC}&Token=abc"
    )


def test_a_subscription_confirmation_has_no_subscription_arn_yet() -> None:
    headers = sns.post_headers(ENVELOPES["subscription"](), SUBSCRIPTION)
    assert headers == {
        "x-amz-sns-message-type": "SubscriptionConfirmation",
        "x-amz-sns-message-id": "165545c9",
        "x-amz-sns-topic-arn": TOPIC,
        "Content-Type": "text/plain; charset=UTF-8",
        "User-Agent": "Amazon Simple Notification Service Agent",
    }


@pytest.mark.parametrize("kind", ["notification", "unsubscription"])
def test_later_messages_carry_the_subscription_arn(kind: str) -> None:
    headers = sns.post_headers(ENVELOPES[kind](), SUBSCRIPTION)
    assert headers["x-amz-sns-subscription-arn"] == SUBSCRIPTION
    assert "x-amz-sns-subscription-arn" not in sns.post_headers(ENVELOPES[kind](), None)
