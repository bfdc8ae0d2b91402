"""A proxy on the way to SES: where it is, and how it is asked for a tunnel (RFC 9110, CONNECT).

What goes through the tunnel is TLS with SES itself, so the proxy reads none of it. Requests to an
endpoint without TLS it gets itself, and passes them on. Knows no socket.
"""

from __future__ import annotations

from binascii import b2a_base64
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit

from relay import __version__
from relay.ses.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where it is, and what it is shown; empty: nothing."""

    host: str
    port: int
    credentials: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str, variable: str = "HTTPS_PROXY") -> Self:
        """Read `http://[user:password@]host[:port]`, the scheme being optional; raise ValueError.

        No complaint repeats the URL, which may hold a password; `variable` is where it was found.
        """
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme != "http":
            raise ValueError(f"the proxy in {variable} is reached by http://, whatever it carries")
        if not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError(f"the proxy in {variable} is a host and a port")
        # Host and port are those of any endpoint.
        there = Endpoint.parse(f"http://{parts.netloc.rpartition('@')[2]}")
        if parts.username is None:
            return cls(there.host, there.port)
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return cls(
            there.host, there.port, b2a_base64(login.encode(), newline=False).decode("ascii")
        )

    @property
    def name(self) -> str:
        """Where it is, for people."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def request(self, endpoint: Endpoint) -> bytes:
        """Return the request for a tunnel to that endpoint."""
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        there = f"{host}:{endpoint.port}"
        return (
            f"CONNECT {there} HTTP/1.1\r\nHost: {there}\r\n"
            f"User-Agent: ses-relay/{__version__}\r\n{self.authorization}\r\n"
        ).encode("ascii")

    @property
    def authorization(self) -> str:
        """The field that shows it who we are, with its line end; empty where it need not know."""
        return f"Proxy-Authorization: Basic {self.credentials}\r\n" if self.credentials else ""
