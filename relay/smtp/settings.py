"""What a listener is told: address, TLS, AUTH, and how long clients may take. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from relay.policy.admission import Auth
from relay.policy.sender import LineEndings, Network


class TlsMode(StrEnum):
    """Whether and when a listener encrypts."""

    OFF = "off"
    STARTTLS = "starttls"
    STARTTLS_REQUIRED = "starttls-required"
    IMPLICIT = "implicit"


class TlsProfile(StrEnum):
    """Which versions of TLS are spoken, with which ciphers."""

    MODERN = "modern"
    """1.3."""
    INTERMEDIATE = "intermediate"
    """1.2 and newer."""
    LEGACY = "legacy"
    """1.0 and newer: broken, for devices that know nothing newer."""


class AuthWithoutTls(StrEnum):
    """Who may send a password over a connection that is not encrypted."""

    NEVER = "never"
    LOOPBACK = "loopback"
    """Clients on this host: both ends of the connection are loopback addresses."""


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """One listening address and what it asks of its clients. Port 0 lets the system choose.

    With `trusted_proxies` only they may connect, and each connection starts with a PROXY header.
    """

    name: str
    host: str
    port: int
    tls: TlsMode
    auth: Auth
    auth_without_tls: AuthWithoutTls = AuthWithoutTls.NEVER
    max_connections: int = 1000
    takes_certificates: bool = False
    """Whether a client's certificate can say which sender it is."""
    trusted_proxies: tuple[Network, ...] = ()
    line_endings: LineEndings = LineEndings.REJECT
    refuses_long_lines: bool = False
    """Whether content with a line of more than 998 octets is refused."""
    extensions_off: frozenset[str] = frozenset()
    """The EHLO keywords that are not offered."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long, in seconds, one step of a session may take."""

    command: float = 300.0
    """For the next command, and for reading our replies (RFC 5321 section 4.5.3.2.7)."""
    command_under_stress: float = 60.0
    """The same while most places are taken. Less would cut clients that mean to send more."""
    first_mail: float = 60.0
    """From connecting to the first MAIL that is taken: who sends nothing is here for nothing."""
    data_block: float = 180.0
    """Between two pieces of content (RFC 5321 section 4.5.3.2.5)."""
    data: float = 1800.0
    """For one whole content."""
    data_grace: float = 30.0
    """Of the time content is waited for under stress, what is given however little has come."""
    data_rate: float = 500.0
    """Octets for which a further second is given then: Postfix's smtpd_min_data_rate."""
    session: float = 86_400.0
    """From connecting to the last MAIL that is taken."""
    commit: float = 60.0
    """Until a mail that is not yet on its way to the disk is withdrawn."""
    proxy_header: float = 5.0
    """For a proxy to say who the client is."""
    handshake: float = 10.0
    """For a TLS handshake."""
    linger: float = 10.0
    """For a client to take our last reply before the connection is cut."""
    farewell: float = 1.0
    """For a client that has our last reply to answer the end of TLS."""
    auth_floor: float = 0.3
    """What every failed AUTH takes at least, so that time tells nobody why it failed."""
