"""The webhook's decisions: who is believed, what is stored, what SNS is told."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import pytest

from relay.feedback.certificate import UnavailableError
from relay.feedback.effects import Effects
from relay.feedback.event import VALIDATION_TEXT
from relay.feedback.intake import BODY_LIMIT, Confirm, Intake, Topics
from relay.mail.feedback import FeedbackEvent, SoftBounces, Suppression
from relay.policy.suppression import CAUTIOUS
from relay.ports import SpoolError
from tests import sns
from tests.fakes import FrozenClock, RecordingFacts


class Gateway:
    """An SNS that serves one certificate, and can be down."""

    def __init__(self, pem: bytes) -> None:
        self.pem = pem
        self.is_down = False
        self.asked: list[str] = []
        self.confirmed: list[str] = []

    async def certificate(self, url: str) -> bytes:
        self.asked.append(url)
        if self.is_down:
            raise UnavailableError("down")
        return self.pem

    async def confirm(self, url: str) -> None:
        if self.is_down:
            raise UnavailableError("down")
        self.confirmed.append(url)


class Memory:
    """A Record that keeps what it is given, and can be sick."""

    def __init__(self) -> None:
        self.is_sick = False
        self.events: dict[str, FeedbackEvent | None] = {}
        self.suppressed: list[str] = []

    async def take_in(
        self,
        delivery_id: str,
        raw: bytes,
        event: FeedbackEvent | None,
        suppressions: Sequence[Suppression],
        soft: SoftBounces | None = None,
    ) -> Sequence[Suppression] | None:
        assert raw
        if self.is_sick:
            raise SpoolError("disk")
        if delivery_id in self.events:
            return None
        self.events[delivery_id] = event
        self.suppressed += [one.address for one in suppressions]
        return suppressions


class NoDoubts:
    """Nothing is in doubt."""

    async def settle(self, event: FeedbackEvent) -> None:
        return None


@dataclasses.dataclass
class Bench:
    intake: Intake
    effects: Effects
    gateway: Gateway
    record: Memory
    facts: RecordingFacts

    async def post(self, document: dict[str, Any] | bytes, **headers: str) -> int:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.intake.take_in(body, named)

    def refusals(self) -> list[str]:
        return [args[0] for name, args in self.facts.told if name == "feedback_refused"]


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Bench:
    param = getattr(request, "param", Confirm.AUTO)
    topics = Topics(frozenset({sns.TOPIC}), param) if isinstance(param, Confirm) else param
    gateway, record, facts = Gateway(sns.certificate()), Memory(), RecordingFacts()
    clock = FrozenClock(sns.NOW)
    effects = Effects(record, NoDoubts(), lambda: CAUTIOUS, facts, clock)  # type: ignore[arg-type]
    intake = Intake(lambda: topics, gateway, effects, facts, clock)
    return Bench(intake, effects, gateway, record, facts)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", ["Amazon SES Email Event Notification", None])
async def test_a_signed_bounce_is_stored_and_suppresses(
    bench: Bench, version: str, subject: str | None
) -> None:
    message = sns.bounce("Jane@example.net")
    assert (
        await bench.post(sns.notification(message, SignatureVersion=version, Subject=subject))
        == 200
    )
    assert bench.record.suppressed == ["jane@example.net"]
    assert bench.refusals() == []


async def test_the_same_message_twice_counts_once(bench: Bench) -> None:
    document = sns.notification(sns.bounce("jane@example.net"))
    assert [await bench.post(document), await bench.post(document)] == [200, 200]
    assert bench.record.suppressed == ["jane@example.net"]


CERT = "SigningCertURL"
ATTACKS: dict[str, dict[str, Any]] = {
    "bucket named sns": {CERT: "https://sns.s3-us-west-2.amazonaws.com/SimpleNotificationService-a.pem"},
    "virtual-host bucket": {CERT: "https://sns.s3.amazonaws.com/SimpleNotificationService-a.pem"},
    "other region": {CERT: "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem"},
    "suffix": {CERT: "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-a.pem"},
    "plain http": {CERT: "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-a.pem"},
    "user info": {CERT: "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-a.pem"},
    "user info too": {CERT: "https://a:b@sns.eu-west-1.amazonaws.com/SimpleNotificationService-a.pem"},
    "port": {CERT: "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-a.pem"},
    "bad port": {CERT: "https://sns.eu-west-1.amazonaws.com:x/SimpleNotificationService-a.pem"},
    "path": {CERT: "https://sns.eu-west-1.amazonaws.com/evil/SimpleNotificationService-a.pem"},
    "any pem": {CERT: "https://sns.eu-west-1.amazonaws.com/evil.pem"},
    "query": {CERT: "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-a.pem?x=1"},
    "fragment": {CERT: "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-a.pem#x"},
    "newline": {CERT: "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-a.pem\n"},
    "version": {"SignatureVersion": "3"},
    "other topic": {"TopicArn": "arn:aws:sns:eu-west-1:123456789012:other"},
    "no topic": {"TopicArn": "ses-feedback"},
}  # fmt: skip


@pytest.mark.P7
@pytest.mark.parametrize("attack", ATTACKS, ids=ATTACKS.keys())
async def test_an_attack_is_refused_before_anything_is_fetched(bench: Bench, attack: str) -> None:
    document = sns.notification(sns.bounce("jane@example.net"), **ATTACKS[attack])
    assert await bench.post(document) == 403
    assert bench.record.events == {}
    if attack != "version":
        assert bench.gateway.asked == []


@pytest.mark.P7
@pytest.mark.parametrize(
    "change",
    [
        {"Message": sns.bounce("boss@example.net")},
        {"MessageId": "other"},
        {"Timestamp": "2026-03-03T00:00:00.000Z"},
        {"Subject": "other"},
        {"Type": "SubscriptionConfirmation", "Token": "t", "SubscribeURL": "https://x.example"},
        {"Signature": "AAAA"},
        {"Signature": "not base64!"},
        {"SignatureVersion": "1"},
    ],
    ids="+".join,
)
async def test_what_was_changed_after_signing_is_forged(
    bench: Bench, change: dict[str, str]
) -> None:
    document = {**sns.notification(sns.bounce("jane@example.net")), **change}
    assert await bench.post(document) == 403
    assert bench.record.events == {}
    assert bench.gateway.confirmed == []
    assert bench.refusals() == ["signature"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"7",
        b'{"Type": "Other"}',
        b'{"Type": "Notification"}',
        b"[" * 100_000,
        sns.bounce("raw@example.net").encode(),
    ],
    ids=["empty", "not utf-8", "list", "number", "type", "fields", "deep", "raw delivery"],
)
async def test_what_is_no_sns_message_is_malformed(bench: Bench, body: bytes) -> None:
    assert await bench.post(body) == 400
    assert bench.refusals() == ["malformed"]


async def test_half_a_surrogate_is_malformed_not_a_crash(bench: Bench) -> None:
    document = sns.notification("x")
    document["Message"] = "\ud800"
    assert await bench.post(json.dumps(document).encode()) == 400


async def test_too_large_a_body_is_not_even_read(bench: Bench) -> None:
    assert await bench.post(b" " * (BODY_LIMIT + 1)) == 413
    assert bench.refusals() == ["too_large"]


async def test_sns_comes_again_when_the_certificate_or_the_store_fails(bench: Bench) -> None:
    document = sns.notification(sns.bounce("jane@example.net"))
    bench.gateway.is_down = True
    assert await bench.post(document) == 503
    bench.gateway.is_down = False
    bench.gateway.pem = sns.certificate(valid_days=-1)
    assert await bench.post(document) == 503
    bench.gateway.pem = b"not a certificate"
    assert await bench.post(document) == 503
    bench.gateway.pem = sns.certificate()
    bench.record.is_sick = True
    assert await bench.post(document) == 503
    bench.record.is_sick = False
    assert await bench.post(document) == 200
    assert bench.refusals() == ["certificate", "certificate", "certificate", "store"]


@pytest.mark.P5
async def test_signed_but_not_understood_is_kept_raw_and_accepted(bench: Bench) -> None:
    assert await bench.post(sns.notification("{}")) == 200
    assert list(bench.record.events.values()) == [None]
    assert bench.facts.names() == ["feedback_not_understood"]


async def test_the_greeting_of_an_event_destination_is_no_alarm(bench: Bench) -> None:
    assert await bench.post(sns.notification(VALIDATION_TEXT)) == 200
    assert bench.facts.names() == ["service"]


@pytest.mark.P5
async def test_what_we_fall_over_is_kept_raw_and_never_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def falls(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("relay.feedback.effects.read_event", falls)
    assert await bench.post(sns.notification(sns.bounce("jane@example.net"))) == 200
    assert list(bench.record.events.values()) == [None]
    assert bench.facts.names() == ["fault", "feedback_not_understood"]


async def test_a_subscription_is_confirmed_at_an_address_we_build(bench: Bench) -> None:
    document = sns.confirmation(SubscribeURL="https://evil.example/?x=1")
    assert await bench.post(document) == 200
    assert bench.gateway.confirmed == [
        (
            "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription"
            "&TopicArn=arn%3Aaws%3Asns%3Aeu-west-1%3A123456789012%3Ases-feedback"
            "&Token=2336412f37fb687f5d51e6e2"
        )
    ]


@pytest.mark.parametrize("bench", [Confirm.MANUAL], indirect=True)
async def test_a_manual_subscription_waits_for_the_operator(bench: Bench) -> None:
    assert await bench.post(sns.confirmation()) == 200
    assert bench.gateway.confirmed == []
    (waiting,) = [args for name, args in bench.facts.told if name == "service"]
    assert waiting[0] == "subscription_waiting"


async def test_unsubscribing_never_subscribes_again(bench: Bench) -> None:
    assert await bench.post(sns.confirmation("UnsubscribeConfirmation")) == 200
    assert bench.gateway.confirmed == []


async def test_a_failed_confirmation_is_asked_for_again(bench: Bench) -> None:
    document = sns.confirmation()
    assert await bench.post(document) == 200
    bench.gateway.confirmed.clear()

    async def down(url: str) -> None:
        raise UnavailableError(url)

    bench.gateway.confirm = down  # type: ignore[method-assign]
    assert await bench.post(document) == 503


async def test_send_events_say_that_more_may_be_expected(bench: Bench) -> None:
    assert not bench.effects.events_seen()
    message = json.dumps({"eventType": "Send", "mail": {"messageId": "m"}, "send": {}})
    await bench.post(sns.notification(message))
    assert bench.effects.events_seen()


# --- signature versions, header fields, raw delivery ----------------------------------------------

SECRET = "a password of raw delivery"


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"sns:{password}".encode()).decode()


RAW = {
    "x_amz_sns_rawdelivery": "true",
    "x_amz_sns_message_id": "raw-1",
    "x_amz_sns_topic_arn": sns.TOPIC,
}
ONLY_2 = Topics(frozenset({sns.TOPIC}), Confirm.AUTO, frozenset({"2"}))
WITH_RAW = Topics(frozenset({sns.TOPIC}), Confirm.AUTO, raw_secret=SECRET)


async def test_an_old_signature_is_warned_of_once_with_the_command_that_ends_it(
    bench: Bench,
) -> None:
    for name in ("m-1", "m-2"):
        document = sns.notification("x", SignatureVersion="1", MessageId=name)
        assert await bench.post(document) == 200
    (words,) = [
        w
        for (_, w), (n, a) in zip(bench.facts.words, bench.facts.told, strict=True)
        if (n, a) == ("service", ("old_signature",))
    ]
    assert words["remedy"] == (
        f"aws sns set-topic-attributes --topic-arn {sns.TOPIC} "
        "--attribute-name SignatureVersion --attribute-value 2"
    )


@pytest.mark.parametrize("bench", [ONLY_2], indirect=True)
async def test_an_old_signature_can_be_forbidden(bench: Bench) -> None:
    assert await bench.post(sns.notification("x", SignatureVersion="1")) == 403
    assert bench.gateway.asked == []
    assert await bench.post(sns.notification("x")) == 200


@pytest.mark.parametrize(
    "header",
    [
        {"x_amz_sns_message_type": "SubscriptionConfirmation"},
        {"x_amz_sns_message_id": "other"},
        {"x_amz_sns_topic_arn": "arn:aws:sns:eu-west-1:123456789012:other"},
    ],
    ids="+".join,
)
async def test_a_header_that_says_otherwise_than_the_body_is_refused(
    bench: Bench, header: dict[str, str]
) -> None:
    assert await bench.post(sns.notification(sns.bounce("jane@example.net")), **header) == 403
    assert bench.record.events == {}


async def test_what_sns_really_sends_in_the_header_is_fine(bench: Bench) -> None:
    document = sns.notification(sns.bounce("jane@example.net"))
    header = {
        "x_amz_sns_message_type": "Notification",
        "x_amz_sns_message_id": document["MessageId"],
        "x_amz_sns_topic_arn": sns.TOPIC,
    }
    assert await bench.post(document, **header) == 200


@pytest.mark.P7
async def test_raw_delivery_is_refused_without_a_secret_of_its_own(bench: Bench) -> None:
    body = sns.bounce("jane@example.net").encode()
    assert await bench.post(body, **RAW, authorization=basic("")) == 403
    assert bench.record.events == {}


@pytest.mark.P7
@pytest.mark.parametrize("bench", [WITH_RAW], indirect=True)
async def test_raw_delivery_is_believed_with_the_password_alone(bench: Bench) -> None:
    body = sns.bounce("jane@example.net").encode()
    # SNS says it only once it is asked for it.
    assert await bench.post(body, **RAW) == 401
    for wrong in (basic("guess"), basic(""), "Basic !", f"Bearer {SECRET}"):
        assert await bench.post(body, **RAW, authorization=wrong) == 403
    right = basic(SECRET)
    foreign = {**RAW, "x_amz_sns_topic_arn": sns.TOPIC + "x"}
    assert await bench.post(body, **foreign, authorization=right) == 403
    nameless = {name: value for name, value in RAW.items() if "id" not in name}
    assert await bench.post(body, **nameless, authorization=right) == 400
    assert await bench.post(b"\xff", **RAW, authorization=right) == 400
    assert bench.record.events == {}
    assert await bench.post(body, **RAW, authorization=right) == 200
    assert list(bench.record.events) == ["raw-1"]
    # The password opens nothing but raw delivery.
    forged = {**sns.notification("x"), "Signature": "AAAA"}
    assert await bench.post(forged, authorization=right) == 403


# --- by a queue -----------------------------------------------------------------------------------


def event_bridge(event: str) -> str:
    document = {"id": "bridge-1", "detail-type": "Email Bounced", "source": "aws.ses"}
    return json.dumps({**document, "detail": json.loads(event)})


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (json.dumps(sns.notification(sns.bounce("jane@example.net"))), "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324"),
        (event_bridge(sns.bounce("jane@example.net")), "bridge-1"),
        (sns.bounce("jane@example.net"), "sqs-1"),
    ],
    ids=["sns", "eventbridge", "raw"],
)  # fmt: skip
async def test_every_wrapper_of_a_queue_is_taken_off(bench: Bench, body: str, name: str) -> None:
    assert await bench.intake.take_queued(body, "sqs-1")
    assert list(bench.record.events) == [name]
    assert bench.record.suppressed == ["jane@example.net"]


async def test_the_same_event_by_webhook_and_queue_counts_once(bench: Bench) -> None:
    document = sns.notification(sns.bounce("jane@example.net"))
    assert await bench.post(document) == 200
    assert await bench.intake.take_queued(json.dumps(document), "sqs-1")
    assert bench.record.suppressed == ["jane@example.net"]


@pytest.mark.P5
@pytest.mark.parametrize(
    "body", ["", "[]", "7", "not json", '{"some": "thing"}', "[" * 100_000],
    ids=["empty", "list", "number", "text", "foreign", "deep"],
)  # fmt: skip
async def test_poison_is_left_to_the_redrive_policy(bench: Bench, body: str) -> None:
    assert not await bench.intake.take_queued(body, "sqs-1")
    assert bench.record.events == {}
    assert bench.refusals() == ["malformed"]


async def test_a_message_of_a_queue_stays_there_until_it_is_durable(bench: Bench) -> None:
    bench.record.is_sick = True
    assert not await bench.intake.take_queued(sns.bounce("jane@example.net"), "sqs-1")
    bench.record.is_sick = False
    assert await bench.intake.take_queued(sns.bounce("jane@example.net"), "sqs-1")


async def test_a_foreign_topic_in_the_queue_is_not_believed(bench: Bench) -> None:
    document = sns.notification("x", TopicArn=sns.TOPIC + "x")
    assert not await bench.intake.take_queued(json.dumps(document), "sqs-1")
    assert bench.refusals() == ["topic"]


async def test_events_years_late_are_taken_and_counted(bench: Bench) -> None:
    old = sns.bounce("jane@example.net").replace("2026-03-02", "2019-03-02")
    assert await bench.post(sns.notification(old)) == 200
    told = [w for n, w in bench.facts.words if n == "feedback"]
    assert told == [{"duplicate": False, "stale": True}]
