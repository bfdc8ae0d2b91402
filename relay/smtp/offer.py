"""What a listener says of itself: banner, and the replies to HELO and EHLO.

Written once per ruleset, not once per session.
"""

from __future__ import annotations

from relay.policy.admission import Auth
from relay.policy.ruleset import Ruleset
from relay.policy.sender import Sender
from relay.smtp.settings import ListenerSettings, TlsMode


class Offer:
    """The words in which one listener introduces itself."""

    def __init__(self, settings: ListenerSettings) -> None:
        self._settings = settings
        self._generation: int | None = None
        self._said: dict[tuple[bool, bool] | str, bytes] = {}

    def banner(self, ruleset: Ruleset) -> bytes:
        """Return the greeting (RFC 5321 section 3.1)."""
        self._renew(ruleset)
        return self._said["banner"]

    def helo(self, ruleset: Ruleset) -> bytes:
        """Return the reply to HELO."""
        self._renew(ruleset)
        return self._said["helo"]

    def ehlo(self, ruleset: Ruleset, *, secure: bool, auth: bool) -> bytes:
        """Return the reply to EHLO. `auth`: whether AUTH would be taken on this connection now."""
        self._renew(ruleset)
        said = self._said.get((secure, auth))
        if said is None:
            said = self._said[secure, auth] = self._ehlo(ruleset, secure=secure, auth=auth)
        return said

    def largest(self, ruleset: Ruleset) -> int:
        """Return the most octets anybody may send in one message here; 0: there is nobody."""
        reachable = self._reachable(ruleset)
        return max((sender.limits.message_size for sender in reachable), default=0)

    def _renew(self, ruleset: Ruleset) -> None:
        if ruleset.generation != self._generation:
            self._generation = ruleset.generation
            self._said = {
                "banner": f"220 {ruleset.hostname} ESMTP\r\n".encode("ascii"),
                "helo": f"250 {ruleset.hostname}\r\n".encode("ascii"),
            }

    def _ehlo(self, ruleset: Ruleset, *, secure: bool, auth: bool) -> bytes:
        # RFC 1870 section 4: a SIZE of 0 would promise that there is no limit.
        size = self.largest(ruleset)
        lines = ["PIPELINING", f"SIZE {size}" if size else "SIZE", "8BITMIME", "CHUNKING"]
        caps = [s.limits.recipients_per_message for s in self._reachable(ruleset)]
        if caps:
            # RFC 9422: whoever the client will turn out to be, so many are not too many.
            lines.append(f"LIMITS RCPTMAX={min(caps)}")
        if not secure and self._settings.tls in (TlsMode.STARTTLS, TlsMode.STARTTLS_REQUIRED):
            lines.append("STARTTLS")
        if auth:
            lines.append("AUTH PLAIN LOGIN")
        lines.append("ENHANCEDSTATUSCODES")
        off = self._settings.extensions_off
        lines = [ruleset.hostname, *(line for line in lines if line.split()[0] not in off)]
        said = [f"250-{line}\r\n" for line in lines[:-1]] + [f"250 {lines[-1]}\r\n"]
        return "".join(said).encode("ascii")

    def _reachable(self, ruleset: Ruleset) -> list[Sender]:
        return [sender for sender in ruleset.senders.values() if self._is_reachable(sender)]

    def _is_reachable(self, sender: Sender) -> bool:
        """Whether a client of this listener can be that sender."""
        auth = self._settings.auth
        by_login = bool(sender.login) and auth is not Auth.OFF
        by_certificate = bool(sender.certificates) and self._settings.takes_certificates
        return by_login or by_certificate or (bool(sender.networks) and auth is not Auth.REQUIRED)
