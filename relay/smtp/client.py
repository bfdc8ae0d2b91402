"""What a session knows of its client; all of it is forgotten at STARTTLS (RFC 3207 section 4.2)."""

from __future__ import annotations

import asyncio

from aiosmtpd.smtp import Session

from relay.mail.reply import Refusal
from relay.policy.admission import Auth, identify
from relay.policy.ruleset import Ruleset
from relay.policy.sender import Host, Sender, host_of
from relay.smtp.trace import opening, protocol_name


class CredentialsChangedError(Exception):
    """The client proved to be a sender that a reload has since removed or given another secret."""


class Client(Session):
    """One client: its address, what it called itself, and whom it proved to be."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.BaseTransport, host: Host
    ) -> None:
        super().__init__(loop)
        self.host = host
        self.is_on_this_host = (
            host.is_loopback and host_of(transport.get_extra_info("sockname")[0]).is_loopback
        )
        self.is_secure = transport.get_extra_info("ssl_object") is not None
        self.proven: Sender | None = None
        self._proven_by: Ruleset | None = None
        self._identity: tuple[Ruleset, Sender | Refusal] | None = None
        self._opening: tuple[str, bytes] | None = None

    def introduce(self, name: str, *, extended: bool) -> None:
        """Take note of HELO or EHLO."""
        self.host_name = name
        self.extended_smtp = extended
        self._opening = None

    def prove(self, sender: Sender, ruleset: Ruleset) -> None:
        """Take note of a successful AUTH."""
        self.authenticated = True
        self.proven, self._proven_by = sender, ruleset
        self._identity = self._opening = None

    def identity(self, ruleset: Ruleset, auth: Auth) -> Sender | Refusal:
        """Say which sender this is by these rules; raise CredentialsChangedError."""
        # Searching all networks again for every mail of a kept connection would be a waste.
        if self._identity is None or self._identity[0] is not ruleset:
            proven = self._still_proven(ruleset)
            answer = identify(ruleset.senders, auth, authenticated=proven, host=self.host)
            self._identity = ruleset, answer
        return self._identity[1]

    def _still_proven(self, ruleset: Ruleset) -> Sender | None:
        proven = self.proven
        if proven is None or ruleset is self._proven_by:
            return proven
        now = ruleset.senders.get(proven.name)
        if now is None or (now.login, now.secret) != (proven.login, proven.secret):
            raise CredentialsChangedError
        self.proven, self._proven_by = now, ruleset
        return now

    def trace_opening(self, hostname: str) -> bytes:
        """Return what the Received fields of this client's mail begin with."""
        if self._opening is None or self._opening[0] != hostname:
            protocol = protocol_name(
                extended=self.extended_smtp,
                secure=self.is_secure,
                authenticated=self.proven is not None,
            )
            opened = opening(self.host_name or "", self.host, hostname=hostname, protocol=protocol)
            self._opening = hostname, opened
        return self._opening[1]
