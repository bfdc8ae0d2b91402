"""The webhook's decisions: who is believed, what is stored, what SNS is told."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import pytest

from relay.feedback.certificate import UnavailableError
from relay.feedback.event import VALIDATION_TEXT
from relay.feedback.intake import BODY_LIMIT, Confirm, Intake, Topics
from relay.mail.feedback import FeedbackEvent, Suppression
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
    ) -> Sequence[Suppression] | None:
        assert raw
        if self.is_sick:
            raise SpoolError("disk")
        if delivery_id in self.events:
            return None
        self.events[delivery_id] = event
        self.suppressed += [one.address for one in suppressions]
        return suppressions


@dataclasses.dataclass
class Bench:
    intake: Intake
    gateway: Gateway
    record: Memory
    facts: RecordingFacts

    async def post(self, document: dict[str, Any] | bytes) -> int:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return await self.intake.take_in(body)

    def refusals(self) -> list[str]:
        return [args[0] for name, args in self.facts.told if name == "feedback_refused"]


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Bench:
    confirm = getattr(request, "param", Confirm.AUTO)
    gateway, record, facts = Gateway(sns.certificate()), Memory(), RecordingFacts()
    topics = Topics(frozenset({sns.TOPIC}), confirm)
    clock = FrozenClock(sns.NOW)
    intake = Intake(lambda: topics, gateway, record, facts, clock)  # type: ignore[arg-type]
    return Bench(intake, gateway, record, facts)


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

    monkeypatch.setattr("relay.feedback.intake.read_event", falls)
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
    assert not bench.intake.events_seen()
    message = json.dumps({"eventType": "Send", "mail": {"messageId": "m"}, "send": {}})
    await bench.post(sns.notification(message))
    assert bench.intake.events_seen()
