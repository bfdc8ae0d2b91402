"""Who may connect: so many connections to a listener, to the process, and from one network.

Counts. Does not know sockets or sessions.
"""

from __future__ import annotations

import contextlib
import resource
import sys
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from relay.policy.sender import Host

# Descriptors for everything else: spool, SES, logs, HTTP.
_RESERVED: Final = 256
# One network may have a quarter of a listener, and a small listener's worth in any case: what is
# seen as one address may be a whole office.
_SHARE: Final = 4
_LEAST: Final = 20
# What one IPv6 host or site is commonly given (RFC 6177): all of it counts as one.
_SITE_BITS: Final = 64


def network_of(host: Host) -> Host:
    """Return the network that is held to account for a client, by its first address.

    That is the address itself for IPv4, and its /64 for IPv6.
    """
    if isinstance(host, IPv6Address):
        return IPv6Address(int(host) >> _SITE_BITS << _SITE_BITS)
    return host


@dataclass(slots=True)
class Capacity:
    """The connections that all listeners have and may have together."""

    limit: int
    taken: int = 0


def raise_capacity() -> Capacity:
    """Let this process have all the descriptors it may; return what is left for connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    if soft == resource.RLIM_INFINITY:
        return Capacity(sys.maxsize)
    return Capacity(max(1, soft - _RESERVED))


class Places:
    """The connections of one listener, handshakes of TLS included, by the network they are from."""

    def __init__(self, maximum: int, capacity: Capacity) -> None:
        self._maximum = maximum
        self._per_network = max(_LEAST, maximum // _SHARE)
        self._capacity = capacity
        self._taken: dict[Host, int] = {}
        self._total = 0

    def take(self, host: Host) -> bool:
        """Let one more connection in, or say no. Clients on this host have no share of their own.

        Each connection let in must be given back once.
        """
        capacity, network = self._capacity, network_of(host)
        taken = self._taken.get(network, 0)
        if self._total >= self._maximum or capacity.taken >= capacity.limit:
            return False
        if taken >= self._per_network and not host.is_loopback:
            return False
        self._taken[network] = taken + 1
        self._total += 1
        capacity.taken += 1
        return True

    def give_back(self, host: Host) -> None:
        """Take note that a connection has ended."""
        network = network_of(host)
        self._total -= 1
        self._capacity.taken -= 1
        left = self._taken[network] - 1
        if left:
            self._taken[network] = left
        else:
            del self._taken[network]
