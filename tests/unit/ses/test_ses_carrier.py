"""The carrier: one consignment, one request, one answer."""

from __future__ import annotations

import asyncio
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
from relay.ses.carrier import Line, SesCarrier
from relay.ses.credentials import Credentials, Schedule
from relay.ses.endpoint import Endpoint
from relay.ses.pool import Deadlines, Pool
from relay.ses.request import CONTENT_TYPE, SLICE
from relay.ses.signer import Keys, Signer
from tests.builders import an_address
from tests.fakes import FrozenClock
from tests.unit.ses.service import (
    CONTENT,
    REFUSED,
    TAKEN,
    Teller,
    a_consignment,
    http,
    is_valid,
)
from tests.unit.ses.wire import Script, serving

OLD, NEW = Keys("AKIDOLD", "old secret"), Keys("AKIDNEW", "new secret", "token")


@asynccontextmanager
async def carrying(
    script: Script,
    *finds: Keys | None,
    tell: Callable[[Keys | None, str], None] = lambda _keys, _complaint: None,
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
            endpoint = Endpoint.parse(f"http://127.0.0.1:{server.port}")
            pool = Pool(endpoint, None, deadlines=Deadlines())
            line = Line(pool, Signer(endpoint, "eu-west-1", CONTENT_TYPE))
            yield SesCarrier(credentials, lambda: line, clock=FrozenClock(), threads=threads)
            await pool.close()
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
@pytest.mark.parametrize("size", [SLICE, SLICE + 1, 5 * SLICE + 17])
async def test_content_in_memory_and_in_a_file_is_sent_alike(tmp_path: Path, size: int) -> None:
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    path = tmp_path / "content"
    path.write_bytes(content)
    teller = Teller(http(200, TAKEN.format("m-1")))
    async with carrying(teller, NEW) as carrier:
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


async def test_keys_that_ses_calls_expired_are_replaced_for_the_next_call() -> None:
    expired = http(403, REFUSED.format("ExpiredToken", "The security token has expired"))
    teller = Teller(expired, http(200, TAKEN.format("m-1")))
    renewed = asyncio.Event()

    def tell(keys: Keys | None, _complaint: str) -> None:
        if keys == NEW:
            renewed.set()

    async with carrying(teller, OLD, NEW, tell=tell) as carrier:
        refused = await carrier.relay(a_consignment())
        assert refused == Refused(403, "ExpiredToken", "The security token has expired")
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
