"""One content whose client waits until SES has taken it: handed on before the reply, not kept.

The reception of senders whose mode is not queued. Does not know SES, nor what becomes of a mail
that it hands on.
"""

from __future__ import annotations

from relay.mail.reply import Refusal
from relay.passing import Parcel, Passed
from relay.policy.passing import Ending
from relay.ports import Draft, SpoolError
from relay.smtp.reception import Reception, refuse_for


class PassedReception(Reception):
    """Receives one content, and has it passed on."""

    async def _keep(self) -> bytes | Refusal:
        draft = self._intake.draft
        if draft is None or self._transaction.is_for_nobody:
            return await super()._keep()
        clock = self._surroundings.clock
        began = clock.monotonic()
        try:
            passed = await self._hand_on(draft)
        except SpoolError as error:
            return refuse_for(error)
        if passed.is_to_be_queued:
            reply = await super()._keep()
            if isinstance(reply, bytes):
                self._tell(passed, reply, began)
            return reply
        if passed.refusal is not None:
            reply = passed.refusal
        else:
            reply = _reply(passed).encode("ascii")
            for recipient in self._transaction.dropped:
                self._surroundings.facts.dropped(draft.queue_id, passed.mail.sender, recipient)
        self._tell(passed, reply, began)
        if self._dialogue.is_lost:
            # It cannot be told any more; what of the mail is kept or gone stays so.
            self.is_accepted = passed.refusal is None and passed.ending is not Ending.WITHDRAWN
            raise ConnectionResetError
        return reply

    async def _hand_on(self, draft: Draft) -> Passed:
        """Have the mail passed on; that the client has gone is told to whoever does."""
        dialogue, transaction = self._dialogue, self._transaction
        if dialogue.is_lost:
            raise ConnectionResetError
        dialogue.on_lost = dialogue.withdraw
        dialogue.is_owed = True
        passage = self._surroundings.passage
        assert passage is not None  # noqa: S101 - there is one where a sender needs it
        try:
            return await passage.pass_on(
                Parcel(draft, transaction.envelope, transaction.sender, transaction.ruleset)
            )
        finally:
            dialogue.on_lost = None
            dialogue.is_owed = False
            dialogue.timer.busy()

    def _tell(self, passed: Passed, reply: bytes | Refusal, began: float) -> None:
        origin, surroundings = self._origin, self._surroundings
        seconds = surroundings.clock.monotonic() - began
        if passed.kept is not None:
            surroundings.facts.accepted(origin.session_id, origin.listener, passed.kept, seconds)
        line = reply.reply.line if isinstance(reply, Refusal) else reply
        surroundings.facts.passed(
            origin.session_id,
            origin.listener,
            self._transaction.sender.accept,
            passed,
            "" if passed.ending is Ending.WITHDRAWN else line[:-2].decode("ascii"),
            seconds,
        )


def _reply(passed: Passed) -> str:
    """Say what became of it; nothing a client should read a decision out of but the 250."""
    queue_id, ses_message_id = passed.mail.queue_id, passed.ses_message_id
    match passed.ending:
        case Ending.RELAYED:
            return f"250 2.0.0 Ok {ses_message_id}\r\n"
        case Ending.PARTLY:
            return f"250 2.0.0 Ok {ses_message_id}, for some recipients queued as {queue_id}\r\n"
        case _:
            return f"250 2.0.0 Ok queued as {queue_id}\r\n"
