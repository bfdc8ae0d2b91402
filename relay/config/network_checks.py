"""Whether the networks that name senders name whom they should, and nobody else.

Looks at the settings only; does not know which networks this machine is in.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from relay.config.complaint import Finding, KeyPath, spell
from relay.config.model import Settings
from relay.policy.sender import Network

# What containers, and whoever comes in through Docker's port forwarding, show as their address.
_DOCKER_BRIDGE: Final = IPv4Address("172.17.0.1")
# The largest private networks are 10.0.0.0/8 and fc00::/7.
_LARGEST_PRIVATE: Final = {4: 8, 6: 7}


def check_networks(settings: Settings) -> Iterator[Finding]:
    """Yield what is wrong with the networks of all senders."""
    proxies = list(_proxies(settings))
    owners: dict[Network, tuple[KeyPath, str]] = {}
    for index, sender in enumerate(settings.senders):
        for place, network in enumerate(sender.networks):
            at = ("senders", index, "networks", place)
            earlier, owner = owners.setdefault(network, (at, sender.name))
            if earlier != at:
                yield Finding(
                    at,
                    f"{network} already names the sender '{owner}'; a client there would be either",
                    (at, earlier),
                )
            yield from too_large(at, network, "sends as this sender")
            yield from _holds_docker(at, network)
            yield from _holds_proxies(at, network, proxies)


def too_large(at: KeyPath, network: Network, power: str) -> Iterator[Finding]:
    """Warn of a network that holds strangers; `power` is what they could do."""
    if network.prefixlen < _LARGEST_PRIVATE[network.version]:
        yield Finding(
            at,
            f"{network} is larger than any private network: whoever can reach the listener {power}",
            (at,),
            is_warning=True,
        )


def _holds_docker(at: KeyPath, network: Network) -> Iterator[Finding]:
    is_private = network.prefixlen >= _LARGEST_PRIVATE[network.version]
    if is_private and isinstance(network, IPv4Network) and _DOCKER_BRIDGE in network:
        yield Finding(
            at,
            f"{network} holds {_DOCKER_BRIDGE}, the address every outside client has when Docker "
            "forwards the port: they would all send as this sender",
            (at,),
            is_warning=True,
        )


def _proxies(settings: Settings) -> Iterator[tuple[KeyPath, Network]]:
    for index, listener in enumerate(settings.listeners):
        trusted = listener.proxy_protocol.trusted if listener.proxy_protocol else ()
        for place, network in enumerate(trusted):
            yield ("listeners", index, "proxy_protocol", "trusted", place), network


def _holds_proxies(
    at: KeyPath, network: Network, proxies: list[tuple[KeyPath, Network]]
) -> Iterator[Finding]:
    for trusted_at, trusted in proxies:
        # Only networks of one version can be compared, says ipaddress.
        if network.version == trusted.version and network.overlaps(trusted):
            yield Finding(
                at,
                f"{network} overlaps the proxies {trusted} of {spell(trusted_at[:2])}: a client "
                "they do not name would send as this sender; leave the proxies out",
                (at, trusted_at),
                is_warning=True,
            )
            return
