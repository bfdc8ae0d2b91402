"""An account starts without AWS, finds what it needs, and keeps it up."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from relay.mail.envelope import AccountName
from relay.policy.verdict import Accepted, Refused
from relay.ports import Account, Carrier, SendQuota
from relay.ses.account import AccountSettings, SesAccount
from relay.ses.api import Preference
from relay.ses.credentials import Schedule
from relay.ses.sdk import Role, Whereabouts
from relay.ses.signer import Keys
from tests.fakes import FrozenClock, RecordingFacts
from tests.unit.ses.service import (
    QUOTA,
    REFUSED,
    TAKEN,
    Teller,
    a_consignment,
    http,
    is_valid,
)
from tests.unit.ses.wire import Peer, serving

T = TypeVar("T")

KEYS = Keys("AKIDEXAMPLE", "secret")
GRANTED = SendQuota(rate=14.0, daily=50000.0, used=3.0)
NEVER, NOW = timedelta(hours=1), timedelta(0)
SCHEDULE = Schedule(check=NEVER, first_retry=NEVER, last_retry=NEVER)


class FakeAws:
    """AWS as it is told to be; every answer may be an exception to raise."""

    def __init__(self, url: str = "http://127.0.0.1:9") -> None:
        self.url: str | Exception = url
        self.found: Keys | Exception | None = KEYS
        self.bundle: str | None = None
        self.threads: set[str] = set()
        self.services: set[str] = set()
        self.role: Role | None = None

    def keys(self, *, anew: bool) -> Keys | None:
        del anew
        return self._give(self.found)

    def assume(self, role: Role) -> None:
        self.role = role

    def endpoint_url(self, service: str) -> str:
        self.services.add(service)
        return self._give(self.url)

    def proxy(self, url: str) -> str | None:
        del url
        return None

    def ca_bundle(self) -> str | None:
        return self.bundle

    def _give(self, answer: T | Exception) -> T:
        self.threads.add(threading.current_thread().name)
        if isinstance(answer, Exception):
            raise answer
        return answer


def quota(rate: float = 14.0, daily: float = 50000.0, used: float = 3.0) -> bytes:
    """What GetSendQuota answers."""
    return http(200, QUOTA.format(rate=rate, daily=daily, used=used))


DENIED = http(403, REFUSED.format("AccessDenied", "not authorized"))


class FakeSes:
    """Takes all mail, and says what the quota is: each answer once, and the last for ever."""

    def __init__(self, *quotas: bytes) -> None:
        self._quotas = list(quotas or [quota()])
        self.heads: list[bytes] = []
        """Of the questions for the quota."""

    async def __call__(self, peer: Peer) -> None:
        while True:
            head = await peer.reader.readuntil(b"\r\n\r\n")
            length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
            body = await peer.reader.readexactly(length)
            if b"Action=SendRawEmail" in body:
                await peer.say(http(200, TAKEN.format("m-1")))
                continue
            self.heads.append(head)
            await peer.say(self._quotas.pop(0) if len(self._quotas) > 1 else self._quotas[0])


class AwaitedFacts(RecordingFacts):
    """Facts one can wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.quotas: asyncio.Queue[tuple[SendQuota | None, str]] = asyncio.Queue()
        self.events: asyncio.Queue[str] = asyncio.Queue()

    def service(self, event: str, **words: str | float) -> None:
        self.__getattr__("service")(event, **words)
        self.events.put_nowait(event)

    def quota_read(self, account: str, quota: SendQuota | None, complaint: str) -> None:
        assert account == "main"
        self.quotas.put_nowait((quota, complaint))

    async def next_quota(self) -> tuple[SendQuota | None, str]:
        async with asyncio.timeout(5):
            return await self.quotas.get()


def an_account(aws: FakeAws, facts: RecordingFacts, **settings: Any) -> SesAccount:
    given: dict[str, Any] = {
        "name": AccountName("main"),
        "region": "eu-west-1",
        "credentials": SCHEDULE,
        "quota_every": NEVER,
        "quota_retry": NEVER,
    }
    return SesAccount(
        AccountSettings(**given | settings),
        clock=FrozenClock(),
        facts=facts,
        aws=lambda _whereabouts: aws,
    )


async def test_an_account_sends_and_knows_its_quota() -> None:
    facts = AwaitedFacts()
    async with serving(FakeSes()) as server:
        aws = FakeAws(f"http://127.0.0.1:{server.port}")
        async with an_account(aws, facts) as account:
            as_port: Account = account
            carrier: Carrier = as_port.carrier
            assert await carrier.relay(a_consignment()) == Accepted("m-1")
            assert await facts.next_quota() == (GRANTED, "")
            assert as_port.quota == GRANTED
            assert as_port.name == "main"
    found = {"account": "main", "access_key": "AKIDEXAMPLE", "complaint": ""}
    assert facts.told == [("service", ("credentials_found",))]
    assert facts.words == [("service", found)]
    assert all(name.startswith("ses-main-ask") for name in aws.threads), "AWS was asked on the loop"
    assert aws.services == {"ses"}, "v2 was looked for before it was needed"


