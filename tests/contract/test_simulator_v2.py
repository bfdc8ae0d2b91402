"""The simulator's SES API v2 as boto3's `sesv2` client sees it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import botocore.exceptions
import pytest
from botocore.config import Config

from relay.simulator import (
    DEMO_CREDENTIAL,
    Credential,
    Garble,
    LoseAnswer,
    Refuse,
    Sending,
    Settings,
    Simulator,
)
from relay.simulator.errors import ApiError
from relay.simulator.json_call import read_submission
from relay.simulator.submission import Api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RAW = (
    b"From: Billing <billing@example.com>\r\nTo: jane@example.net\r\nSubject: Invoice 1042\r\n"
    b"Message-ID: <1042.app@erp.example.com>\r\n\r\nhello\r\n"
)
UNVERIFIED = (
    "Email address is not verified. The following identities failed the check in region EU-WEST-1: "
)
SESSION = boto3.session.Session()


@pytest.fixture(name="simulator")
async def _simulator() -> AsyncIterator[Simulator]:
    settings = Settings(
        control_rate=None,
        tenants={"acme": frozenset({"example.com", "default"}), "bare": frozenset()},
        paused_tenants=frozenset({"late"}),
    )
    async with Simulator(settings) as simulator:
        yield simulator


class Ses:
    """A boto3 client, called in threads so that the simulator's loop goes on."""

    def __init__(self, simulator: Simulator, credential: Credential = DEMO_CREDENTIAL) -> None:
        self.client = SESSION.client(
            "sesv2",
            endpoint_url=simulator.url,
            region_name="eu-west-1",
            aws_access_key_id=credential.access_key,
            aws_secret_access_key=credential.secret_key,
            aws_session_token=credential.session_token,
            config=Config(retries={"total_max_attempts": 1, "mode": "standard"}),
        )

    async def send(self, *recipients: str, raw: bytes = RAW, **parameters: Any) -> str:
        answer = await asyncio.to_thread(
            self.client.send_email,
            Content={"Raw": {"Data": raw}},
            Destination={"ToAddresses": list(recipients or ["jane@example.net"])},
            **parameters,
        )
        return str(answer["MessageId"])

    async def refusal(self, *recipients: str, **parameters: Any) -> tuple[str, str, int]:
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            await self.send(*recipients, **parameters)
        response = refused.value.response
        error, metadata = response["Error"], response["ResponseMetadata"]
        return error["Code"], error["Message"], metadata["HTTPStatusCode"]


async def test_a_message_arrives_byte_for_byte_with_all_that_was_said(simulator: Simulator) -> None:
    raw = RAW + bytes(range(256)) + b"\r\n.\r\n+/=%20&\r\n"
    message_id = await Ses(simulator).send(
        "jane@example.net",
        "Joe <joe@example.net>",
        raw=raw,
        FeedbackForwardingEmailAddress="bounces@example.com",
        EmailTags=[{"Name": "app", "Value": "erp"}, {"Name": "node", "Value": "a-1"}],
        ConfigurationSetName="default",
        TenantName="acme",
    )
    (message,) = simulator.messages
    assert (message.id, message.api, message.raw) == (message_id, Api.V2, raw)
    assert message.source == "bounces@example.com"
    assert message.destinations == ("jane@example.net", "Joe <joe@example.net>")
    assert list(map(str, message.recipients)) == ["jane@example.net", "joe@example.net"]
    assert message.tags == (("app", "erp"), ("node", "a-1"))
    assert (message.configuration_set, message.tenant) == ("default", "acme")


async def test_forty_megabytes_arrive_and_one_byte_more_does_not(simulator: Simulator) -> None:
    # What AWS means by 40 MB is a switch; a few will do.
    simulator.change(replace(simulator.settings, max_size_v2=12_000_000))
    ses, raw = Ses(simulator), RAW + b"x" * (12_000_000 - len(RAW))
    await ses.send(raw=raw)
    assert simulator.messages[0].raw == raw
    assert await ses.refusal(raw=raw + b"x") == (
        "BadRequestException",
        "Message length is more than 12000000 bytes long: '12000001'.",
        400,
    )


async def test_an_author_that_is_named_is_written_over_the_from_field(simulator: Simulator) -> None:
    raw = RAW.replace(b"From: Billing <", b"X-A: b\r\nfrom:\r\n Billing\r\n <")
    await Ses(simulator).send(raw=raw, FromEmailAddress="other@example.com")
    assert simulator.messages[0].raw == RAW.replace(
        b"From: Billing <billing@example.com>", b"X-A: b\r\nFrom: other@example.com"
    )


