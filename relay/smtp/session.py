"""One SMTP session, from its greeting to its end, and the table of its commands.

The classes it is made of take the steps of RFC 5321 one after the other: Introduction, Addressing,
Transfer. Does not know sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import ClassVar

from relay.mail.envelope import SenderName
from relay.smtp import replies
from relay.smtp.addressing import Addressing
from relay.smtp.dialogue import Command
from relay.smtp.hangup import HangUpError
from relay.smtp.introduction import Introduction
from relay.smtp.offer import Offer
from relay.smtp.places import Place
from relay.smtp.sessions import Sessions
from relay.smtp.settings import ListenerSettings, TlsMode
from relay.smtp.surroundings import Surroundings
from relay.smtp.transfer import Transfer


class Session(Transfer):
    """The SMTP side of one connection. Its methods bear the names aiosmtpd gives to commands."""

    # ruff: noqa: N802

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: ListenerSettings,
        surroundings: Surroundings,
        offer: Offer,
        sessions: Sessions,
        place: Place,
    ) -> None:
        super().__init__(loop, settings, surroundings, offer, place)
        self._sessions = sessions
        places = sessions.places
        self.timer.is_stressed = lambda: places.is_stressed
        if settings.tls is TlsMode.STARTTLS_REQUIRED:
            self.obeyed = self._commands_before_tls

    # --- the session as a whole ---

    def joined(self) -> None:
        """Begin the session."""
        self._sessions.add(self)
        self.facts.session_opened(self.session_id, self.settings.name, str(self.peer))
        tracing = self.surroundings.tracing
        if tracing:
            tracing.meet(self)

    def is_any_of(self, senders: Collection[SenderName]) -> bool:
        """Whether the client was found to be one of these senders."""
        return self.has_begun and self.client.is_any_of(senders)

    @property
    def has_begun(self) -> bool:
        """Whether the client was connected long enough to be greeted."""
        return self.session is not None

    def left(self) -> None:
        """End the session."""
        self._sessions.discard(self)
        self.place.give_back()
        self.facts.session_closed(self.session_id, self.settings.name)

    # --- the rest ---

    async def smtp_RSET(self, arg: str) -> None:
        """Forget the transaction."""
        if arg:
            self.say_junk(replies.NO_ARGUMENT)
        else:
            await self.forget_transaction()
            self.say_junk(replies.OK)

    def smtp_NOOP(self, arg: str) -> None:  # noqa: ARG002 - may have one, to be ignored
        """Do nothing."""
        self.say_junk(replies.OK)

    def smtp_HELP(self, arg: str) -> None:  # noqa: ARG002
        """Say where to read on."""
        self.say_junk(replies.HELP)

    def smtp_VRFY(self, arg: str) -> None:  # noqa: ARG002
        """Say nothing about any mailbox."""
        self.say_junk(replies.CANNOT_VRFY)

    async def smtp_EXPN(self, arg: str) -> None:  # noqa: ARG002
        """Say nothing about any list."""
        self.say_junk(replies.NOT_IMPLEMENTED)

    def smtp_QUIT(self, arg: str) -> None:
        """End the session."""
        if arg:
            self.say_junk(replies.NO_ARGUMENT)
        else:
            raise HangUpError(replies.BYE)

    commands: ClassVar[Mapping[bytes, Command]] = {
        b"HELO": Introduction.smtp_HELO,
        b"EHLO": Introduction.smtp_EHLO,
        b"STARTTLS": Introduction.smtp_STARTTLS,
        b"AUTH": Introduction.smtp_AUTH,
        b"MAIL": Addressing.smtp_MAIL,
        b"RCPT": Addressing.smtp_RCPT,
        b"DATA": Transfer.smtp_DATA,
        b"BDAT": Transfer.smtp_BDAT,
        b"RSET": smtp_RSET,
        b"NOOP": smtp_NOOP,
        b"HELP": smtp_HELP,
        b"VRFY": smtp_VRFY,
        b"EXPN": smtp_EXPN,
        b"QUIT": smtp_QUIT,
    }
    _commands_before_tls: ClassVar[Mapping[bytes, Command]] = {
        **commands,
        b"MAIL": Addressing.mail_before_tls,
        **dict.fromkeys(
            (b"RCPT", b"DATA", b"HELP", b"VRFY", b"EXPN"), Introduction.demand_starttls
        ),
    }
