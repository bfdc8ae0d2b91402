"""One SMTP session: what each command does, in the order RFC 5321 wants them.

Decides nothing about mail itself: who may send is asked of relay.policy.admission, content is
received by relay.smtp.reception. Does not know sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from math import inf
from typing import ClassVar

from relay.mail.address import Address
from relay.mail.envelope import SenderName
from relay.mail.reply import Refusal, Reply
from relay.policy.admission import RATE_LIMITED, admit_reverse_path
from relay.policy.sender import Host, Sender
from relay.smtp import replies
from relay.smtp.client import CredentialsChangedError
from relay.smtp.command import MailCommand, parse_mail, parse_rcpt
from relay.smtp.dialogue import Command
from relay.smtp.hangup import HangUpError
from relay.smtp.introduction import Introduction
from relay.smtp.offer import Offer
from relay.smtp.reception import Origin, Reception
from relay.smtp.sessions import Sessions
from relay.smtp.settings import ListenerSettings, TlsMode
from relay.smtp.surroundings import Surroundings
from relay.smtp.transaction import Transaction


class Session(Introduction):
    """The SMTP side of one connection. Its methods bear the names aiosmtpd gives to commands."""

    # ruff: noqa: N802

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: ListenerSettings,
        surroundings: Surroundings,
        offer: Offer,
        sessions: Sessions,
        peer: Host,
    ) -> None:
        super().__init__(loop, settings, surroundings, offer, peer)
        self._sessions = sessions
        self._transaction: Transaction | None = None
        if settings.tls is TlsMode.STARTTLS_REQUIRED:
            self.obeyed = self._commands_before_tls

    # --- the session as a whole ---

    def joined(self) -> None:
        """Begin the session."""
        self._sessions.add(self)
        self.facts.session_opened(self.session_id, self.settings.name, str(self.peer))

    @property
    def has_begun(self) -> bool:
        """Whether the client was connected long enough to be greeted."""
        return self.session is not None

    def left(self) -> None:
        """End the session."""
        self._sessions.discard(self)
        self._sessions.places.give_back(self.peer)
        self.facts.session_closed(self.session_id, self.settings.name)

    def forget_transaction(self) -> None:
        """Return to where MAIL may be given."""
        self._transaction = None

    @property
    def is_in_transaction(self) -> bool:
        """Whether MAIL was taken and its transaction is not over."""
        return self._transaction is not None

    # --- transactions ---

    async def smtp_MAIL(self, arg: str) -> None:
        """Begin a transaction, if the client is a sender that may."""
        if not self.client.host_name:
            self.say_junk(replies.HELO_FIRST)
        elif self._transaction is not None:
            self.say_junk(replies.NESTED_MAIL)
        else:
            self._begin(arg)

    async def mail_before_tls(self, arg: str) -> None:  # noqa: ARG002
        """Refuse MAIL, as the other commands, until there is TLS; this refusal is told."""
        self._refuse_mail(replies.TLS_REQUIRED, None)

    def _begin(self, argument: str) -> None:
        ruleset = self.surroundings.rules.current
        try:
            sender = self.client.identity(ruleset, self.settings.auth)
        except CredentialsChangedError:
            raise HangUpError(replies.CREDENTIALS_CHANGED) from None
        if isinstance(sender, Refusal):
            self._refuse_mail(sender, None)
            return
        command = parse_mail(argument)
        if isinstance(command, Reply):
            self.say_junk(command)
            return
        if isinstance(command, Refusal):
            self._refuse_mail(command, sender.name)
            return
        refusal = self._admit(sender, command)
        if refusal is not None:
            self._refuse_mail(refusal, sender.name, command.reverse_path)
            return
        self._transaction = Transaction(sender, command.reverse_path, ruleset.hostname)
        self.timer.latest = inf  # this client is here to send mail
        self.say(replies.REVERSE_PATH_OK.line)

    def _admit(self, sender: Sender, command: MailCommand) -> Refusal | None:
        surroundings = self.surroundings
        refusal = admit_reverse_path(sender, command.reverse_path, command.size)
        if refusal is not None:
            return refusal
        if not surroundings.spool.has_room_for(command.size):
            return replies.NO_ROOM
        # Last, so that only transactions that begin are counted.
        is_in_time = surroundings.rates.admit(sender, surroundings.clock.monotonic())
        return None if is_in_time else RATE_LIMITED

    async def smtp_RCPT(self, arg: str) -> None:
        """Add a recipient."""
        transaction = self._transaction
        if transaction is None:
            self.say_junk(replies.MAIL_FIRST)
            return
        answer = parse_rcpt(arg)
        if isinstance(answer, Reply):
            self.say_junk(answer)
            return
        transaction.was_tried = True
        if isinstance(answer, Refusal):
            self.count_waste()
            self._refuse("rcpt", answer, transaction.sender.name)
            return
        added = transaction.add(answer, self.surroundings.suppressions)
        if added is not True:
            self.count_waste()
        if isinstance(added, Refusal):
            self._refuse("rcpt", added, transaction.sender.name, answer)
        else:
            self.say(replies.RECIPIENT_OK.line)

    async def smtp_DATA(self, arg: str) -> None:
        """Receive the content; whatever comes of it, the transaction is over."""
        if arg:
            self.say_junk(replies.NO_ARGUMENT)
            return
        transaction = self._transaction
        if transaction is None:
            self.say_junk(replies.MAIL_FIRST)
        elif not transaction.has_recipient:
            tried = transaction.was_tried
            self.say_junk(replies.NO_VALID_RECIPIENT if tried else replies.RCPT_FIRST)
        else:
            self._transaction = None
            await self._receive(transaction)

    async def _receive(self, transaction: Transaction) -> None:
        opening = self.client.trace_opening(transaction.hostname)
        origin = Origin(self.session_id, self.settings.name, opening)
        reception = Reception(self, transaction, self.surroundings, origin)
        self.say(replies.START_CONTENT.line)
        await self.flush()
        try:
            self.say(await reception.receive())
        except (HangUpError, EOFError):
            raise
        except Exception as error:
            if reception.has_ended or self.is_lost:
                raise
            # Content is still to come, and it must never be taken for commands.
            self.note_fault("smtp.content", error)
            raise HangUpError(replies.TOO_MANY_FAULTS) from None
        if reception.is_accepted:
            self.forgive_junk()
        else:
            self.count_junk()

    def _refuse_mail(
        self, refusal: Refusal, sender: SenderName | None, reverse_path: Address | None = None
    ) -> None:
        self.count_junk()
        self._refuse("mail", refusal, sender, reverse_path)

    def _refuse(
        self,
        phase: str,
        refusal: Refusal,
        sender: SenderName | None,
        address: Address | None = None,
    ) -> None:
        self.facts.refused(self.session_id, phase, refusal, sender, address)
        self.say(refusal.reply.line)

    # --- the rest ---

    async def smtp_RSET(self, arg: str) -> None:
        """Forget the transaction."""
        if arg:
            self.say_junk(replies.NO_ARGUMENT)
        else:
            self._transaction = None
            self.say_junk(replies.OK)

    async def smtp_NOOP(self, arg: str) -> None:  # noqa: ARG002 - may have one, to be ignored
        """Do nothing."""
        self.say_junk(replies.OK)

    async def smtp_HELP(self, arg: str) -> None:  # noqa: ARG002
        """Say where to read on."""
        self.say_junk(replies.HELP)

    async def smtp_VRFY(self, arg: str) -> None:  # noqa: ARG002
        """Say nothing about any mailbox."""
        self.say_junk(replies.CANNOT_VRFY)

    async def smtp_EXPN(self, arg: str) -> None:  # noqa: ARG002
        """Say nothing about any list."""
        self.say_junk(replies.NOT_IMPLEMENTED)

    async def smtp_QUIT(self, arg: str) -> None:
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
        b"MAIL": smtp_MAIL,
        b"RCPT": smtp_RCPT,
        b"DATA": smtp_DATA,
        b"RSET": smtp_RSET,
        b"NOOP": smtp_NOOP,
        b"HELP": smtp_HELP,
        b"VRFY": smtp_VRFY,
        b"EXPN": smtp_EXPN,
        b"QUIT": smtp_QUIT,
    }
    _commands_before_tls: ClassVar[Mapping[bytes, Command]] = {
        **commands,
        b"MAIL": mail_before_tls,
        **dict.fromkeys(
            (b"RCPT", b"DATA", b"HELP", b"VRFY", b"EXPN"), Introduction.demand_starttls
        ),
    }
