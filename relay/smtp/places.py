"""Who may connect: so many connections to a listener, to the process, of one network or sender.

Counts. Does not know sockets or sessions.
"""

from __future__ import annotations

import contextlib
import resource
import sys
from ipaddress import IPv6Address
from typing import Final, TypeVar

from relay.mail.envelope import SenderName
from relay.policy.sender import Host

# Descriptors for everything else: spool, SES, logs, HTTP.
_RESERVED: Final = 256
# A connection may need two: one for itself, and one for the file its content goes to.
_PER_CONNECTION: Final = 2
# One network, and one sender, may have a quarter of a listener, and a small listener's worth in any
# case: what is seen as one address may be a whole office.
_SHARE: Final = 4
_LEAST: Final = 20
# What one IPv6 host or site is commonly given (RFC 6177): all of it counts as one.
_SITE_BITS: Final = 64
# Where stress begins and where it ends, as shares of what there is: apart, so that a single
# connection that comes and goes does not begin and end it each time.
_STRESSED: Final = 0.8
_RELAXED: Final = 0.6

_K = TypeVar("_K")


def network_of(host: Host) -> Host:
    """Return the network that is held to account for a client, by its first address.

    That is the address itself for IPv4, and its /64 for IPv6.
    """
    if isinstance(host, IPv6Address):
        return IPv6Address(int(host) >> _SITE_BITS << _SITE_BITS)
    return host


class Capacity:
    """So many connections of so many. `is_stressed` from 80 % on, until there are under 60 %."""

    __slots__ = ("_relaxed", "_stressed", "is_stressed", "limit", "taken")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0
        self.is_stressed = False
        self._stressed = limit * _STRESSED
        self._relaxed = limit * _RELAXED

    def take(self) -> None:
        """Count one connection more."""
        self.taken += 1
        if self.taken >= self._stressed:
            self.is_stressed = True

    def give_back(self) -> None:
        """Count one connection less."""
        self.taken -= 1
        if self.is_stressed and self.taken < self._relaxed:
            self.is_stressed = False


def raise_capacity() -> Capacity:
    """Let this process have all the descriptors it may; return what is left for connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    if soft == resource.RLIM_INFINITY:
        return Capacity(sys.maxsize)
    return Capacity(max(1, (soft - _RESERVED) // _PER_CONNECTION))


class Places:
    """The connections of one listener, handshakes of TLS included.

    `capacity` is what all listeners have together.
    """

    def __init__(self, maximum: int, capacity: Capacity) -> None:
        self._share = max(_LEAST, maximum // _SHARE)
        self._own = Capacity(maximum)
        self._capacity = capacity
        self._networks: dict[Host, int] = {}
        self._senders: dict[SenderName, int] = {}

    def __len__(self) -> int:
        return self._own.taken

    @property
    def is_stressed(self) -> bool:
        """Whether most places are taken, here or in the whole process: time to be less patient."""
        return self._own.is_stressed or self._capacity.is_stressed

    def take(self) -> Place | None:
        """Let one more connection in, or say no."""
        own, capacity = self._own, self._capacity
        if own.taken >= own.limit or capacity.taken >= capacity.limit:
            return None
        own.take()
        capacity.take()
        return Place(self, self._networks, self._senders, self._share)

    def leave(self) -> None:
        """Take note that a connection has ended; only for its Place."""
        self._own.give_back()
        self._capacity.give_back()


class Place:
    """The place of one connection, counted first for nobody, then for a network and a sender."""

    __slots__ = ("_network", "_networks", "_places", "_sender", "_senders", "_share", "host")

    host: Host
    """The client; known once the place is for it."""

    def __init__(
        self,
        places: Places,
        networks: dict[Host, int],
        senders: dict[SenderName, int],
        share: int,
    ) -> None:
        self._places: Places | None = places
        self._networks = networks
        self._senders = senders
        self._share = share
        self._network: Host | None = None
        self._sender: SenderName | None = None

    def is_for(self, host: Host) -> bool:
        """Count it for a client's network, once; False when that has its share already.

        Clients on this host have no share of their own.
        """
        self.host = host
        network = network_of(host)
        taken = self._networks.get(network, 0)
        if taken >= self._share and not host.is_loopback:
            return False
        self._networks[network] = taken + 1
        self._network = network
        return True

    def is_of(self, sender: SenderName) -> bool:
        """Count it for a sender, and no longer for another; False when it has its share already."""
        if sender == self._sender:
            return True
        taken = self._senders.get(sender, 0)
        if taken >= self._share:
            return False
        if self._sender is not None:
            _give_back(self._senders, self._sender)
        self._senders[sender] = taken + 1
        self._sender = sender
        return True

    def give_back(self) -> None:
        """Take note that the connection has ended. Again is as good as once."""
        places, self._places = self._places, None
        if places is None:
            return
        places.leave()
        if self._network is not None:
            _give_back(self._networks, self._network)
        if self._sender is not None:
            _give_back(self._senders, self._sender)


def _give_back(taken: dict[_K, int], key: _K) -> None:
    left = taken[key] - 1
    if left:
        taken[key] = left
    else:
        del taken[key]
