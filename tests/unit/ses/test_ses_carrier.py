"""The carrier: one consignment, one request, one answer."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from relay.mail.envelope import AccountName, Envelope
from relay.policy.sender import Route
from relay.policy.verdict import Accepted, Answer, Broken, Refused, Stage
from relay.ports import ContentError, ContentFile
from relay.ses.api import V1_LIMIT, Choice, Preference
from relay.ses.caller import Caller
from relay.ses.carrier import SesCarrier
from relay.ses.credentials import Credentials, Schedule
from relay.ses.frame import SLICE
from relay.ses.lines import Lines
from relay.ses.pool import Deadlines
from relay.ses.signer import Keys
from tests.builders import an_address
from tests.fakes import FrozenClock
from tests.unit.ses.service import (
    CONTENT,
    REFUSED,
    TAKEN,
    Somewhere,
    Teller,
    a_consignment,
    http,
    is_valid,
)
from tests.unit.ses.wire import Peer, Script, serving

OLD, NEW = Keys("AKIDOLD", "old secret"), Keys("AKIDNEW", "new secret", "token")


@asynccontextmanager
async def carrying(
    script: Script,
    *finds: Keys | None,
    tell: Callable[[Keys | None, str], None] = lambda _keys, _complaint: None,
    api: Preference = Preference.AUTO,
    url: str = "",
    clock: FrozenClock | None = None,
    skews: list[timedelta] | None = None,
) -> AsyncIterator[SesCarrier]:
    left = list(finds)

    def find(*, anew: bool) -> Keys | None:
        if anew and len(left) > 1:
            del left[0]
        return left[0]

    schedule = Schedule(check=timedelta(hours=1), first_retry=timedelta(hours=1))
    with ThreadPoolExecutor(2) as threads:
        credentials = Credentials(find, threads=threads, schedule=schedule, tell=tell)
        task = asyncio.create_task(credentials.run())
        async with serving(script) as server:
            aws = Somewhere(url or f"http://127.0.0.1:{server.port}")
            lines = Lines(lambda: aws, region="eu-west-1", deadlines=Deadlines(), threads=threads)
            caller = Caller(
                credentials,
                clock=clock or FrozenClock(),
                on_skew=([] if skews is None else skews).append,
            )
            yield SesCarrier(caller, lines, Choice(api), threads=threads)
            await lines.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.P2
async def test_one_consignment_is_one_signed_request() -> None:
    teller = Teller(http(200, TAKEN.format("m-1")))
    async with carrying(teller, OLD) as carrier:
        assert await carrier.relay(a_consignment()) == Accepted("m-1")
    (head,), (body,) = teller.heads, teller.bodies
    assert is_valid(head, body, OLD.secret_key)
    assert parse_qs(body.decode(), strict_parsing=True) == {
        "Action": ["SendRawEmail"],
        "Version": ["2010-12-01"],
        "Source": ["billing@example.com"],
        "Destinations.member.1": ["jane@example.net"],
        "Destinations.member.2": ["o'neil+1@example.net"],
        "Tags.member.1.Name": ["relay-id"],
        "Tags.member.1.Value": ["06H04YCY58GVCD1MB7KG"],
        "Tags.member.2.Name": ["app"],
        "Tags.member.2.Value": ["billing"],
        "ConfigurationSetName": ["bulk"],
        "RawMessage.Data": ["U3ViamVjdDogeA0KDQr/ACsvPQ0K"],
    }


async def test_what_is_absent_is_not_sent_empty() -> None:
    teller = Teller(http(200, TAKEN.format("m-1")))
    consignment = a_consignment()
    mail = consignment.mail._replace(envelope=Envelope(None, (an_address(),)))
    bare = replace(consignment, mail=mail, route=Route(AccountName("main")), tags=())
    async with carrying(teller, OLD) as carrier:
        assert await carrier.relay(bare) == Accepted("m-1")
    assert b"Source=" not in teller.bodies[0]
    assert b"ConfigurationSetName" not in teller.bodies[0]
    assert b"Tags." not in teller.bodies[0]


@pytest.mark.P2
async def test_a_consignment_of_a_tenant_is_one_signed_request_of_v2() -> None:
    teller = Teller(http(200, '{"MessageId": "m-2"}'))
    consignment = a_consignment()
    of_a_tenant = replace(consignment, route=replace(consignment.route, tenant="acme"))
    async with carrying(teller, NEW) as carrier:
        assert await carrier.relay(of_a_tenant) == Accepted("m-2")
    (head,), (body,) = teller.heads, teller.bodies
    assert head.startswith(b"POST /v2/email/outbound-emails HTTP/1.1\r\n")
    assert is_valid(head, body, NEW.secret_key)
    assert json.loads(body) == {
        "Destination": {"ToAddresses": ["jane@example.net", "o'neil+1@example.net"]},
        "FeedbackForwardingEmailAddress": "billing@example.com",
        "EmailTags": [
            {"Name": "relay-id", "Value": "06H04YCY58GVCD1MB7KG"},
            {"Name": "app", "Value": "billing"},
        ],
        "ConfigurationSetName": "bulk",
        "TenantName": "acme",
        "Content": {"Raw": {"Data": "U3ViamVjdDogeA0KDQr/ACsvPQ0K"}},
    }


@pytest.mark.parametrize(
    ("api", "size", "tenant", "path"),
    [
        (Preference.AUTO, V1_LIMIT, "", b"POST / "),
        (Preference.AUTO, V1_LIMIT + 1, "", b"POST /v2/"),
        (Preference.AUTO, 10, "acme", b"POST /v2/"),
        (Preference.V1, V1_LIMIT + 1, "", b"POST / "),
        (Preference.V2, 10, "", b"POST /v2/"),
    ],
)
async def test_the_api_is_chosen_by_final_size_and_tenant(
    tmp_path: Path, api: Preference, size: int, tenant: str, path: bytes
) -> None:
    taken = TAKEN.format("m-1") if path == b"POST / " else '{"MessageId": "m-1"}'
    teller = Teller(http(200, taken))
    content = b"x" * size
    (tmp_path / "content").write_bytes(content)
    file = ContentFile(tmp_path / "content", size, zlib.crc32(content))
    consignment = replace(a_consignment(file), route=Route(AccountName("main"), tenant=tenant))
    async with carrying(teller, OLD, api=api) as carrier:
        assert await carrier.relay(consignment) == Accepted("m-1")
    assert teller.heads[0].startswith(path)


async def test_both_apis_share_their_connections() -> None:
    teller = Teller(http(200, TAKEN.format("m-1")), http(200, '{"MessageId": "m-2"}'))
    consignment = a_consignment()
    of_a_tenant = replace(consignment, route=replace(consignment.route, tenant="acme"))
    connections = []

    async def count(peer: Peer) -> None:
        connections.append(peer)
        await teller(peer)

    async with carrying(count, OLD) as carrier:
        assert await carrier.relay(consignment) == Accepted("m-1")
        assert await carrier.relay(of_a_tenant) == Accepted("m-2")
    assert len(connections) == 1


@pytest.mark.P8
async def test_a_way_that_cannot_be_found_is_a_refusal_and_nothing_is_sent() -> None:
    async with carrying(Teller(b""), OLD, url="https://a..b") as carrier:
        assert await carrier.relay(a_consignment()) == Refused(
            0, "NoEndpoint", "an endpoint has a host: https://a..b"
        )


@pytest.mark.P2
@pytest.mark.parametrize("api", [Preference.V1, Preference.V2])
@pytest.mark.parametrize("size", [SLICE, SLICE + 1, 5 * SLICE + 17])
async def test_content_in_memory_and_in_a_file_is_sent_alike(
    tmp_path: Path, size: int, api: Preference
) -> None:
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    path = tmp_path / "content"
    path.write_bytes(content)
    taken = TAKEN.format("m-1") if api is Preference.V1 else '{"MessageId": "m-1"}'
    teller = Teller(http(200, taken))
    async with carrying(teller, NEW, api=api) as carrier:
        assert await carrier.relay(a_consignment(content)) == Accepted("m-1")
        file = ContentFile(path, size, zlib.crc32(content))
        assert await carrier.relay(a_consignment(file)) == Accepted("m-1")
    assert teller.bodies[0] == teller.bodies[1]
    for head, body in zip(teller.heads, teller.bodies, strict=True):
        assert is_valid(head, body, NEW.secret_key)


@pytest.mark.P5
async def test_content_that_is_not_what_was_spooled_is_not_sent(tmp_path: Path) -> None:
    teller = Teller(b"")
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    async with carrying(teller, OLD) as carrier:
        for content in (CONTENT, ContentFile(path, 7, zlib.crc32(CONTENT))):
            with pytest.raises(ContentError, match="were spooled"):
                await carrier.relay(a_consignment(content, size=7))
        with pytest.raises(FileNotFoundError):
            await carrier.relay(a_consignment(ContentFile(tmp_path / "gone", 7, 0)))
    assert not teller.heads


@pytest.mark.P8
async def test_without_credentials_nothing_is_asked() -> None:
    teller = Teller(b"")
    async with carrying(teller, None) as carrier:
        for _ in range(2):
            assert await carrier.relay(a_consignment()) == Refused(
                0, "MissingAuthenticationToken", "no AWS credentials were found"
            )
    assert not teller.heads


@pytest.mark.P8
@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidClientTokenId", "SignatureDoesNotMatch"])
async def test_keys_that_ses_refuses_are_replaced_for_the_next_call(code: str) -> None:
    teller = Teller(http(403, REFUSED.format(code, "no")), http(200, TAKEN.format("m-1")))
    renewed = asyncio.Event()

    def tell(keys: Keys | None, _complaint: str) -> None:
        if keys == NEW:
            renewed.set()

    async with carrying(teller, OLD, NEW, tell=tell) as carrier:
        refused = await carrier.relay(a_consignment())
        assert refused == Refused(403, code, "no")
        await renewed.wait()
        assert await carrier.relay(a_consignment()) == Accepted("m-1")
    assert b"Credential=AKIDOLD/" in teller.heads[0]
    assert b"Credential=AKIDNEW/" in teller.heads[1]
    assert b"X-Amz-Security-Token: token\r\n" in teller.heads[1]


@pytest.mark.P3
@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (http(400, REFUSED.format("Throttling", "slow")), Refused(400, "Throttling", "slow")),
        (http(503, "busy"), Refused(503, "", "busy")),
        (http(200, "ok"), Broken(Stage.NO_ANSWER, "HTTP 200 without a message id")),
        (
            b"EHLO\r\n",
            Broken(Stage.NO_ANSWER, "the answer is not HTTP: it has no status line"),
        ),
    ],
)
async def test_what_ses_does_is_returned_not_raised(said: bytes, answer: Answer) -> None:
    async with carrying(Teller(said), OLD) as carrier:
        assert await carrier.relay(a_consignment()) == answer


def at(date: str, answer: bytes) -> bytes:
    """Return an answer that bears a Date field."""
    return answer.replace(b"\r\n", f"\r\nDate: {date}\r\n".encode(), 1)


def stamps(teller: Teller) -> list[str]:
    return [head.split(b"X-Amz-Date: ")[1][:16].decode() for head in teller.heads]


TOO_LATE = http(400, REFUSED.format("RequestExpired", "Request has expired."))
WRONG_KEY = http(403, REFUSED.format("SignatureDoesNotMatch", "not the signature you provided"))


@pytest.mark.P8
async def test_a_clock_that_ses_does_not_believe_is_corrected_and_told() -> None:
    teller = Teller(
        at("Sun, 01 Mar 2026 14:30:00 GMT", TOO_LATE),
        http(200, TAKEN.format("m-1")),
        # Somebody has set the clock right: now the correction is what is wrong.
        at("Sun, 01 Mar 2026 14:31:00 GMT", TOO_LATE),
        http(200, TAKEN.format("m-2")),
    )
    clock, skews = FrozenClock(), list[timedelta]()
    async with carrying(teller, OLD, clock=clock, skews=skews) as carrier:
        assert isinstance(await carrier.relay(a_consignment()), Refused)
        assert await carrier.relay(a_consignment()) == Accepted("m-1")
        clock.step(timedelta(hours=2, minutes=31))
        assert isinstance(await carrier.relay(a_consignment()), Refused)
        assert await carrier.relay(a_consignment()) == Accepted("m-2")
    assert stamps(teller) == [
        "20260301T120000Z",
        "20260301T143000Z",
        "20260301T170100Z",
        "20260301T143100Z",
    ]
    assert skews == [timedelta(hours=2, minutes=30), timedelta(0)]


@pytest.mark.P8
async def test_calls_at_once_by_a_wrong_clock_are_no_reason_to_doubt_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both, doubted = asyncio.Barrier(2), list[Keys]()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await both.wait()
            await peer.say(at("Sun, 01 Mar 2026 14:30:00 GMT", WRONG_KEY))

    async with carrying(script, OLD) as carrier:
        monkeypatch.setattr(carrier._credentials, "refused", doubted.append)
        # By the time of SES, the second time, it is the key that is wrong.
        for expected in ([], [OLD, OLD]):
            answers = await asyncio.gather(*(carrier.relay(a_consignment()) for _ in range(2)))
            assert all(isinstance(answer, Refused) for answer in answers)
            assert doubted == expected


@pytest.mark.parametrize(
    "date",
    [
        "Sun, 01 Mar 2026 12:00:59 GMT",
        "Sun, 01 Mar 2026 11:59:01 -0000",
        "yesterday",
        "Sun, 99 Mar 2026 12:00:59 GMT",
        "",
    ],
)
async def test_a_wrong_key_is_not_taken_for_a_wrong_clock(date: str) -> None:
    teller, skews = Teller(at(date, WRONG_KEY)), list[timedelta]()
    async with carrying(teller, OLD, skews=skews) as carrier:
        for _ in range(2):
            assert isinstance(await carrier.relay(a_consignment()), Refused)
    assert set(stamps(teller)) == {"20260301T120000Z"}
    assert skews == []


async def test_what_ses_says_of_its_time_otherwise_is_not_looked_at() -> None:
    throttled = http(400, REFUSED.format("Throttling", "slow"))
    teller, skews = Teller(at("Sun, 01 Mar 2026 18:00:00 GMT", throttled)), list[timedelta]()
    async with carrying(teller, OLD, skews=skews) as carrier:
        for _ in range(2):
            assert isinstance(await carrier.relay(a_consignment()), Refused)
    assert set(stamps(teller)) == {"20260301T120000Z"}
    assert skews == []
