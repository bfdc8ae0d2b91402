"""What a listener is told: address, TLS, AUTH, and how long clients may take. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from relay.policy.admission import Auth


class TlsMode(StrEnum):
    """Whether and when a listener encrypts."""

    OFF = "off"
    STARTTLS = "starttls"
    STARTTLS_REQUIRED = "starttls-required"
    IMPLICIT = "implicit"


class AuthWithoutTls(StrEnum):
    """Who may send a password over a connection that is not encrypted."""

    NEVER = "never"
    LOOPBACK = "loopback"
    """Clients on this host: both ends of the connection are loopback addresses."""


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """One listening address and what it asks of its clients. Port 0 lets the system choose."""

    name: str
    host: str
    port: int
    tls: TlsMode
    auth: Auth
    auth_without_tls: AuthWithoutTls = AuthWithoutTls.NEVER
    max_connections: int = 1000


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long, in seconds, one step of a session may take."""

    command: float = 300.0
    """For the next command, and for reading our replies (RFC 5321 section 4.5.3.2.7)."""
    first_mail: float = 60.0
    """From connecting to the first MAIL that is taken: who sends nothing is here for nothing."""
    data_block: float = 180.0
    """Between two pieces of content (RFC 5321 section 4.5.3.2.5)."""
    data: float = 1800.0
    """For one whole content."""
    commit: float = 60.0
    """Until a mail that is not yet on its way to the disk is withdrawn."""
    handshake: float = 10.0
    """For a TLS handshake."""
    linger: float = 10.0
    """For a client to take our last reply before the connection is cut."""
    farewell: float = 1.0
    """For a client that has our last reply to answer the end of TLS."""
    auth_floor: float = 0.3
    """What every failed AUTH takes at least, so that time tells nobody why it failed."""
