"""What came back: feedback, the suppression list, and what applications were told of it.

The part of relay.observe.maillog that is about mail that has left.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Final

from relay.mail.envelope import SenderName
from relay.mail.feedback import FeedbackEvent, FeedbackKind, Suppression
from relay.observe.accountlog import AccountLog

_FEEDBACK_EVENTS: Final = {kind: f"feedback.{kind.value}" for kind in FeedbackKind}


class FeedbackLog(AccountLog):
    """The facts of what comes back, told to a logger and counted."""

    def feedback(self, event: FeedbackEvent, *, duplicate: bool, stale: bool = False) -> None:
        """A verified event was taken in, or was known already; stale: of more than a day ago."""
        metrics = self._metrics
        if duplicate:
            metrics.feedback_refused["duplicate"].inc()
            return
        metrics.feedback_events[event.kind.value].inc()
        metrics.feedback_stale.inc(stale)
        self.feedback_at = time.time()
        metrics.feedback_at.set(self.feedback_at)
        if event.kind is FeedbackKind.BOUNCE:
            kind = event.kind_detail.partition("/")[0].lower()
            known = kind if kind in ("permanent", "transient") else "undetermined"
            metrics.bounces[known].inc(len(event.recipients))
        elif event.kind is FeedbackKind.COMPLAINT:
            metrics.complaints.inc(len(event.recipients))
        for recipient in event.recipients:
            self.logger.info(
                _FEEDBACK_EVENTS[event.kind],
                queue_id=event.queue_id,
                ses_message_id=event.ses_message_id,
                recipient=recipient.address,
                detail=event.kind_detail,
                diagnostic=recipient.diagnostic,
            )

    def feedback_not_understood(self, topic: str, message_id: str) -> None:
        """A verified message was kept raw: it is no event we know."""
        self._metrics.feedback_events[FeedbackKind.UNKNOWN.value].inc()
        self.logger.warning("feedback.not_understood", topic=topic, sns_message_id=message_id)

    def feedback_refused(self, reason: str, complaint: str) -> None:
        """A feedback request was refused or discarded."""
        self._metrics.feedback_refused[reason].inc()
        self.logger.warning("feedback.refused", reason=reason, complaint=complaint)

    def suppressed(self, suppression: Suppression, *, actor: str) -> None:
        """An address was put on the suppression list."""
        self.logger.info(
            "suppression.added",
            recipient=suppression.address,
            reason=suppression.reason.value,
            detail=suppression.detail,
            actor=actor,
        )

    def unsuppressed(self, address: str, *, actor: str, reason: str) -> None:
        """An address was taken off the suppression list."""
        self.logger.info("suppression.removed", recipient=address, actor=actor, reason=reason)

    def callback_told(self, sender: SenderName, kind: str, name: str) -> None:
        """A sending application has heard what became of its mail."""
        self._metrics.callbacks["told"].inc()
        self.logger.debug("callback.told", sender=sender, kind=kind, webhook_id=name)

    def callback_failed(
        self, sender: SenderName, kind: str, name: str, complaint: str, due_at: datetime | None
    ) -> None:
        """It could not be told; it is told again at that time, or, without one, by an operator."""
        self._metrics.callbacks["dead" if due_at is None else "failed"].inc()
        tell = self.logger.error if due_at is None else self.logger.warning
        tell(
            "callback.dead" if due_at is None else "callback.failed",
            sender=sender,
            kind=kind,
            webhook_id=name,
            complaint=complaint,
            due_at="" if due_at is None else due_at.isoformat(timespec="seconds"),
        )
