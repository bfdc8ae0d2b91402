"""Where SES is asked: an endpoint URL, read strictly. Knows no region and no network."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final, Self
from urllib.parse import urlsplit

_HOST: Final = re.compile(r"(?!.{254})[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
# Nothing that signing would have to normalise: no dot segments, no doubled slash, no escapes.
_PATH: Final = re.compile(r"/|(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+/?")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Host, port and path, and whether to speak TLS there."""

    host: str
    port: int
    path: str
    is_tls: bool

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `http[s]://host[:port][/path]`; raise ValueError otherwise."""
        parts = urlsplit(url)
        scheme, host, path = parts.scheme, parts.hostname or "", parts.path or "/"
        if scheme not in _DEFAULT_PORTS:
            raise ValueError(f"an endpoint begins with https:// or http://: {url}")
        if parts.query or parts.fragment or parts.username or parts.password:
            raise ValueError(f"an endpoint is a scheme, a host, a port and a path: {url}")
        if not (_HOST.fullmatch(host) or _is_ipv6(host)):
            raise ValueError(f"an endpoint has a host: {url}")
        if not _PATH.fullmatch(path):
            raise ValueError(f"the path of an endpoint is plain: {url}")
        port = parts.port if parts.port is not None else _DEFAULT_PORTS[scheme]
        return cls(host, port, path, scheme == "https")

    @property
    def authority(self) -> str:
        """The value of the Host field: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = _DEFAULT_PORTS["https" if self.is_tls else "http"]
        return host if self.port == default else f"{host}:{self.port}"


def _is_ipv6(host: str) -> bool:
    try:
        return bool(IPv6Address(host))
    except ValueError:
        return False
