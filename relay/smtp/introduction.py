"""Who a client is: HELO and EHLO, STARTTLS, AUTH, a client certificate.

Does not know mail: a subclass takes it from whoever is known well enough.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from typing import Final, cast

from relay.mail.reply import Refusal
from relay.policy.admission import Auth
from relay.policy.ruleset import Ruleset
from relay.policy.sender import Sender
from relay.smtp import replies
from relay.smtp.authentication import AuthFailure, authenticate
from relay.smtp.client import Certificate, Client, CredentialsChangedError, Proof
from relay.smtp.dialogue import Dialogue
from relay.smtp.hangup import HangUpError
from relay.smtp.offer import Offer
from relay.smtp.places import Place
from relay.smtp.sasl import MECHANISMS
from relay.smtp.settings import AuthWithoutTls, ListenerSettings, TlsMode
from relay.smtp.surroundings import Surroundings
from relay.smtp.tls import ServerContext, names_of_client, version_of

_AUTH_FAILURE_LIMIT: Final = 3


class Introduction(Dialogue):
    """The part of a session in which it learns who the client is.

    `peer` is where the client is: the client itself, where a proxy speaks for it.
    """

    # ruff: noqa: N802

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: ListenerSettings,
        surroundings: Surroundings,
        offer: Offer,
        place: Place,
    ) -> None:
        super().__init__(loop, surroundings.deadlines, surroundings.facts, secrets.token_hex(5))
        self.peer = place.host
        self.place = place
        self.settings = settings
        self.surroundings = surroundings
        self.turns = surroundings.turns
        self._offer = offer
        self._tls = surroundings.tls.get(settings.name)
        self._auth_failures = 0
        self.client: Client
        """What is known of the client by now."""

    @property
    def needs_starttls(self) -> bool:
        """Whether nothing is to be taken from this client before STARTTLS."""
        return self.settings.tls is TlsMode.STARTTLS_REQUIRED and not self.client.is_secure

    def banner(self) -> bytes:
        """Return the greeting of the listener."""
        return self._offer.banner(self.surroundings.rules.current)

    def _create_session(self) -> Client:
        self.client = client = Client(self.loop, self._wire, self.peer, self._tls)
        return client

    def greet(self) -> None:
        """Greet whoever the handshake, if there was one, says it is."""
        if self.client.is_secure:
            self._learn_from_handshake()
        super().greet()

    # --- introductions ---

    async def smtp_HELO(self, hostname: str) -> None:
        """Begin without extensions."""
        if await self._introduce(hostname, extended=False):
            self.say(self._offer.helo(self.surroundings.rules.current))

    async def smtp_EHLO(self, hostname: str) -> None:
        """Begin, and say what we offer."""
        if await self._introduce(hostname, extended=True):
            client = self.client
            may_auth = self._takes_passwords and not client.has_logged_in
            ruleset = self.surroundings.rules.current
            self.say(self._offer.ehlo(ruleset, secure=client.is_secure, auth=may_auth))

    async def _introduce(self, name: str, *, extended: bool) -> bool:
        if not name:
            self.say_junk(replies.HELO_SYNTAX)
            return False
        if self.client.host_name:
            # Again and again is not an introduction.
            self.count_junk()
        await self.forget_transaction()
        self.client.introduce(name, extended=extended)
        return True

    # --- TLS and AUTH ---

    async def smtp_STARTTLS(self, arg: str) -> None:
        """Encrypt the connection and forget what was said in the clear (RFC 3207)."""
        tls = self._tls
        if arg:
            self.say_junk(replies.NO_ARGUMENT)
        elif self.client.is_secure:
            self.say_junk(replies.TLS_ALREADY)
        elif tls is None or not self._has_starttls:
            self.say_junk(replies.NOT_IMPLEMENTED)
        else:
            if not self.has_more:
                self.say(replies.START_TLS.line)
                await self.flush()
            # Whatever came before the handshake was not encrypted, and whoever put it there may
            # not be the client (CVE-2011-0411).
            if self.has_more:
                raise HangUpError(replies.OCTETS_BEHIND_STARTTLS, linger=True)
            await self.encrypt(tls.current)
            await self.forget_transaction()
            self.session = self._create_session()
            self.obeyed = self.commands
            self._learn_from_handshake()

    def distrusted(self) -> None:
        """Tell of a certificate that did not verify; it ends the connection."""
        self.facts.auth_failed(self.session_id, "certificate", "credentials")

    def _learn_from_handshake(self) -> None:
        """Take note of what the handshake says of the client."""
        tls = cast("ssl.SSLObject", self.client.ssl_object)
        self.facts.encrypted(self.session_id, self.settings.name, version_of(tls))
        names = names_of_client(tls)
        if not names:
            return
        context = cast("ServerContext", tls.context)
        certificate = Certificate(names, context.authorities)
        ruleset = self.surroundings.rules.current
        sender = ruleset.senders.with_certificate(names)
        if sender is None or self._tls is None or not certificate.is_good_for(self._tls):
            self.facts.certificate_unknown(self.session_id, names)
            return
        self.client.prove(Proof(sender, ruleset, certificate))
        self.facts.authenticated(self.session_id, "certificate", sender.name)
        self._take_share(sender)

    def demand_starttls(self, arg: str) -> None:  # noqa: ARG002
        """Refuse what may only be said under TLS (RFC 3207 section 4)."""
        self.say_junk(replies.TLS_REQUIRED.reply)

    @property
    def _has_starttls(self) -> bool:
        return self.settings.tls in (TlsMode.STARTTLS, TlsMode.STARTTLS_REQUIRED)

    @property
    def _takes_passwords(self) -> bool:
        """Whether AUTH may be used on this connection as it is."""
        if self.settings.auth is Auth.OFF:
            return False
        if self.client.is_secure:
            return True
        # A proxy on this host would make the whole world local.
        is_exempt = (
            self.settings.auth_without_tls is AuthWithoutTls.LOOPBACK
            and not self.settings.trusted_proxies
        )
        return is_exempt and self.client.is_on_this_host and not self.needs_starttls

    async def smtp_AUTH(self, arg: str) -> None:
        """Let the client prove which sender it is (RFC 4954)."""
        mechanism, _, initial = arg.partition(" ")
        mechanism = mechanism.upper()  # .NET sends it in lower case
        client = self.client
        if self.needs_starttls:
            if mechanism in MECHANISMS:
                self.facts.auth_failed(self.session_id, mechanism.lower(), "tls_required")
            self.say_junk(replies.TLS_REQUIRED.reply)
        elif not client.extended_smtp:
            self.say_junk(replies.HELO_FIRST)
        elif self.settings.auth is Auth.OFF:
            self.say_junk(replies.AUTH_NOT_OFFERED)
        elif client.has_logged_in or self.is_in_transaction:
            self.say_junk(replies.AUTH_NOT_NOW)
        elif not mechanism or " " in initial:
            self.say_junk(replies.AUTH_SYNTAX)
        elif mechanism not in MECHANISMS:
            self.say_junk(replies.AUTH_UNKNOWN_MECHANISM)
        elif not self._takes_passwords:
            self.facts.auth_failed(self.session_id, mechanism.lower(), "tls_required")
            self.say_junk(replies.AUTH_NEEDS_TLS)
        else:
            await self._identify(mechanism, initial.encode("latin-1") if initial else None)

    async def _identify(self, mechanism: str, initial: bytes | None) -> None:
        ruleset = self.surroundings.rules.current
        answer = await authenticate(
            self,
            mechanism,
            initial,
            verifier=self.surroundings.verifier,
            ruleset=ruleset,
            host=self.peer,
        )
        if not isinstance(answer, AuthFailure):
            self.client.prove(Proof(answer, ruleset))
            self.facts.authenticated(self.session_id, mechanism.lower(), answer.name)
            self._take_share(answer)
            self.say(replies.AUTHENTICATED.line)
            return
        self.facts.auth_failed(self.session_id, mechanism.lower(), answer.reason)
        self.say_junk(answer.reply)
        self._auth_failures += 1
        if self._auth_failures >= _AUTH_FAILURE_LIMIT:
            raise HangUpError(replies.TOO_MANY_AUTH_FAILURES)

    # --- the sender ---

    def sender_under(self, ruleset: Ruleset) -> Sender | Refusal:
        """Say which sender this is by these rules; hang up on one that it no longer is."""
        try:
            sender = self.client.identity(ruleset, self.settings.auth)
        except CredentialsChangedError:
            raise HangUpError(replies.CREDENTIALS_CHANGED) from None
        if isinstance(sender, Sender):
            self._take_share(sender)
        return sender

    def _take_share(self, sender: Sender) -> None:
        """Count the connection as the sender's; hang up on one that has its share already."""
        if not self.place.is_of(sender.name):
            self.facts.connection_refused(self.settings.name, str(self.peer), "sender")
            raise HangUpError(replies.TOO_MANY_OF_SENDER)
