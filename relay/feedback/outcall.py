"""One POST to a sending application's endpoint, and where such a POST may never go.

Knows HTTP and addresses. An endpoint may be private, for that is where applications are; what may
not be reached is what a name could be made to point to: this machine's link, and the addresses at
which clouds hand out credentials. Does not know what is posted.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

TIMEOUT: Final = 15.0  # seconds, all of it

Host: TypeAlias = IPv4Address | IPv6Address

# Where clouds hand out credentials: AWS by IPv6, Alibaba, Oracle. AWS's IPv4 one, which others
# share, is link-local.
_METADATA: Final = frozenset(
    map(ip_address, ("fd00:ec2::254", "fd00:ec2::23", "100.100.100.200", "192.0.0.192"))
)
_NAT64: Final = IPv6Network("64:ff9b::/96")


class UnreachableError(Exception):
    """It was not posted, or it is not known whether it was; in words for an operator."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the endpoint said; `retry_after` in seconds where it asks for that."""

    status: int
    retry_after: float = 0.0


class _Pinned(AbstractResolver):
    """Answers with addresses that were looked at; asks nobody."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._hosts = hosts

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - as looked at
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=str(one),
                port=port,
                family=socket.AF_INET6 if one.version == 6 else socket.AF_INET,  # noqa: PLR2004
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for one in self._hosts
        ]

    async def close(self) -> None:
        """Hold nothing."""


async def post(url: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Post once; raise UnreachableError. No redirect is followed, and no proxy is asked.

    The name is resolved once, and the connection goes to an address that was looked at: a name
    that is answered differently the second time leads nowhere else.
    """
    try:
        async with asyncio.timeout(TIMEOUT):
            hosts = await _resolve(url)
            connector = aiohttp.TCPConnector(resolver=_Pinned(hosts), use_dns_cache=False, limit=1)
            async with (
                aiohttp.ClientSession(
                    connector=connector, cookie_jar=aiohttp.DummyCookieJar()
                ) as session,
                session.post(url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                return Answer(answer.status, _seconds(answer.headers.get("Retry-After", "")))
    except TimeoutError as error:
        raise UnreachableError(f"no answer within {TIMEOUT:g} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise UnreachableError(f"{type(error).__name__}: {error}"[:200]) from error


async def _resolve(url: str) -> list[Host]:
    parts = urlsplit(url)
    name, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    hosts = list(dict.fromkeys(ip_address(str(one[4][0]).partition("%")[0]) for one in found))
    for host in hosts:
        complaint = complaint_about(host, parts.scheme)
        if complaint:
            raise UnreachableError(f"{name} is {host}: {complaint}")
    return hosts


def complaint_about(host: Host, scheme: str) -> str:
    """Say why nothing is posted to that address, or nothing."""
    meant = _meant(host)
    if meant.is_link_local or meant in _METADATA:
        return "link-local and metadata addresses are never called"
    if meant.is_multicast or meant.is_unspecified:
        return "that is nobody's address"
    if scheme != "https" and not meant.is_loopback:
        return "https is needed everywhere but on loopback"
    return ""


def _meant(host: Host) -> Host:
    """Return the IPv4 address that an IPv6 one stands for, or the address itself."""
    if isinstance(host, IPv6Address):
        if host in _NAT64:
            return IPv4Address(int(host) & 0xFFFFFFFF)
        return host.ipv4_mapped or host.sixtofour or host
    return host


def _seconds(text: str) -> float:
    """Read a Retry-After of seconds (RFC 9110 section 10.2.3); a date is not waited for."""
    return float(text) if text.isascii() and text.isdigit() else 0.0
