"""What happened to mail: one method per fact, each a log line and its counts.

Event names and fields are a public interface. Content, passwords and what a client typed beyond
addresses never get here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from relay.mail.address import Address
from relay.mail.entry import Settled
from relay.mail.envelope import AccountName, Mail, QueueId, SenderName
from relay.mail.outcome import Ambiguous, Blame, Deferred, Failed, Outcome, Relayed
from relay.mail.reply import Refusal
from relay.observe.feedbacklog import FeedbackLog
from relay.observe.logs import Logger
from relay.observe.metrics import Metrics
from relay.passing import Passed
from relay.policy.passing import Ending
from relay.policy.sender import Accept

# RFC 5321 section 4.2.1: 5yz is the permanent negative reply.
_PERMANENT: Final = 500
# What the daemon says of itself that an operator should look at.
_ALARMING: Final = frozenset(
    {
        "configuration_warning",
        "credentials_missing",
        "list_not_synced",
        "old_signature",
        "probe_failed",
        "queue_not_polled",
        "sender_suspect",
        "reload_refused",
        "sender_paused",
        "stuck",
        "subscription_waiting",
        "unsubscribed",
    }
)


class MailLog(FeedbackLog):
    """The Facts of relay.facts, told to a logger and counted."""

    def __init__(self, logger: Logger, metrics: Metrics) -> None:
        super().__init__(logger, metrics)
        self.feedback_at = time.time()
        """When an event was last taken in; the start until the first."""
        self.paused: set[AccountName] = set()
        """The accounts that may not send, as SES last said."""
        metrics.feedback_at.set(self.feedback_at)

    def refused(
        self,
        session_id: str,
        phase: str,
        refusal: Refusal,
        sender: SenderName | None,
        address: Address | None = None,
    ) -> None:
        """A command of a transaction was refused."""
        self._metrics.refusals[phase, refusal.reason].inc()
        if refusal.reason == "suppressed":
            self._metrics.suppression_hits["refused"].inc()
        self.logger.info(
            "mail.refused",
            session_id=session_id,
            **self._whence(session_id),
            phase=phase,
            reason=refusal.reason,
            reply=str(refusal.reply),
            sender=sender or "",
            address="" if address is None else str(address),
        )

    def accepted(self, session_id: str, listener: str, mail: Mail, seconds: float) -> None:
        """A mail was answered 250: it is durable."""
        metrics, recipients = self._metrics, mail.envelope.recipients
        metrics.accepted[listener].inc()
        metrics.recipients[listener].inc(len(recipients))
        metrics.message_size.observe(mail.size)
        of_sender = metrics.usage.senders.get(mail.sender)
        if of_sender is not None:
            of_sender.accepted.inc()
        reverse_path = mail.envelope.reverse_path
        self.logger.info(
            "mail.queued",
            queue_id=mail.queue_id,
            session_id=session_id,
            listener=listener,
            sender=mail.sender,
            reverse_path="" if reverse_path is None else str(reverse_path),
            recipients=[str(recipient) for recipient in recipients],
            size=mail.size,
            commit_seconds=round(seconds, 4),
        )

    def passed(
        self,
        session_id: str,
        listener: str,
        accept: Accept,
        passed: Passed,
        reply: str,
        seconds: float,
    ) -> None:
        """A mail whose client waited for SES was answered."""
        metrics, mail = self._metrics, passed.mail
        metrics.passed[accept, passed.ending].inc()
        if passed.ending is Ending.RELAYED:
            metrics.accepted[listener].inc()
            metrics.recipients[listener].inc(len(mail.envelope.recipients))
            metrics.message_size.observe(mail.size)
            of_sender = metrics.usage.senders.get(mail.sender)
            if of_sender is not None:
                of_sender.accepted.inc()
        self.logger.info(
            "mail.answered",
            queue_id=mail.queue_id,
            session_id=session_id,
            listener=listener,
            sender=mail.sender,
            mode=accept.value,
            outcome=passed.ending.value,
            reply=reply,
            recipients=[str(recipient) for recipient in mail.envelope.recipients],
            size=mail.size,
            seconds=round(seconds, 4),
        )

    def dropped(self, queue_id: QueueId, sender: SenderName, recipient: Address) -> None:
        """A suppressed recipient was dropped by the sender's policy."""
        self._metrics.suppression_hits["dropped"].inc()
        self.logger.info("mail.dropped", queue_id=queue_id, sender=sender, recipient=str(recipient))

    def fault(self, where: str, error: BaseException, session_id: str = "") -> None:
        """One of our own faults, with its traceback."""
        self._metrics.faults.inc()
        self.logger.error("fault", where=where, session_id=session_id, exc_info=error)

    def attempted(
        self,
        account: AccountName,
        mail: Mail,
        recipients: Sequence[Address],
        outcome: Outcome,
        seconds: float,
    ) -> None:
        """One call to SES ended."""
        metrics = self._metrics
        metrics.requests[account, "send"].inc()
        metrics.request_seconds[account].observe(seconds)
        if isinstance(outcome, Relayed):
            if account in self.paused:
                self.paused.discard(account)
                metrics.sending_enabled[account].set(1)
            return
        metrics.request_failures[account, "send", outcome.reason].inc()
        if outcome.reason == "paused":
            self.paused.add(account)
            metrics.sending_enabled[account].set(0)
        if isinstance(outcome, Ambiguous):
            metrics.ambiguous[account].inc()
            self.logger.warning(
                "mail.ambiguous",
                queue_id=mail.queue_id,
                account=account,
                recipients=len(recipients),
                reply=str(outcome.reply),
                # Fixed words: this is what an operator greps for.
                words="message may be sent more than once",
            )

    def settled(
        self, account: AccountName, mail: Mail, recipient: Address, settled: Settled, now: datetime
    ) -> None:
        """One recipient's outcome was recorded."""
        outcome, metrics = settled.outcome, self._metrics
        due_at = "" if settled.due_at is None else settled.due_at.isoformat(timespec="seconds")
        waited = (now - mail.arrived_at).total_seconds()
        of_sender = metrics.usage.senders.get(mail.sender)
        if isinstance(outcome, Relayed):
            metrics.relayed[account].inc()
            metrics.queue_seconds["relayed"].observe(waited)
            if of_sender is not None:
                of_sender.relayed.inc()
            self.logger.info(
                "mail.relayed",
                queue_id=mail.queue_id,
                sender=mail.sender,
                recipient=str(recipient),
                account=account,
                ses_message_id=outcome.ses_message_id,
                queue_seconds=round(waited, 3),
            )
            return
        words = {
            "queue_id": mail.queue_id,
            "sender": mail.sender,
            "recipient": str(recipient),
            "account": account,
            "reason": outcome.reason,
            "reply": str(outcome.reply),
        }
        match outcome:
            case Failed(reason="expired"):
                self._expired(account, mail, outcome, words)
            case Failed():
                metrics.failed[account, outcome.reason].inc()
                metrics.queue_seconds["failed"].observe(waited)
                if of_sender is not None:
                    of_sender.failed.inc()
                if outcome.reason == "suppressed":
                    metrics.suppression_hits["failed"].inc()
                self.logger.warning("mail.failed", **words)
            case Deferred():
                metrics.deferred[account, outcome.reason].inc()
                # What only an operator can mend must be seen by one.
                needs_operator = outcome.blame is Blame.OPERATOR
                tell = self.logger.warning if needs_operator else self.logger.info
                tell("mail.deferred", due_at=due_at, **words)
            case Ambiguous():
                metrics.deferred[account, outcome.reason].inc()
                self.logger.info("mail.deferred", due_at=due_at, ambiguous=True, **words)

    def expired(
        self, account: AccountName | None, mail: Mail, recipient: Address, failed: Failed
    ) -> None:
        """A recipient was given up because its time was over, without waiting for an attempt."""
        words = {
            "queue_id": mail.queue_id,
            "sender": mail.sender,
            "recipient": str(recipient),
            "account": account or "",
            "reason": failed.reason,
            "reply": str(failed.reply),
        }
        self._expired(account, mail, failed, words)

    def _expired(
        self, account: AccountName | None, mail: Mail, failed: Failed, words: dict[str, str]
    ) -> None:
        metrics = self._metrics
        if account is not None:
            metrics.failed[account, failed.reason].inc()
        metrics.queue_seconds["expired"].observe(time.time() - mail.arrived_at.timestamp())
        of_sender = metrics.usage.senders.get(mail.sender)
        if of_sender is not None:
            of_sender.failed.inc()
        # It is never said of what may have gone out that it did not.
        outcome = "failed" if failed.reply.code >= _PERMANENT else "unknown"
        self._metrics.expired[outcome].inc()
        self.logger.warning("mail.expired", outcome=outcome, **words)

    def held(self, mail: Mail, reason: str) -> None:
        """An entry was held."""
        self.logger.warning("mail.held", queue_id=mail.queue_id, sender=mail.sender, reason=reason)

    def service(self, event: str, **words: str | float) -> None:
        """Something about the daemon itself."""
        tell = self.logger.warning if event in _ALARMING else self.logger.info
        tell(f"relay.{event}", **words)
