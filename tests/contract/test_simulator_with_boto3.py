"""The simulator as a real SES client sees it, and its SNS messages as a subscriber sees them."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import boto3
import botocore.exceptions
import pytest
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.simulator import (
    DEMO_CREDENTIAL,
    Credential,
    CutAnswer,
    Fate,
    Garble,
    LoseAnswer,
    Refuse,
    ResetUnread,
    Sending,
    Settings,
    Simulator,
    Throttle,
)
from relay.simulator.signature import SignedRequest, verify

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from botocore.client import BaseClient

SESSION = boto3.session.Session()
RAW = (
    b"From: Billing <billing@example.com>\r\nTo: jane@example.net\r\nSubject: Invoice 1042\r\n"
    b"Message-ID: <1042.app@erp.example.com>\r\n\r\nhello\r\n"
)


class Clock:
    """A clock that goes when it is told to. botocore signs by the real one, so it starts there."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


class Ses:
    """A boto3 client, called in threads so that the simulator's loop goes on."""

    def __init__(self, simulator: Simulator, credential: Credential = DEMO_CREDENTIAL) -> None:
        self._client = client(simulator, "ses", credential)

    async def send(self, *recipients: str, raw: bytes = RAW, **parameters: Any) -> str:
        answer = await asyncio.to_thread(
            self._client.send_raw_email,
            RawMessage={"Data": raw},
            Destinations=list(recipients or ["jane@example.net"]),
            **parameters,
        )
        return str(answer["MessageId"])

    async def quota(self) -> dict[str, float]:
        answer = await asyncio.to_thread(self._client.get_send_quota)
        return {name: value for name, value in answer.items() if name != "ResponseMetadata"}

    async def refusal(self, *recipients: str, **parameters: Any) -> tuple[str, str, int]:
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            await self.send(*recipients, **parameters)
        return figures(refused.value)

    def close(self) -> None:
        self._client.close()


def client(simulator: Simulator, service: str, credential: Credential) -> BaseClient:
    return SESSION.client(
        service,
        endpoint_url=simulator.url,
        region_name="eu-west-1",
        aws_access_key_id=credential.access_key,
        aws_secret_access_key=credential.secret_key,
        aws_session_token=credential.session_token,
        config=Config(retries={"total_max_attempts": 1, "mode": "standard"}),
    )


def figures(error: botocore.exceptions.ClientError) -> tuple[str, str, int]:
    return (
        error.response["Error"]["Code"],
        error.response["Error"]["Message"],
        error.response["ResponseMetadata"]["HTTPStatusCode"],
    )


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(name="simulator")
async def _simulator(clock: Clock) -> AsyncIterator[Simulator]:
    async with Simulator(
        Settings(retry_delay=timedelta(0), control_rate=None), clock=clock
    ) as simulator:
        yield simulator


@pytest.fixture(name="ses")
async def _ses(simulator: Simulator) -> AsyncIterator[Ses]:
    ses = Ses(simulator)
    yield ses
    ses.close()


# What is taken.


async def test_a_message_arrives_byte_for_byte(simulator: Simulator, ses: Ses) -> None:
    raw = RAW + bytes(range(256)) + b"\r\n.\r\n+/=%20&\r\n"
    message_id = await ses.send(
        "jane@example.net",
        "Joe <joe@example.net>",
        raw=raw,
        Source="bounces@example.com",
        Tags=[{"Name": "app", "Value": "erp"}, {"Name": "node", "Value": "a-1"}],
        ConfigurationSetName="default",
    )
    (message,) = simulator.messages
    assert message.id == message_id
    assert message.raw == raw
    assert message.source == "bounces@example.com"
    assert message.destinations == ("jane@example.net", "Joe <joe@example.net>")
    assert list(map(str, message.recipients)) == ["jane@example.net", "joe@example.net"]
    assert message.tags == (("app", "erp"), ("node", "a-1"))
    assert message.configuration_set == "default"
    assert message.access_key == DEMO_CREDENTIAL.access_key