@pytest.mark.P8
@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("found", None, "no AWS credentials were found"),
        ("found", OSError("metadata timed out"), "metadata timed out"),
        ("url", ValueError("profile nobody is not known"), "profile nobody is not known"),
        ("url", "https://a..b", "an endpoint has a host: https://a..b"),
        ("bundle", "/nowhere/ca.pem", "[Errno 2] No such file or directory"),
    ],
)
async def test_an_account_that_cannot_reach_aws_starts_and_refuses(
    name: str, value: object, complaint: str
) -> None:
    facts, aws = AwaitedFacts(), FakeAws("https://127.0.0.1:9")
    setattr(aws, name, value)
    async with an_account(aws, facts) as account:
        answer = await account.carrier.relay(a_consignment())
        assert answer == Refused(0, "MissingAuthenticationToken", complaint)
        assert await facts.next_quota() == (None, complaint)
        assert account.quota is None
        assert facts.told == [("service", ("credentials_missing",))]


async def test_what_was_missing_is_found_later() -> None:
    facts = AwaitedFacts()
    soon = Schedule(check=NEVER, first_retry=NOW, last_retry=NOW)
    async with serving(FakeSes()) as server:
        aws = FakeAws(f"http://127.0.0.1:{server.port}")
        aws.found = None
        async with an_account(aws, facts, credentials=soon, quota_retry=NOW) as account:
            assert (await facts.next_quota())[0] is None
            aws.found = KEYS
            while (await facts.next_quota())[0] is None:
                pass
            assert account.quota == GRANTED


@asynccontextmanager
async def granting(
    *quotas: bytes, facts: AwaitedFacts, **settings: Any
) -> AsyncIterator[tuple[SesAccount, FakeSes]]:
    ses = FakeSes(*quotas)
    async with serving(ses) as server:
        aws = FakeAws(f"http://127.0.0.1:{server.port}")
        async with an_account(aws, facts, **settings) as account:
            yield account, ses


async def test_the_quota_is_read_again_and_kept_when_it_cannot_be() -> None:
    facts = AwaitedFacts()
    more = SendQuota(rate=math.inf, daily=math.inf, used=4.0)
    answers = quota(), DENIED, http(200, "<html>"), http(503, "busy"), quota(-1, -1.0, 4)
    async with granting(*answers, facts=facts, quota_every=NOW, quota_retry=NOW) as (account, _):
        assert await facts.next_quota() == (GRANTED, "")
        assert await facts.next_quota() == (None, "AccessDenied: not authorized")
        assert account.quota is not None
        assert await facts.next_quota() == (None, "SES answered, and not with a quota")
        assert await facts.next_quota() == (None, "503: busy")
        assert await facts.next_quota() == (more, "")
        assert account.quota == more


ACCOUNT = """{"SendQuota": {"Max24HourSend": 50000.0, "MaxSendRate": 14.0, "SentLast24Hours": 3.0},
"SendingEnabled": true, "ProductionAccessEnabled": true, "EnforcementStatus": "HEALTHY"}"""
TOO_MANY = "HTTP/1.1 429 x\r\nx-amzn-ErrorType: TooManyRequestsException\r\n"


@pytest.mark.parametrize(
    ("number", "instead"),
    [("3.0", "NaN"), ("14.0", "NaN"), ("14.0", "1" + "0" * 400), ("3.0", "[]")],
)
async def test_what_is_no_number_is_no_quota(number: str, instead: str) -> None:
    facts = AwaitedFacts()
    answers = http(200, ACCOUNT.replace(number, instead)), http(200, ACCOUNT)
    settings: dict[str, Any] = {"api": Preference.V2, "quota_every": NOW, "quota_retry": NOW}
    async with granting(*answers, facts=facts, **settings):
        assert await facts.next_quota() == (None, "SES answered, and not with a quota")
        assert await facts.next_quota() == (GRANTED, "")


