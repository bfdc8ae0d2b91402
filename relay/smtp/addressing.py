"""Who a mail is from and who it is for: MAIL and RCPT.

Decides nothing itself: who may send where is asked of relay.policy.admission. Does not know
content.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from math import inf

from relay.mail.address import Address
from relay.mail.envelope import SenderName
from relay.mail.feedback import Suppression
from relay.mail.reply import Refusal, Reply
from relay.policy.admission import (
    admit_reverse_path,
    admit_to_queue,
    quota_exceeded,
    rate_limited,
)
from relay.policy.allowance import Allowance
from relay.policy.ruleset import Ruleset
from relay.policy.sender import Sender
from relay.ports import SpoolError
from relay.smtp import replies
from relay.smtp.command import MailCommand, parse_mail, parse_rcpt
from relay.smtp.hangup import HangUpError
from relay.smtp.introduction import Introduction
from relay.smtp.offer import Offer
from relay.smtp.places import Place
from relay.smtp.settings import ListenerSettings
from relay.smtp.surroundings import Surroundings
from relay.smtp.transaction import Transaction


class Addressing(Introduction):
    """The part of a session in which it learns the envelope."""

    # ruff: noqa: N802

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: ListenerSettings,
        surroundings: Surroundings,
        offer: Offer,
        place: Place,
    ) -> None:
        super().__init__(loop, settings, surroundings, offer, place)
        self.transaction: Transaction | None = None
        """The transaction that is open, from MAIL to the end of content."""
        self._ends = surroundings.clock.monotonic() + surroundings.deadlines.session

    async def forget_transaction(self) -> None:
        """Return to where MAIL may be given."""
        self.transaction = None

    @property
    def is_in_transaction(self) -> bool:
        """Whether MAIL was taken and its transaction is not over."""
        return self.transaction is not None

    def smtp_MAIL(self, arg: str) -> None:
        """Begin a transaction, if the client is a sender that may."""
        if not self.client.host_name:
            self.say_junk(replies.HELO_FIRST)
        elif self.transaction is not None:
            self.say_junk(replies.NESTED_MAIL)
        else:
            self._begin(arg)

    def mail_before_tls(self, arg: str) -> None:  # noqa: ARG002
        """Refuse MAIL, as the other commands, until there is TLS; this refusal is told."""
        self._refuse_mail(replies.TLS_REQUIRED, None)

    def _begin(self, argument: str) -> None:
        if self.surroundings.clock.monotonic() >= self._ends:
            raise HangUpError(replies.SESSION_TOO_LONG)
        ruleset = self.surroundings.rules.current
        sender = self.sender_under(ruleset)
        if isinstance(sender, Refusal):
            self._refuse_mail(sender, None)
            return
        command = parse_mail(argument)
        if isinstance(command, Reply):
            self.say_junk(command)
            return
        answer = self._admit(sender, command, ruleset)
        if isinstance(answer, Refusal):
            given = command.reverse_path
            self._refuse_mail(answer, sender.name, given if isinstance(given, Address) else None)
            return
        self.transaction = Transaction(sender, answer, ruleset)
        self.timer.latest = inf  # this client is here to send mail
        self.say(replies.REVERSE_PATH_OK.line)

    def _admit(self, sender: Sender, command: MailCommand, ruleset: Ruleset) -> Address | Refusal:
        """Return the reverse-path of the transaction that begins, or say why none does."""
        answer = admit_reverse_path(sender, command.reverse_path, command.size)
        if isinstance(answer, Refusal):
            return answer
        spool = self.surroundings.spool
        refusal = admit_to_queue(sender, spool.backlog(sender.name), command.size)
        if refusal is not None:
            return refusal
        if not spool.has_room_for(command.size):
            return replies.NO_ROOM
        if sender.limits.is_refused:
            now = self.surroundings.clock.monotonic()
            allowance = self.surroundings.allowances.of(sender, ruleset.generation, now)
            lack = allowance.lack_of_messages(now)
            if lack is not None:
                return rate_limited(lack)
            # Last, so that only transactions that begin are counted.
            allowance.take_message(now)
        return answer

    def smtp_RCPT(self, arg: str) -> Awaitable[None] | None:
        """Add a recipient."""
        transaction = self.transaction
        if transaction is None:
            self.say_junk(replies.MAIL_FIRST)
            return None
        if transaction.has_content:
            self.say_junk(replies.CONTENT_BEGUN)
            return None
        recipient = parse_rcpt(arg)
        if isinstance(recipient, Reply):
            self.say_junk(recipient)
            return None
        transaction.was_tried = True
        if isinstance(recipient, Refusal):
            self._refuse_recipient(recipient, transaction)
        elif recipient in transaction:
            self.count_waste()
            self.say(replies.RECIPIENT_OK.line)
        elif self.surroundings.suppressions.may_hold(recipient):
            return self._look_up_and_add(recipient, transaction)
        else:
            self._add(recipient, transaction, None)
        return None

    async def _look_up_and_add(self, recipient: Address, transaction: Transaction) -> None:
        try:
            suppression = await self.surroundings.suppressions.find(recipient, transaction.sender)
        except SpoolError:
            self._refuse_recipient(replies.SPOOL_FAILED, transaction, recipient)
        else:
            self._add(recipient, transaction, suppression)

    def _add(
        self, recipient: Address, transaction: Transaction, suppression: Suppression | None
    ) -> None:
        """Add a recipient to the transaction, or refuse it. `suppression` is what the list says."""
        refusal = None
        if transaction.sender.limits.is_refused:
            refusal = self.lack_of_recipients(transaction, transaction.mailed_count + 1)
        if refusal is None:
            refusal = transaction.add(recipient, suppression)
        if refusal is None:
            self.say(replies.RECIPIENT_OK.line)
        else:
            self._refuse_recipient(refusal, transaction, recipient)

    def _refuse_recipient(
        self, refusal: Refusal, transaction: Transaction, recipient: Address | None = None
    ) -> None:
        self.count_waste()
        self.refuse("rcpt", refusal, transaction.sender.name, recipient)

    def lack_of_recipients(self, transaction: Transaction, count: int) -> Refusal | None:
        """Refuse what goes beyond the sender's quotas; a paced sender's mail is sent later."""
        allowance = self.allowance(transaction)
        if allowance is None:
            return None
        lack = allowance.lack_of_recipients(count, self.surroundings.clock.monotonic())
        return None if lack is None else quota_exceeded(lack)

    def allowance(self, transaction: Transaction) -> Allowance | None:
        """Return what is counted here: the quotas of a sender that is refused above them."""
        sender = transaction.sender
        if not (sender.limits.recipients and sender.limits.is_refused):
            return None
        now = self.surroundings.clock.monotonic()
        return self.surroundings.allowances.of(sender, transaction.ruleset.generation, now)

    def _refuse_mail(
        self, refusal: Refusal, sender: SenderName | None, reverse_path: Address | None = None
    ) -> None:
        self.count_junk()
        self.refuse("mail", refusal, sender, reverse_path)

    def refuse(
        self,
        phase: str,
        refusal: Refusal,
        sender: SenderName | None,
        address: Address | None = None,
    ) -> None:
        """Refuse a command of a transaction, and tell it."""
        self.facts.refused(self.session_id, phase, refusal, sender, address)
        self.say(refusal.reply.line)
