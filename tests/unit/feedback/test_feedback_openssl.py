"""SNS signatures made by another implementation: what openssl signs is believed."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from relay.feedback.sns import ForgedError, SnsMessage
from tests import sns

# Written out by hand from the SNS Developer Guide, not by the code under test.
_TEXTS = {
    "Notification": "Message\n{Message}\nMessageId\n{MessageId}\nSubject\n{Subject}\n"
    "Timestamp\n{Timestamp}\nTopicArn\n{TopicArn}\nType\n{Type}\n",
    "SubscriptionConfirmation": "Message\n{Message}\nMessageId\n{MessageId}\nSubscribeURL\n"
    "{SubscribeURL}\nTimestamp\n{Timestamp}\nToken\n{Token}\nTopicArn\n{TopicArn}\n"
    "Type\n{Type}\n",
}
_TEXTS["UnsubscribeConfirmation"] = _TEXTS["SubscriptionConfirmation"]


@pytest.fixture(scope="module", name="authority")
def _authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("openssl")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=sns.amazonaws.com", "-keyout", "key.pem", "-out", "cert.pem"),
        ],
        cwd=directory,
        check=True,
        capture_output=True,
    )
    return directory


def signed(authority: Path, text: str, version: str) -> str:
    digest = {"1": "-sha1", "2": "-sha256"}[version]
    made = subprocess.run(
        ["openssl", "dgst", digest, "-sign", "key.pem"],
        cwd=authority,
        input=text.encode(),
        check=True,
        capture_output=True,
    )
    return base64.b64encode(made.stdout).decode()


@pytest.mark.P7
@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("kind", _TEXTS)
def test_what_openssl_signed_is_believed_and_nothing_else(
    authority: Path, kind: str, version: str
) -> None:
    make: Callable[..., dict[str, str]] = (
        sns.notification if kind == "Notification" else sns.confirmation
    )
    first = sns.bounce("jané@example.net") if kind == "Notification" else kind
    fields = {**make(first), "SignatureVersion": version}
    fields["Signature"] = signed(authority, _TEXTS[kind].format(**fields), version)
    certificate, now = (authority / "cert.pem").read_bytes(), datetime.now(UTC)

    def verify(**changes: str) -> None:
        document = {**fields, **changes}
        message = SnsMessage(
            document["Type"],
            document["TopicArn"],
            document["MessageId"],
            document["Message"],
            document,
        )
        message.verify(certificate, now)

    verify()
    for change in ({"Message": "other"}, {"TopicArn": sns.TOPIC + "x"}, {"Timestamp": "now"}):
        with pytest.raises(ForgedError):
            verify(**change)
    with pytest.raises(ForgedError):
        verify(SignatureVersion={"1": "2", "2": "1"}[version])
