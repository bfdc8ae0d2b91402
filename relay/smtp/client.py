"""What a session knows of its client; all of it is forgotten at STARTTLS (RFC 3207 section 4.2)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Collection
from dataclasses import dataclass, replace

from aiosmtpd.smtp import Session

from relay.mail.envelope import SenderName
from relay.mail.reply import Refusal
from relay.policy.admission import Auth, identify
from relay.policy.ruleset import Ruleset, TraceHeaders
from relay.policy.sender import Host, Sender, host_of
from relay.smtp.tls import TlsInForce
from relay.smtp.trace import opening, protocol_name


class CredentialsChangedError(Exception):
    """The client proved to be a sender that a reload has since removed or given another secret."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a client's certificate says: its names, and which authorities it was checked with."""

    names: tuple[str, ...]
    authorities: frozenset[bytes]

    def is_good_for(self, tls: TlsInForce) -> bool:
        """Whether a handshake would still accept it.

        Which of the authorities it was is not known: if one of them has gone, a client of the
        others only has to connect again.
        """
        return self.authorities <= tls.current.authorities


@dataclass(frozen=True, slots=True)
class Proof:
    """Which sender a client proved to be, by which rules: by AUTH, or else by its certificate."""

    sender: Sender
    ruleset: Ruleset
    certificate: Certificate | None = None

    def under(self, ruleset: Ruleset, tls: TlsInForce | None) -> Proof:
        """Return the same proof by other rules; raise CredentialsChangedError."""
        was, certificate = self.sender, self.certificate
        now = ruleset.senders.get(was.name)
        if now is None:
            raise CredentialsChangedError
        if certificate is None:
            if (now.login, now.secret) != (was.login, was.secret):
                raise CredentialsChangedError
        else:
            is_named = ruleset.senders.with_certificate(certificate.names) is now
            if tls is None or not (is_named and certificate.is_good_for(tls)):
                raise CredentialsChangedError
        return replace(self, sender=now, ruleset=ruleset)


class Client(Session):
    """One client: its address, what it called itself, and whom it proved to be.

    `tls` is what its listener encrypts with, if it does.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.BaseTransport,
        host: Host,
        tls: TlsInForce | None,
    ) -> None:
        super().__init__(loop)
        self.host = host
        self._transport = transport
        self.ssl_object: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        self._tls = tls
        self._proof: Proof | None = None
        self._identity: tuple[Ruleset, Sender | Refusal] | None = None
        self._opening: tuple[tuple[str, TraceHeaders], bytes] | None = None

    @property
    def is_on_this_host(self) -> bool:
        """Whether both ends of the connection are loopback addresses."""
        if not self.host.is_loopback:
            return False
        # Asked of the system, and by few listeners: not for every client that comes.
        return host_of(self._transport.get_extra_info("sockname")[0]).is_loopback

    @property
    def is_secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.ssl_object is not None

    @property
    def has_logged_in(self) -> bool:
        """Whether AUTH has succeeded."""
        return self._proof is not None and self._proof.certificate is None

    def is_any_of(self, senders: Collection[SenderName]) -> bool:
        """Whether it was found to be one of these, by a proof or by its network."""
        found = [] if self._proof is None else [self._proof.sender.name]
        if self._identity is not None and isinstance(self._identity[1], Sender):
            found.append(self._identity[1].name)
        return any(name in senders for name in found)

    def introduce(self, name: str, *, extended: bool) -> None:
        """Take note of HELO or EHLO."""
        self.host_name = name
        self.extended_smtp = extended
        self._opening = None

    def prove(self, proof: Proof) -> None:
        """Take note of whom the client proved to be; a later proof goes before an earlier one."""
        self._proof = proof
        self.authenticated = self.has_logged_in
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
        proof = self._proof
        if proof is None:
            return None
        if ruleset is not proof.ruleset:
            proof = self._proof = proof.under(ruleset, self._tls)
        return proof.sender

    def trace_opening(self, ruleset: Ruleset) -> bytes:
        """Return what the Received fields of this client's mail begin with; empty: none has one."""
        by = ruleset.hostname, ruleset.trace
        if self._opening is None or self._opening[0] != by:
            # RFC 3848 calls AUTH authenticated, and nothing else.
            protocol = protocol_name(
                extended=self.extended_smtp,
                secure=self.is_secure,
                authenticated=self.has_logged_in,
            )
            opened = opening(
                self.host_name or "",
                self.host,
                hostname=ruleset.hostname,
                protocol=protocol,
                trace=ruleset.trace,
            )
            self._opening = by, opened
        return self._opening[1]
