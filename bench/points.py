"""The points at which the whole way of a message is measured: one factor at a time off a base.

Values only. Does not know how a server is configured for a point, nor how a load is sent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final


class Tls(Enum):
    """How clients encrypt."""

    OFF = "off"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


class Login(Enum):
    """How the relay knows the client."""

    NETWORK = "network"
    TOKEN = "token"  # noqa: S105 - what kind of secret, not one
    ARGON2 = "argon2"


class Ses(Enum):
    """What answers in place of SES."""

    AT_ONCE = "at once"
    TLS = "by TLS"
    LATE = "after 60 ms"


OURS: Final = "this relay"
POSTFIX: Final = "Postfix"
BOTO3: Final = "aiosmtpd + boto3"
_BOTH: Final = (POSTFIX, BOTO3)


@dataclass(frozen=True, slots=True)
class Point:
    """What is sent, how, and to what end."""

    name: str
    messages: int = 2000
    """Sent to us; the others are sent fewer (share)."""
    size: int = 4096
    """Octets of each body."""
    clients: int = 10
    is_kept: bool = True
    """Whether connections are kept, or each message has its own."""
    is_pipelined: bool = False
    tls: Tls = Tls.OFF
    login: Login = Login.NETWORK
    recipients: int = 1
    ses: Ses = Ses.AT_ONCE
    accept: str = "queued"
    peers: tuple[str, ...] = ()
    """Who else can do this, and is measured beside us."""
    target: float | None = None
    """The most of Postfix's CPU that ours may take; None where none was promised."""
    rate_target: float | None = None
    """The least of Postfix's end-to-end rate that ours has to be."""

    @property
    def can_be_sent_by_smtp_source(self) -> bool:
        """Whether Postfix's load generator can do this and leave a client over to take times."""
        return (
            self.login is Login.NETWORK
            and self.tls is Tls.OFF
            and not self.is_pipelined
            and self.clients > 1
        )

    def share(self, part: float) -> Point:
        """Return the same with so much of its messages, but one for each client at least."""
        return replace(self, messages=max(self.clients, round(self.messages * part)))


BASE: Final = Point("base", peers=_BOTH, target=0.18, rate_target=4.0)
"""4 KiB, 10 clients with kept connections, plain, known by network, one recipient, queued."""

# Of the largest mail SES takes over its first API, less what headers add.
LARGEST: Final = 10 * 1024 * 1024 - 65536

POINTS: Final = (
    BASE,
    Point("100 KiB", 600, size=100 << 10, peers=(POSTFIX,)),
    Point("1 MiB", 80, size=1 << 20, peers=_BOTH, target=0.95),
    Point("10 MiB", 20, size=LARGEST, peers=(POSTFIX,)),
    Point("1 client", 600, clients=1, peers=(POSTFIX,)),
    Point("50 clients", clients=50, peers=(POSTFIX,), target=0.18, rate_target=4.0),
    Point("100 clients", clients=100, peers=(POSTFIX,)),
    Point("one message per connection", is_kept=False, peers=_BOTH, target=0.22),
    Point("pipelined", is_pipelined=True, peers=(POSTFIX,)),
    Point("STARTTLS", tls=Tls.STARTTLS, peers=(POSTFIX,)),
    Point("implicit TLS", tls=Tls.IMPLICIT, peers=(POSTFIX,)),
    Point("token", login=Login.TOKEN),
    Point("argon2", login=Login.ARGON2),
    Point("argon2, one message per connection", 800, login=Login.ARGON2, is_kept=False),
    Point("50 recipients", 300, recipients=50, peers=(POSTFIX,)),
    Point("SES by TLS", ses=Ses.TLS),
    Point("SES after 60 ms", 1000, ses=Ses.LATE, peers=(BOTO3,)),
    Point("relayed", accept="relayed", peers=(BOTO3,)),
)
