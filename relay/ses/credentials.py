"""The credentials of an account, kept fresh by a task of its own and read without waiting.

Knows when to look for credentials. Does not know where they come from: that is a function it calls
in a thread, because finding them may ask the network and may take its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from relay.ses.signer import Keys

REFUSED: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
"""SES's codes for keys that others may replace: expired, deleted after a rotation, or mistyped."""


class KeySource(Protocol):
    """Finds credentials. Called in a thread, one call at a time."""

    def __call__(self, *, anew: bool) -> Keys | None:
        """Return the credentials, refreshed if they expire soon; None where there are none.

        `anew` forgets what was found before: SES refused it. May raise anything.
        """
        ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """When credentials are looked at again."""

    check: timedelta = timedelta(seconds=60)
    """While all is well. Far less than the quarter of an hour by which they are renewed ahead."""
    first_retry: timedelta = timedelta(seconds=2)
    """After a failure; then doubling to"""
    last_retry: timedelta = timedelta(seconds=60)
    patience: timedelta = timedelta(seconds=10)
    """How long a call waits for the very first look to end."""

    def retry(self, failures: int) -> timedelta:
        """Return the wait after so many failures before this one."""
        return min(self.first_retry * (1 << min(failures, 16)), self.last_retry)


class Credentials:
    """What was found last. Credentials that cannot be renewed are used until SES refuses them."""

    def __init__(
        self,
        source: KeySource,
        *,
        threads: Executor,
        schedule: Schedule,
        tell: Callable[[Keys | None, str], None],
    ) -> None:
        """`tell` hears of every change: the keys now, and the complaint if there is one."""
        self.current: Keys | None = None
        self.complaint = "no credentials were looked for yet"
        self._source = source
        self._threads = threads
        self._schedule = schedule
        self._tell = tell
        self._told: tuple[Keys | None, str] | None = None
        self._refused: Keys | None = None
        self._wanted = asyncio.Event()
        self._looked = asyncio.Event()

    async def first(self) -> Keys | None:
        """Return the keys once they were looked for once; a start is no reason to defer mail."""
        try:
            async with asyncio.timeout(self._schedule.patience.total_seconds()):
                await self._looked.wait()
        except TimeoutError:
            pass
        return self.current

    def refused(self, keys: Keys) -> None:
        """Take note that SES refused these keys; unless they were replaced since, look anew now."""
        if keys == self.current:
            self._refused = keys
            self._wanted.set()

    def renew(self) -> None:
        """Look again now: what they are found by has changed."""
        self._wanted.set()

    async def run(self) -> None:
        """Keep the credentials fresh until cancelled."""
        failures = 0
        while True:
            if await self._look():
                failures = 0
                await self._wait(self._schedule.check)
            else:
                # What keeps failing is not hurried: a refusal of keys we cannot replace
                # comes with every call.
                await asyncio.sleep(self._schedule.retry(failures).total_seconds())
                failures += 1

    async def _look(self) -> bool:
        refused, self._refused = self._refused, None
        self._wanted.clear()
        loop = asyncio.get_running_loop()
        try:
            keys = await loop.run_in_executor(
                self._threads, lambda: self._source(anew=refused is not None)
            )
            complaint = "" if keys is not None else "no AWS credentials were found"
        except Exception as error:  # noqa: BLE001 - the SDK raises what its providers raise
            keys = self.current
            complaint = str(error) or type(error).__name__
        if refused is not None and keys == refused:
            complaint = complaint or "the credentials found are those SES refused"
            self._refused = refused
        self.current, self.complaint = keys, complaint
        self._looked.set()
        if self._told != (keys, complaint):
            self._told = (keys, complaint)
            self._tell(keys, complaint)
        return not complaint

    async def _wait(self, longest: timedelta) -> None:
        try:
            async with asyncio.timeout(longest.total_seconds()):
                await self._wanted.wait()
        except TimeoutError:
            pass
