"""Where SNS's signing certificates come from. Knows HTTP; not which address is SNS's."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

import aiohttp

FETCH_TIMEOUT: Final = 5.0  # seconds
SIZE_LIMIT: Final = 16 * 1024
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
    """Asks over HTTPS: no redirects, bounded in time and size, certificates asked for once."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}
        self._single_flight = asyncio.Lock()

    async def certificate(self, url: str) -> bytes:
        """Return the PEM at that address; raise UnavailableError."""
        async with self._single_flight:
            pem = self._kept.get(url)
            if pem is None:
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