async def test_an_account_of_v2_reads_its_quota_by_v2() -> None:
    facts = AwaitedFacts()
    refused = f'{TOO_MANY}Content-Length: 19\r\n\r\n{{"message": "slow"}}'.encode()
    unbounded = ACCOUNT.replace("14.0", "-1.0").replace("50000.0", "-1")
    answers = http(200, ACCOUNT), refused, http(200, "{}"), http(200, unbounded)
    settings: dict[str, Any] = {"api": Preference.V2, "quota_every": NOW, "quota_retry": NOW}
    async with granting(*answers, facts=facts, **settings) as (_, ses):
        assert await facts.next_quota() == (GRANTED, "")
        assert await facts.next_quota() == (None, "TooManyRequestsException: slow")
        assert await facts.next_quota() == (None, "SES answered, and not with a quota")
        assert await facts.next_quota() == (SendQuota(math.inf, math.inf, 3.0), "")
    assert all(head.startswith(b"GET /v2/email/account HTTP/1.1\r\n") for head in ses.heads)
    assert is_valid(ses.heads[0], b"", KEYS.secret_key)


@pytest.mark.P8
async def test_a_wrong_clock_is_found_out_by_a_quota_and_mail_goes_by_the_right_time() -> None:
    facts = AwaitedFacts()
    late = http(403, REFUSED.format("RequestExpired", "Request timestamp is too old")).replace(
        b"\r\n", b"\r\nDate: Sun, 01 Mar 2026 14:30:00 GMT\r\n", 1
    )
    async with granting(late, quota(), facts=facts) as (account, ses):
        assert await facts.next_quota() == (GRANTED, ""), "it was not asked again at once"
        assert ("clock_skewed", ("main", timedelta(hours=2, minutes=30))) in facts.told
        assert b"X-Amz-Date: 20260301T143000Z" in ses.heads[1]
        assert await account.carrier.relay(a_consignment()) == Accepted("m-1")


@pytest.mark.parametrize(("most", "rate"), [(None, 14.0), (5.0, 5.0), (14.0, 14.0), (100.0, 14.0)])
async def test_an_operators_rate_is_a_ceiling(most: float | None, rate: float) -> None:
    facts = AwaitedFacts()
    async with granting(facts=facts, max_send_rate=most) as (account, _):
        assert await facts.next_quota() == (GRANTED, ""), "what SES grants is told as it is"
        assert account.quota == SendQuota(rate, GRANTED.daily, GRANTED.used)


async def test_an_operators_rate_holds_while_the_quota_cannot_be_read() -> None:
    facts = AwaitedFacts()
    async with granting(DENIED, facts=facts, max_send_rate=5.0) as (account, _):
        assert await facts.next_quota() == (None, "AccessDenied: not authorized")
        assert account.quota == SendQuota(rate=5.0, daily=math.inf, used=0.0)


async def test_a_changed_limit_of_the_role_is_taken_with_new_keys_at_once() -> None:
    facts = AwaitedFacts()
    role = Role("arn:aws:iam::123456789012:role/relay", "relay", "first")
    async with granting(facts=facts, role=role) as (account, _):
        await facts.next_quota()
        aws = account._open_aws(Whereabouts("eu-west-1"))
        assert isinstance(aws, FakeAws)
        assert aws.role == role
        aws.found = Keys("ASIASECOND", "secret", "token")
        account.limit("first")
        account.limit("second")
        async with asyncio.timeout(5):
            assert await facts.events.get() == "credentials_found"
            assert await facts.events.get() == "credentials_found"
        assert account.keys == aws.found
        assert aws.role == replace(role, policy="second")


async def test_an_account_closes_while_aws_does_not_answer() -> None:
    facts, aws, never = AwaitedFacts(), FakeAws(), threading.Event()

    class Hanging(FakeAws):
        def keys(self, *, anew: bool) -> Keys | None:
            del anew
            never.wait(30)
            return None

    aws = Hanging()
    account = an_account(aws, facts)
    account.start()
    call = asyncio.create_task(account.carrier.relay(a_consignment()))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await account.close()
        await account.close()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    never.set()


def test_constructing_an_account_asks_nothing() -> None:
    aws = FakeAws()
    account = an_account(aws, RecordingFacts())
    assert account.quota is None
    assert not aws.threads


async def test_botocores_own_configuration_serves_an_account(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The whole of it with the real botocore: environment, endpoint and one mail."""
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    teller = Teller(http(200, TAKEN.format("m-1")))
    async with serving(teller) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SES", f"http://127.0.0.1:{server.port}")
        settings = AccountSettings(name=AccountName("main"), region="eu-west-1", quota_retry=NEVER)
        facts = AwaitedFacts()
        async with SesAccount(settings, clock=FrozenClock(), facts=facts) as account:
            assert await account.carrier.relay(a_consignment()) == Accepted("m-1")
            # The teller knows one answer only; a quota is not in it.
            assert (await facts.next_quota())[0] is None
    assert any(b"Credential=AKIDENV/20260301/eu-west-1/ses/" in head for head in teller.heads)