@pytest.mark.parametrize("size", [1024 * 1024, 10_485_760])
async def test_a_large_message_arrives_byte_for_byte(
    simulator: Simulator, ses: Ses, size: int
) -> None:
    raw = RAW + b"0123456789abcde\n" * ((size - len(RAW)) // 16)
    raw += b"x" * (size - len(raw))
    await ses.send(raw=raw)
    assert simulator.messages[0].raw == raw


async def test_headers_name_the_recipients_when_the_call_does_not(
    simulator: Simulator, ses: Ses
) -> None:
    raw = b"From: a@example.com\r\nTo: b@b.c\r\nCc: c@b.c\r\nBcc: d@b.c\r\n\r\n"
    await asyncio.to_thread(ses._client.send_raw_email, RawMessage={"Data": raw})
    assert list(map(str, simulator.messages[0].recipients)) == ["b@b.c", "c@b.c", "d@b.c"]


async def test_the_quota_is_reported(simulator: Simulator, ses: Ses) -> None:
    await ses.send("a@b.c", "d@b.c", "success@simulator.amazonses.com")
    assert await ses.quota() == {
        "Max24HourSend": 50_000.0,
        "MaxSendRate": 14.0,
        "SentLast24Hours": 2.0,
    }
    simulator.change(replace(simulator.settings, sandbox=True))
    assert await ses.quota() == {
        "Max24HourSend": 200.0,
        "MaxSendRate": 1.0,
        "SentLast24Hours": 2.0,
    }


# What is refused.

UNVERIFIED = (
    "Email address is not verified. The following identities failed the check in region EU-WEST-1: "
)


def header(*lines: str) -> bytes:
    return "\r\n".join(lines).encode() + b"\r\n\r\nhello\r\n"


@pytest.mark.parametrize(
    ("parameters", "code", "text"),
    [
        (
            {"raw": RAW + b"x" * 10_485_760},
            "InvalidParameterValue",
            f"Message length is more than 10485760 bytes long: '{len(RAW) + 10_485_760}'.",
        ),
        (
            {"raw": header("From: a@example.com", "Subject: a", "subject: b")},
            "InvalidParameterValue",
            "Duplicate header 'Subject'.",
        ),
        (
            {"raw": header("From: a@example.com", "To:")},
            "InvalidParameterValue",
            "Empty required header 'To'.",
        ),
        ({"raw": header("To: a@b.c")}, "InvalidParameterValue", "Missing required header 'From'."),
        ({"Source": ""}, "InvalidParameterValue", "Missing final '@domain'"),
        ({"Source": "root"}, "InvalidParameterValue", "Missing final '@domain'"),
        ({"Source": "a@example.net"}, "MessageRejected", f"{UNVERIFIED}a@example.net"),
        (
            {
                "raw": header("From: a@one.example", "Sender: b@two.example"),
                "Source": "c@x.example",
            },
            "MessageRejected",
            f"{UNVERIFIED}a@one.example, c@x.example, b@two.example",
        ),
        (
            {"ConfigurationSetName": "other"},
            "ConfigurationSetDoesNotExist",
            "Configuration set <other> does not exist.",
        ),
        (
            {"Tags": [{"Name": "a", "Value": "b c"}]},
            "InvalidParameterValue",
            "Invalid tag value <b c>: only alphanumeric ASCII characters, '_', and '-' are allowed.",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_each_rule_has_its_code_and_text(
    simulator: Simulator, ses: Ses, parameters: dict[str, Any], code: str, text: str
) -> None:
    assert await ses.refusal(**parameters) == (code, text, 400)
    assert simulator.messages == ()


@pytest.mark.parametrize(
    ("recipients", "text"),
    [
        ([f"r{n}@example.net" for n in range(51)], "Recipient count exceeds 50."),
        (["jane"], "Missing final '@domain'"),
        (["@example.net"], "Missing local name"),
        (["jörg@example.net"], "Local address contains control or whitespace"),
        (["jane@müller.example"], "Domain contains illegal character"),
        (["jane@exa mple.net"], "Domain contains control or whitespace"),
        (["a@b.c", "jane doe@example.net"], "Local address contains control or whitespace"),
    ],
)
async def test_recipients_are_refused_with_the_whole_call(
    simulator: Simulator, ses: Ses, recipients: list[str], text: str
) -> None:
    assert await ses.refusal(*recipients) == ("InvalidParameterValue", text, 400)
    assert simulator.messages == ()


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        (
            {"sending": Sending.PAUSED_BY_CUSTOMER},
            "AccountSendingPausedException",
            "Email sending is disabled for your entire Amazon SES account.",
        ),
        (
            {"sending": Sending.PAUSED_BY_AWS},
            "MessageRejected",
            (
                "Sending paused for this account. For more information, please check the inbox of the "
                "email address associated with your AWS account."
            ),
        ),
        ({"sandbox": True}, "MessageRejected", f"{UNVERIFIED}jane@example.net"),
        ({"daily_quota": 0}, "Throttling", "Daily message quota exceeded."),
        (
            {
                "default_configuration_set": "slow",
                "paused_configuration_sets": frozenset({"slow"}),
            },
            "ConfigurationSetSendingPausedException",
            "Sending is paused for configuration set <slow>",
        ),
    ],
)
async def test_the_account_itself_can_refuse(
    simulator: Simulator, ses: Ses, changes: dict[str, Any], code: str, text: str
) -> None:
    simulator.change(replace(simulator.settings, **changes))
    assert await ses.refusal() == (code, text, 400)


async def test_modelled_errors_raise_their_own_exceptions(simulator: Simulator, ses: Ses) -> None:
    exceptions = ses._client.exceptions
    with pytest.raises(exceptions.ConfigurationSetDoesNotExistException):
        await ses.send(ConfigurationSetName="other")
    with pytest.raises(exceptions.MessageRejected):
        await ses.send(Source="a@example.net")
    simulator.change(replace(simulator.settings, sending=Sending.PAUSED_BY_CUSTOMER))
    with pytest.raises(exceptions.AccountSendingPausedException):
        await ses.send()


SLOW_DOWN = ("Throttling", "Maximum sending rate exceeded.", 400)


@pytest.mark.parametrize("throttle", list(Throttle))
async def test_the_send_rate_is_counted_in_recipients_and_goes_into_debt(
    simulator: Simulator, ses: Ses, clock: Clock, throttle: Throttle
) -> None:
    simulator.change(replace(simulator.settings, max_send_rate=1, throttle=throttle))
    await ses.send(*(f"r{n}@example.net" for n in range(5)))
    assert await ses.refusal() == SLOW_DOWN
    clock.advance(seconds=3.9)
    assert await ses.refusal() == SLOW_DOWN
    clock.advance(seconds=1.1)
    await ses.send()
    assert simulator.tally == {"OK": 2, "Throttling": 2}


async def test_the_daily_quota_counts_all_but_the_mailbox_simulator(
    simulator: Simulator, ses: Ses
) -> None:
    simulator.change(replace(simulator.settings, daily_quota=2))
    await ses.send("a@b.c", "d@b.c")
    assert await ses.refusal() == ("Throttling", "Daily message quota exceeded.", 400)
    await ses.send("success@simulator.amazonses.com")
    assert (await ses.quota())["SentLast24Hours"] == 2


# Who signs.


async def test_temporary_credentials_are_good_until_they_expire(
    simulator: Simulator, clock: Clock
) -> None:
    temporary = Credential(
        access_key="ASIATEST",
        secret_key="secret",
        session_token="FwoGZXIvYXdzE+/=",
        expires_at=clock.now + timedelta(minutes=5),
    )
    simulator.change(replace(simulator.settings, credentials=(temporary,)))
    ses = Ses(simulator, temporary)
    await ses.send()
    assert simulator.messages[0].access_key == "ASIATEST"
    clock.advance(minutes=5)
    assert await ses.refusal() == (
        "ExpiredToken",
        "The security token included in the request is expired",
        403,
    )
    ses.close()


@pytest.mark.parametrize(
    ("credential", "code"),
    [
        (replace(DEMO_CREDENTIAL, secret_key="wrong"), "SignatureDoesNotMatch"),
        (replace(DEMO_CREDENTIAL, access_key="AKIAOTHER"), "InvalidClientTokenId"),
        (replace(DEMO_CREDENTIAL, session_token="unasked"), "InvalidClientTokenId"),
    ],
)
async def test_wrong_credentials_are_refused(
    simulator: Simulator, credential: Credential, code: str
) -> None:
    ses = Ses(simulator, credential)
    found, _, status = await ses.refusal()
    ses.close()
    assert (found, status) == (code, 403)
    assert simulator.messages == ()


async def test_a_clock_that_is_wrong_is_refused(ses: Ses, clock: Clock) -> None:
    clock.advance(minutes=16)
    code, _, status = await ses.refusal()
    assert (code, status) == ("RequestExpired", 400)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(
    method=st.sampled_from(["GET", "POST"]),
    path=st.sampled_from(["/", "/v2/a%20b/c", "/v2/%7Ex"]),
    query=st.lists(
        st.tuples(st.text("abzAZ09-._~%/", min_size=1, max_size=5), st.text("az09~/%", max_size=5)),
        max_size=3,
    ),
    headers=st.dictionaries(
        st.sampled_from(["X-Amz-Target", "Content-Type", "X-Custom"]),
        st.text("ab1 ;=/", max_size=12),
        max_size=3,
    ),
    body=st.binary(max_size=40),
    token=st.one_of(st.none(), st.text("az09+/=", min_size=1, max_size=20)),
)
def test_what_botocore_signs_is_believed(
    method: str,
    path: str,
    query: list[tuple[str, str]],
    headers: dict[str, str],
    body: bytes,
    token: str | None,
) -> None:
    credential = Credential(access_key="AKIATEST", secret_key="s/ecret+", session_token=token)
    request = AWSRequest(
        method, f"http://127.0.0.1:8005{path}", params=dict(query), headers=headers, data=body
    )
    SigV4Auth(
        Credentials(credential.access_key, credential.secret_key, token), "ses", "eu-west-1"
    ).add_auth(request)
    prepared = request.prepare()
    carried = {"Host": "127.0.0.1:8005", **{name: str(value) for name, value in headers.items()}}
    for name, value in prepared.headers.items():
        carried[name] = value.decode() if isinstance(value, bytes) else value
    target = prepared.url.removeprefix("http://127.0.0.1:8005")
    received = SignedRequest(method, target, tuple(carried.items()), body)
    found = verify(received, [credential], region="eu-west-1", service="ses", now=datetime.now(UTC))
    assert found is credential


# What goes wrong on purpose.


@pytest.mark.parametrize(
    ("act", "error", "taken"),
    [
        (LoseAnswer(), botocore.exceptions.ConnectionClosedError, 1),
        (ResetUnread(), botocore.exceptions.ConnectionClosedError, 0),
        (CutAnswer(keep=25), botocore.parsers.ResponseParserError, 1),
        (Garble(503, "try later", "text/plain"), botocore.parsers.ResponseParserError, 0),
    ],
)
async def test_what_a_client_sees_of_a_fault(
    simulator: Simulator, ses: Ses, act: Any, error: type[Exception], taken: int
) -> None:
    simulator.fail(act)
    with pytest.raises(error):
        await ses.send()
    assert simulator.taken == taken
    await ses.send()


async def test_a_fault_can_be_any_error_of_aws(simulator: Simulator, ses: Ses) -> None:
    simulator.fail(Refuse("ServiceUnavailable", "Service is down.", 503), times=2)
    for _ in range(2):
        assert await ses.refusal() == ("ServiceUnavailable", "Service is down.", 503)
    await ses.send()


# What becomes of it.


class Webhook:
    """An endpoint that remembers what SNS posted to it."""

    def __init__(self) -> None:
        self.url = ""
        self.envelopes: list[dict[str, str]] = []

    async def receive(self, request: web.Request) -> web.Response:
        assert request.content_type == "text/plain"
        self.envelopes.append(json.loads(await request.read()))
        return web.Response()

    def messages(self) -> list[dict[str, Any]]:
        """The events, without the plain text that comes first."""
        texts = [envelope["Message"] for envelope in self.envelopes]
        return [json.loads(text) for text in texts if text.startswith("{")]


@pytest.fixture(name="webhook")
async def _webhook() -> AsyncIterator[Webhook]:
    webhook = Webhook()
    app = web.Application()
    app.add_routes([web.post("/events", webhook.receive)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    webhook.url = f"http://127.0.0.1:{runner.addresses[0][1]}/events"
    yield webhook
    await runner.cleanup()


async def confirmed(simulator: Simulator, webhook: Webhook) -> str:
    """Subscribe, and confirm with the token that was posted; the subscription's ARN."""
    subscription = simulator.subscribe(webhook.url)
    await simulator.settled()
    simulator.confirm(webhook.envelopes[0]["Token"], topic_arn=webhook.envelopes[0]["TopicArn"])
    await simulator.settled()
    return subscription.arn


SIMULATED = "simulator.amazonses.com"


@pytest.mark.parametrize(
    ("recipient", "expected"),
    [
        (f"success@{SIMULATED}", ["Send", "Delivery"]),
        (f"bounce+7@{SIMULATED}", ["Send", "Bounce"]),
        (f"complaint@{SIMULATED}", ["Send", "Delivery", "Complaint"]),
        (f"ooto@{SIMULATED}", ["Send", "Delivery"]),
        (f"suppressionlist@{SIMULATED}", ["Send", "Bounce"]),
        ("jane@example.net", ["Send", "Delivery"]),
    ],
)
async def test_events_tell_what_became_of_the_mail(
    simulator: Simulator, ses: Ses, webhook: Webhook, recipient: str, expected: list[str]
) -> None:
    await confirmed(simulator, webhook)
    message_id = await ses.send(
        recipient, ConfigurationSetName="default", Tags=[{"Name": "app", "Value": "erp"}]
    )
    await simulator.settled()
    events = webhook.messages()
    assert [event["eventType"] for event in events] == expected
    for event in events:
        mail = event["mail"]
        assert mail["messageId"] == message_id
        assert mail["destination"] == [recipient]
        assert mail["tags"]["app"] == ["erp"]
        assert mail["tags"]["ses:configuration-set"] == ["default"]
        assert mail["tags"]["ses:source-ip"] == ["127.0.0.1"]
        assert mail["commonHeaders"]["messageId"] == "<1042.app@erp.example.com>"


async def test_without_a_configuration_set_there_are_no_events(
    simulator: Simulator, ses: Ses, webhook: Webhook
) -> None:
    await confirmed(simulator, webhook)
    await ses.send()
    await simulator.settled()
    assert webhook.messages() == []


async def test_the_fate_of_anybody_can_be_set(
    simulator: Simulator, ses: Ses, webhook: Webhook
) -> None:
    fates = {"jane@example.net": Fate.ON_ACCOUNT_LIST, "@example.org": Fate.MAILBOX_FULL}
    simulator.change(replace(simulator.settings, fates=fates, default_configuration_set="default"))
    await confirmed(simulator, webhook)
    await ses.send("jane@example.net", "joe@example.org")
    await simulator.settled()
    subtypes = [event["bounce"]["bounceSubType"] for event in webhook.messages()[1:]]
    assert subtypes == ["OnAccountSuppressionList", "MailboxFull"]


async def test_an_event_can_come_before_the_answer(
    simulator: Simulator, ses: Ses, webhook: Webhook
) -> None:
    await confirmed(simulator, webhook)
    simulator.fail(LoseAnswer())
    with pytest.raises(botocore.exceptions.ConnectionClosedError):
        await ses.send(ConfigurationSetName="default")
    await simulator.settled()
    assert [event["eventType"] for event in webhook.messages()] == ["Send", "Delivery"]


# Who confirms, and who signs.


async def test_a_subscription_is_confirmed_by_a_signed_call(
    simulator: Simulator, webhook: Webhook
) -> None:
    subscription = simulator.subscribe(webhook.url)
    await simulator.settled()
    sns = client(simulator, "sns", DEMO_CREDENTIAL)

    def confirm(token: str) -> str:
        answer = sns.confirm_subscription(TopicArn=simulator.settings.topic_arn, Token=token)
        return str(answer["SubscriptionArn"])

    with pytest.raises(botocore.exceptions.ClientError) as refused:
        await asyncio.to_thread(confirm, "other")
    assert figures(refused.value) == ("InvalidParameter", "Invalid parameter: Token", 400)
    assert await asyncio.to_thread(confirm, subscription.token) == subscription.arn
    assert simulator.subscriptions[0].confirmed
    sns.close()


def string_to_sign(envelope: dict[str, str]) -> bytes:
    """SNS Developer Guide, "Verifying the signatures of Amazon SNS messages"."""
    confirmation = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn")
    notification = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn")
    names = notification if envelope["Type"] == "Notification" else confirmation
    present = [name for name in (*names, "Type") if name in envelope]
    return "".join(f"{name}\n{envelope[name]}\n" for name in present).encode()


def public_key(simulator: Simulator) -> rsa.RSAPublicKey:
    key = x509.load_pem_x509_certificate(simulator.certificate_pem).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def by_cryptography(key: rsa.RSAPublicKey, envelope: dict[str, str], _: Path) -> None:
    signature = base64.b64decode(envelope["Signature"], validate=True)
    modern = envelope["SignatureVersion"] == "2"
    algorithm = hashes.SHA256() if modern else hashes.SHA1()  # noqa: S303 - version 1 is SHA-1
    key.verify(signature, string_to_sign(envelope), padding.PKCS1v15(), algorithm)


def by_openssl(key: rsa.RSAPublicKey, envelope: dict[str, str], folder: Path) -> None:
    pem, signature, text = folder / "key.pem", folder / "signature", folder / "text"
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem.write_bytes(key.public_bytes(serialization.Encoding.PEM, form))
    signature.write_bytes(base64.b64decode(envelope["Signature"]))
    text.write_bytes(string_to_sign(envelope))
    digest = "-sha256" if envelope["SignatureVersion"] == "2" else "-sha1"
    subprocess.run(
        ["openssl", "dgst", digest, "-verify", pem, "-signature", signature, text],
        check=True,
        capture_output=True,
    )


@pytest.mark.parametrize(
    "check",
    [
        by_cryptography,
        pytest.param(
            by_openssl,
            marks=pytest.mark.skipif(
                shutil.which("openssl") is None, reason="openssl is not installed"
            ),
        ),
    ],
)
@pytest.mark.parametrize("version", ["1", "2"])
async def test_every_message_that_was_posted_verifies(
    simulator: Simulator,
    ses: Ses,
    webhook: Webhook,
    version: Literal["1", "2"],
    check: Callable[[rsa.RSAPublicKey, dict[str, str], Path], None],
    tmp_path: Path,
) -> None:
    simulator.change(replace(simulator.settings, signature_version=version))
    arn = await confirmed(simulator, webhook)
    await ses.send("complaint@simulator.amazonses.com", ConfigurationSetName="default")
    await simulator.settled()
    await simulator.publish("Grüße\nund mehr", subject=None)
    simulator.unsubscribe(arn)
    await simulator.settled()
    assert [envelope["Type"] for envelope in webhook.envelopes] == [
        "SubscriptionConfirmation",
        *["Notification"] * 5,
        "UnsubscribeConfirmation",
    ]
    for envelope in webhook.envelopes:
        assert envelope["SignatureVersion"] == version
        assert envelope["SigningCertURL"] == simulator.certificate_url
        check(public_key(simulator), envelope, tmp_path)


async def test_any_envelope_can_be_signed_and_posted(
    simulator: Simulator, webhook: Webhook
) -> None:
    envelope = simulator.sign(
        {
            "Type": "Notification",
            "MessageId": "1",
            "TopicArn": "arn:aws:sns:eu-west-1:999999999999:other",
            "Message": "x",
            "Timestamp": "2026-03-02T09:15:06.655Z",
        },
        version="1",
    )
    attempt = await simulator.post({**envelope, "Message": "forged"}, webhook.url)
    assert attempt.status == 200
    assert webhook.envelopes == [{**envelope, "Message": "forged"}]
