"""How often a network may be wrong about passwords, and how many it has checked at once.

Counts failures. Does not know which password is right, and is not asked about one that was right
not long ago: so a flood of wrong ones locks nobody out who is already here.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeVar

from relay.policy.bucket import TokenBucket
from relay.policy.sender import Host

# Failures at once, and how many more per second: one a minute for a login, so that an application
# with an old password leaves most of its network's five a minute to its neighbours.
_LOGIN_BURST: Final = 10
_LOGIN_RATE: Final = 1 / 60
_NETWORK_BURST: Final = 50
_NETWORK_RATE: Final = 5 / 60

# Networks and logins remembered, those that failed last.
_REMEMBERED: Final = 8192

_AT_ONCE: Final = 2
_IN_LINE: Final = 32


class VerifierBusyError(Exception):
    """No password is checked now: too many are waiting, or too many of them were wrong."""


_K = TypeVar("_K")


class _Failures(Generic[_K]):
    """One bucket of failures for each key; the key that failed longest ago is forgotten first."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: OrderedDict[_K, TokenBucket] = OrderedDict()

    def are_few(self, key: _K, now: float) -> bool:
        bucket = self._buckets.get(key)
        return bucket is None or bucket.wait(now) <= 0

    def add(self, key: _K, now: float) -> None:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self._rate, self._burst, now)
            if len(self._buckets) > _REMEMBERED:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
        bucket.take(1, now)


class Throttle:
    """The failures of networks, and of each login from a network. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._networks: _Failures[Host] = _Failures(_NETWORK_RATE, _NETWORK_BURST)
        self._logins: _Failures[tuple[Host, bytes]] = _Failures(_LOGIN_RATE, _LOGIN_BURST)

    def admits(self, login: str, network: Host, now: float) -> bool:
        """Whether one more password may be checked."""
        if not self._networks.are_few(network, now):
            return False
        return self._logins.are_few((network, _short(login)), now)

    def failed(self, login: str, network: Host, now: float) -> None:
        """Count a password that was wrong."""
        self._networks.add(network, now)
        self._logins.add((network, _short(login)), now)


def _short(login: str) -> bytes:
    # A login is what the client says it is, as long as it likes.
    return hashlib.blake2b(login.encode(), digest_size=16).digest()


class _Line:
    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(_AT_ONCE)
        self.length = 0


class Turns:
    """Lets two checks of each network go ahead at a time, so that no network has all threads."""

    def __init__(self) -> None:
        self._lines: dict[Host, _Line] = {}

    @asynccontextmanager
    async def turn(self, network: Host) -> AsyncIterator[None]:
        """Wait until it is this check's turn; raise VerifierBusyError when the line is long."""
        line = self._lines.get(network)
        if line is None:
            line = self._lines[network] = _Line()
        elif line.length >= _AT_ONCE + _IN_LINE:
            raise VerifierBusyError
        line.length += 1
        try:
            async with line.turns:
                yield
        finally:
            line.length -= 1
            if not line.length:
                del self._lines[network]
