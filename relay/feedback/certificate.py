"""Where SNS's signing certificates come from. Knows HTTP; not which address is SNS's."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import aiohttp

FETCH_TIMEOUT: Final = 5.0  # seconds
SIZE_LIMIT: Final = 16 * 1024
FETCHES: Final = 5
FETCH_PERIOD: Final = 60.0  # seconds
"""At most so many certificates are asked for in that time: in truth there is one."""
KEPT: Final = 16
"""Certificates kept; SNS rotates one per region about once a year."""


class UnavailableError(Exception):
    """What was asked of AWS could not be had now; SNS is told to come again."""


class SnsGateway(Protocol):
    """The two things we ask of SNS itself."""

    async def certificate(self, url: str) -> bytes:
        """Return the PEM at that address; raise UnavailableError."""
        ...

    async def confirm(self, url: str) -> None:
        """Confirm a subscription by that address; raise UnavailableError."""
        ...


class HttpsSnsGateway:
    """Asks over HTTPS: no redirects, bounded in time and size, each certificate asked for once."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._kept: dict[str, bytes] = {}
        self._under_way: dict[str, asyncio.Task[bytes]] = {}
        self._asked_at: deque[float] = deque(maxlen=FETCHES)

    async def certificate(self, url: str) -> bytes:
        """Return the PEM at that address; raise UnavailableError."""
        pem = self._kept.get(url)
        if pem is not None:
            return pem
        task = self._under_way.get(url)
        if task is None:
            self._check_pace()
            task = asyncio.create_task(self._fetch(url))
            self._under_way[url] = task
            task.add_done_callback(lambda done: self._fetched(url, done))
        # Whoever hangs up must not end it for the others.
        return await asyncio.shield(task)

    def _fetched(self, url: str, task: asyncio.Task[bytes]) -> None:
        self._under_way.pop(url, None)
        if not task.cancelled():
            task.exception()  # seen, even if all who waited have gone

    def _check_pace(self) -> None:
        """Refuse to ask for one made-up address after the other on behalf of whoever posts."""
        now = self._monotonic()
        if len(self._asked_at) == FETCHES and now - self._asked_at[0] < FETCH_PERIOD:
            raise UnavailableError("too many certificates were asked for; later")
        self._asked_at.append(now)

    async def _fetch(self, url: str) -> bytes:
        pem = await self._get(url)
        if len(self._kept) >= KEPT:
            self._kept.pop(next(iter(self._kept)))
        self._kept[url] = pem
        return pem

    async def confirm(self, url: str) -> None:
        """Confirm a subscription by that address; raise UnavailableError."""
        await self._get(url)

    async def _get(self, url: str) -> bytes:
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
                session.get(url, allow_redirects=False) as answer,
            ):
                if answer.status != 200:  # noqa: PLR2004
                    raise UnavailableError(f"SNS answered {answer.status}")
                return await _read(answer)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnavailableError(f"SNS cannot be asked: {type(error).__name__}") from error


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > SIZE_LIMIT:
            raise UnavailableError("SNS's answer is longer than any of its own")
    return bytes(body)