async def test_every_refusal_has_the_name_that_v2_gives_it(simulator: Simulator) -> None:
    ses, usual = Ses(simulator), simulator.settings
    text = "Sending is paused for configuration set <slow>"
    for parameters, changes, expected in (
        (
            {"raw": b"From: a@example.com\r\nSubject: a\r\nsubject: b\r\n\r\n"},
            {},
            ("BadRequestException", "Duplicate header 'Subject'.", 400),
        ),
        (
            {"FeedbackForwardingEmailAddress": "a@example.net"},
            {},
            ("MessageRejected", f"{UNVERIFIED}a@example.net", 400),
        ),
        (
            {"ConfigurationSetName": "other"},
            {},
            ("NotFoundException", "Configuration set <other> does not exist.", 404),
        ),
        (
            {"ConfigurationSetName": "slow"},
            {"paused_configuration_sets": frozenset({"slow"})},
            ("SendingPausedException", text, 400),
        ),
        (
            {},
            {"sending": Sending.PAUSED_BY_CUSTOMER},
            (
                "SendingPausedException",
                "Email sending is disabled for your entire Amazon SES account.",
                400,
            ),
        ),
        (
            {"FromEmailAddressIdentityArn": "arn:aws:ses:eu-west-1:999999999999:identity/b.c"},
            {},
            (
                "AccessDeniedException",
                (
                    "User `arn:aws:iam::123456789012:user/simulator-caller' is not authorized to "
                    "perform `ses:SendRawEmail' on resource "
                    "`arn:aws:ses:eu-west-1:999999999999:identity/b.c'"
                ),
                403,
            ),
        ),
        (
            {"TenantName": "nobody"},
            {},
            ("NotFoundException", "Tenant <nobody> does not exist.", 404),
        ),
        (
            {"TenantName": "bare", "ConfigurationSetName": "default"},
            {},
            ("NotFoundException", "<default> is not associated with tenant <bare>.", 404),
        ),
        (
            {"TenantName": "bare"},
            {},
            ("NotFoundException", "<example.com> is not associated with tenant <bare>.", 404),
        ),
        (
            {"TenantName": "late"},
            {"tenants": {"late": frozenset({"example.com"})}},
            ("SendingPausedException", "Sending is paused for tenant <late>", 400),
        ),
        (
            {},
            {"daily_quota": 0},
            ("LimitExceededException", "Daily message quota exceeded.", 400),
        ),
    ):
        simulator.change(replace(usual, **changes))
        assert await ses.refusal(**parameters) == expected
    simulator.change(replace(usual, max_send_rate=1.0))
    await ses.send(*(f"r{n}@example.net" for n in range(50)))
    assert await ses.refusal() == (
        "TooManyRequestsException",
        "Maximum sending rate exceeded.",
        429,
    )
    assert simulator.taken == 1


async def test_only_valid_signatures_count(simulator: Simulator) -> None:
    gone = Credential(
        access_key="ASIAGONE",
        secret_key="s",
        session_token="t",
        expires_at=datetime.now(UTC) - timedelta(1),
    )
    simulator.change(replace(simulator.settings, credentials=(DEMO_CREDENTIAL, gone)))
    for credential, code in (
        (replace(DEMO_CREDENTIAL, secret_key="wrong"), "InvalidSignatureException"),
        (replace(DEMO_CREDENTIAL, access_key="AKIAUNKNOWN"), "UnrecognizedClientException"),
        (gone, "ExpiredTokenException"),
    ):
        refused = await Ses(simulator, credential).refusal()
        assert (refused[0], refused[2]) == (code, 403)
    assert simulator.messages == ()


async def test_faults_speak_json_and_are_told_by_action(simulator: Simulator) -> None:
    ses = Ses(simulator)
    simulator.fail(Refuse("TooManyRequestsException", "slow", 429), action="SendEmail")
    simulator.fail(Refuse("Throttling", "not this one"), action="SendRawEmail")
    assert await ses.refusal() == ("TooManyRequestsException", "slow", 429)
    simulator.clear_faults()
    simulator.fail(Garble())
    assert (await ses.refusal())[2] == 503
    simulator.fail(LoseAnswer())
    with pytest.raises(botocore.exceptions.HTTPClientError):
        await ses.send()
    assert [(call.action, call.code) for call in simulator.calls][:2] == [
        ("SendEmail", "TooManyRequestsException"),
        ("SendEmail", "garbled"),
    ]
    assert simulator.taken == 1


async def test_the_account_tells_its_quota_and_its_standing(simulator: Simulator) -> None:
    ses = Ses(simulator)
    await ses.send("a@b.c", "d@b.c")
    simulator.change(
        replace(
            simulator.settings,
            sandbox=True,
            sending=Sending.PAUSED_BY_CUSTOMER,
            enforcement_status="PROBATION",
        )
    )
    account = await asyncio.to_thread(ses.client.get_account)
    assert account["SendQuota"] == {
        "Max24HourSend": 200.0,
        "MaxSendRate": 1.0,
        "SentLast24Hours": 2.0,
    }
    assert account["ProductionAccessEnabled"] is False
    assert account["SendingEnabled"] is False
    assert account["EnforcementStatus"] == "PROBATION"
    simulator.change(replace(simulator.settings, control_rate=0.001))
    await asyncio.to_thread(ses.client.get_account)
    with pytest.raises(ses.client.exceptions.TooManyRequestsException, match="Rate exceeded"):
        await asyncio.to_thread(ses.client.get_account)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "SerializationException"),
        (b"[]", "SerializationException"),
        (b"[" * 100_000, "SerializationException"),
        (b'{"Content": 1}', "SerializationException"),
        (b'{"Content": {"Raw": {"Data": "?"}}}', "SerializationException"),
        (b'{"Content": {"Raw": {"Data": ""}}, "EmailTags": 1}', "SerializationException"),
        (
            b'{"Content": {"Raw": {"Data": ""}}, "Destination": {"ToAddresses": [1]}}',
            "SerializationException",
        ),
        (b'{"Content": {"Simple": {}}}', "BadRequestException"),
        (b'{"Content": {"Raw": {}}}', "BadRequestException"),
    ],
)
def test_a_body_of_another_shape_is_refused(body: bytes, code: str) -> None:
    found = read_submission(body)
    assert isinstance(found, ApiError)
    assert found.code == code
