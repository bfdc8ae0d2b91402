"""Credentials are renewed ahead, looked for again when SES refuses them, and never waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from relay.ses.credentials import Credentials, Schedule
from relay.ses.signer import Keys

FIRST, SECOND = Keys("AKIDFIRST", "1"), Keys("AKIDSECOND", "2")
NEVER, NOW = timedelta(hours=1), timedelta(0)
PATIENT = Schedule(check=NEVER, first_retry=NEVER, last_retry=NEVER)


class Source:
    """Finds what it is told to, and remembers whether it was to look anew."""

    def __init__(self, *finds: Keys | Exception | None) -> None:
        self.finds = list(finds)
        self.asked: list[bool] = []

    def __call__(self, *, anew: bool) -> Keys | None:
        self.asked.append(anew)
        found = self.finds.pop(0) if len(self.finds) > 1 else self.finds[0]
        if isinstance(found, Exception):
            raise found
        return found


class Told:
    """Waits for what is told of the credentials."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[Keys | None, str]] = asyncio.Queue()

    def __call__(self, keys: Keys | None, complaint: str) -> None:
        self._queue.put_nowait((keys, complaint))

    async def next(self) -> tuple[Keys | None, str]:
        async with asyncio.timeout(5):
            return await self._queue.get()


@asynccontextmanager
async def kept(source: Source, schedule: Schedule) -> AsyncIterator[tuple[Credentials, Told]]:
    told = Told()
    with ThreadPoolExecutor(1) as threads:
        credentials = Credentials(source, threads=threads, schedule=schedule, tell=told)
        task = asyncio.create_task(credentials.run())
        try:
            yield credentials, told
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_they_are_found_and_read_without_waiting() -> None:
    async with kept(Source(FIRST), PATIENT) as (credentials, told):
        assert credentials.current is None
        assert await credentials.first() == FIRST
        assert credentials.current == FIRST
        assert credentials.complaint == ""
        assert await told.next() == (FIRST, "")


async def test_what_is_renewed_in_time_replaces_what_expires() -> None:
    schedule = Schedule(check=NOW)
    async with kept(Source(FIRST, FIRST, SECOND), schedule) as (credentials, told):
        assert await told.next() == (FIRST, "")
        assert await told.next() == (SECOND, "")
        assert credentials.current == SECOND


async def test_where_there_are_none_they_are_looked_for_again() -> None:
    schedule = Schedule(check=NEVER, first_retry=NOW)
    source = Source(None, None, FIRST)
    async with kept(source, schedule) as (credentials, told):
        assert await told.next() == (None, "no AWS credentials were found")
        assert await told.next() == (FIRST, "")
        assert credentials.current == FIRST
        assert source.asked == [False, False, False]


async def test_a_provider_may_raise_anything() -> None:
    schedule = Schedule(check=NEVER, first_retry=NOW)
    source = Source(ZeroDivisionError(), RuntimeError("metadata timed out"), FIRST)
    async with kept(source, schedule) as (credentials, told):
        assert await told.next() == (None, "ZeroDivisionError")
        assert await told.next() == (None, "metadata timed out")
        assert await told.next() == (FIRST, "")
        assert credentials.complaint == ""


@pytest.mark.P8
async def test_what_cannot_be_renewed_is_used_as_long_as_ses_takes_it() -> None:
    schedule = Schedule(check=NOW, first_retry=NEVER)
    async with kept(Source(FIRST, OSError("no route")), schedule) as (credentials, told):
        assert await told.next() == (FIRST, "")
        assert await told.next() == (FIRST, "no route")
        assert credentials.current == FIRST


async def test_what_ses_refuses_is_looked_for_anew_at_once() -> None:
    source = Source(FIRST, SECOND)
    async with kept(source, PATIENT) as (credentials, told):
        assert await told.next() == (FIRST, "")
        credentials.refused(FIRST)
        credentials.refused(FIRST)
        assert await told.next() == (SECOND, "")
        assert source.asked == [False, True]
        # A call that was signed before is answered only now: nothing new.
        credentials.refused(FIRST)
        await asyncio.sleep(0)
        assert source.asked == [False, True]


async def test_what_is_found_again_after_a_refusal_is_not_hammered() -> None:
    source = Source(FIRST)
    async with kept(source, PATIENT) as (credentials, told):
        assert await told.next() == (FIRST, "")
        credentials.refused(FIRST)
        assert await told.next() == (FIRST, "the credentials found are those SES refused")
        for _ in range(100):
            credentials.refused(FIRST)
            await asyncio.sleep(0)
        assert source.asked == [False, True]


async def test_a_refusal_is_remembered_until_something_else_is_found() -> None:
    schedule = Schedule(check=NEVER, first_retry=NOW)
    source = Source(FIRST, OSError("no route"), FIRST, SECOND)
    async with kept(source, schedule) as (credentials, told):
        assert await told.next() == (FIRST, "")
        credentials.refused(FIRST)
        assert await told.next() == (FIRST, "no route")
        assert await told.next() == (FIRST, "the credentials found are those SES refused")
        assert await told.next() == (SECOND, "")
        assert source.asked == [False, True, True, True]


async def test_the_first_look_is_waited_for_with_bounded_patience() -> None:
    told = Told()
    with ThreadPoolExecutor(1) as threads:
        schedule = Schedule(patience=timedelta(seconds=0.01))
        credentials = Credentials(Source(FIRST), threads=threads, schedule=schedule, tell=told)
        assert await credentials.first() is None
        assert "yet" in credentials.complaint


def test_retries_double_up_to_a_ceiling() -> None:
    schedule = Schedule(first_retry=timedelta(seconds=2), last_retry=timedelta(seconds=60))
    waits = [schedule.retry(failures).total_seconds() for failures in range(8)]
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]
    assert schedule.retry(10_000) == timedelta(seconds=60)
