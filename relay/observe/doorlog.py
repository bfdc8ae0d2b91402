"""What happened at the front door: who came, was let in, turned out to be whom, and went.

The part of relay.observe.maillog that is about connections. Never given what a client typed, beyond
the names in a certificate that was verified.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import inf
from typing import Final

from relay.mail.envelope import SenderName
from relay.mail.reply import Reply
from relay.observe.logs import Logger
from relay.observe.metrics import BROKEN_TLS, Metrics

# Connections can be refused faster than anybody reads, or a disk writes: a line a second, for each
# listener and reason, says how many went untold before it.
_REFUSALS_APART: Final = 1.0  # seconds
# A certificate may have hundreds of names.
_NAMES_TOLD: Final = 5


class DoorLog:
    """The facts of connections, told to a logger and counted."""

    def __init__(self, logger: Logger, metrics: Metrics) -> None:
        self.logger = logger
        self._metrics = metrics
        # Where the open sessions come from: what is refused must be found by its peer.
        self._peers: dict[str, tuple[str, str]] = {}
        self._encrypted: set[str] = set()
        # Those whose line endings have been told of.
        self._mended: set[str] = set()
        # When connections refused were last logged, by listener and reason, and how many since.
        self._turned_away: dict[tuple[str, str], tuple[float, int]] = {}

    def session_opened(self, session_id: str, listener: str, peer: str) -> None:
        """A client connected."""
        self._metrics.connections[listener].inc()
        self._metrics.sessions[listener].inc()
        self._peers[session_id] = listener, peer
        self.logger.debug("session.opened", session_id=session_id, listener=listener, peer=peer)

    def session_closed(self, session_id: str, listener: str) -> None:
        """A session ended, however it ended."""
        self._metrics.sessions[listener].dec()
        self._peers.pop(session_id, None)
        self._encrypted.discard(session_id)
        self._mended.discard(session_id)
        self.logger.debug("session.closed", session_id=session_id)

    def connection_refused(self, listener: str, peer: str, reason: str) -> None:
        """A client was not served."""
        self._metrics.connections_refused[listener, reason].inc()
        now = time.monotonic()
        at, untold = self._turned_away.get((listener, reason), (-inf, 0))
        if now - at < _REFUSALS_APART:
            self._turned_away[listener, reason] = at, untold + 1
            return
        self._turned_away[listener, reason] = now, 0
        self.logger.info(
            "session.refused", listener=listener, peer=peer, reason=reason, untold=untold
        )

    def encrypted(self, session_id: str, listener: str, version: str) -> None:
        """A handshake was done."""
        self._metrics.tls_sessions[listener, version].inc()
        self._encrypted.add(session_id)
        if version in BROKEN_TLS:
            self._metrics.usage.legacy[listener, "broken_tls"].inc()
        # Whoever still needs a broken version must be found before it can be left off.
        tell = self.logger.info if version in BROKEN_TLS else self.logger.debug
        tell(
            "session.encrypted",
            session_id=session_id,
            **self._whence(session_id),
            version=version,
        )

    def hung_up(self, session_id: str, reply: Reply) -> None:
        """We ended a session that would have gone on."""
        self.logger.info(
            "session.hung_up",
            session_id=session_id,
            **self._whence(session_id),
            reply=str(reply),
        )

    def authenticated(self, session_id: str, mechanism: str, sender: SenderName) -> None:
        """A client proved which sender it is."""
        self._metrics.auth_attempts[mechanism].inc()
        tell, whence = self.logger.debug, self._whence(session_id)
        if session_id not in self._encrypted and whence["listener"]:
            # As above: the password could be read on its way.
            self._metrics.usage.legacy[whence["listener"], "auth_without_tls"].inc()
            tell = self.logger.info
        tell(
            "auth.succeeded",
            session_id=session_id,
            **whence,
            mechanism=mechanism,
            sender=sender,
            tls=session_id in self._encrypted,
        )

    def line_endings_mended(self, session_id: str, listener: str, sender: SenderName) -> None:
        """Content came with line endings other than CRLF, and was accepted all the same."""
        self._metrics.usage.legacy[listener, "line_endings"].inc()
        # Once a session: a client that does so does it in every mail.
        if session_id not in self._mended:
            self._mended.add(session_id)
            self.logger.info(
                "session.line_endings_mended",
                session_id=session_id,
                **self._whence(session_id),
                sender=sender,
            )

    def certificate_unknown(self, session_id: str, names: Sequence[str]) -> None:
        """A client's certificate stands for no sender."""
        self.logger.info(
            "auth.certificate_unknown",
            session_id=session_id,
            **self._whence(session_id),
            names=list(names[:_NAMES_TOLD]),
        )

    def auth_failed(self, session_id: str, mechanism: str, reason: str) -> None:
        """An AUTH exchange failed, or a certificate did not verify."""
        self._metrics.auth_attempts[mechanism].inc()
        self._metrics.auth_failures[mechanism, reason].inc()
        self.logger.warning(
            "auth.failed",
            session_id=session_id,
            **self._whence(session_id),
            mechanism=mechanism,
            reason=reason,
        )

    def _whence(self, session_id: str) -> dict[str, str]:
        """Return the fields that say where a session comes from."""
        listener, peer = self._peers.get(session_id, ("", ""))
        return {"listener": listener, "peer": peer}
