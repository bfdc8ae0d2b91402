"""What follows from a believed event: stored with its effects, told, and mail in doubt settled.

The same for every way an event comes. Knows the order: nothing is answered before it is durable.
Does not know SNS, queues or signatures.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from relay.aftermath import Record
from relay.facts import Facts
from relay.feedback.event import VALIDATION_TEXT, read_event
from relay.mail.entry import State
from relay.mail.envelope import QUEUE_ID, QueueId
from relay.mail.feedback import FeedbackEvent, FeedbackKind, Suppression
from relay.operators import QueueView
from relay.policy.suppression import Practice, suppressions
from relay.ports import Clock, Queue, SpoolError

# How long after a Send event more are expected.
EVENTS_FRESH: Final = 3600.0  # seconds
# SES reports within a day, and SNS tries for an hour: what comes later was kept somewhere.
STALE: Final = timedelta(days=1)
# How often it is looked whether any mail is in doubt at all, in seconds.
DOUBT_LOOK: Final = 1.0

_SAY_IT_WAS_TAKEN: Final = frozenset(
    {
        FeedbackKind.SEND,
        FeedbackKind.DELIVERY,
        FeedbackKind.BOUNCE,
        FeedbackKind.COMPLAINT,
        FeedbackKind.DELIVERY_DELAY,
        FeedbackKind.REJECT,
    }
)


class Doubts:
    """Mail of which SES may have heard, settled by what SES reports of it.

    Where that fails nothing is lost: before mail in doubt is attempted again, it is asked what SES
    has reported (relay.delivery.attempt).
    """

    def __init__(
        self, queue: Queue, view: QueueView, *, node: str, facts: Facts, clock: Clock
    ) -> None:
        self._queue = queue
        self._view = view
        self._node = node
        self._facts = facts
        self._clock = clock
        self._looked_at = float("-inf")
        self._are_any = False

    async def settle(self, event: FeedbackEvent) -> None:
        """Let go what the event shows to be with SES."""
        if (
            event.node != self._node
            or event.kind not in _SAY_IT_WAS_TAKEN
            or not event.ses_message_id
            or QUEUE_ID.fullmatch(event.queue_id) is None
        ):
            return
        try:
            if not await self._may_be_any():
                return
            taken = {one.address.lower(): event.ses_message_id for one in event.recipients}
            count = await self._queue.settle_reported(
                QueueId(event.queue_id), taken, now=self._clock.now()
            )
        except SpoolError as error:
            self._facts.fault("doubts", error)
            return
        if count:
            self._facts.service(
                "settled_by_event",
                queue_id=event.queue_id,
                ses_message_id=event.ses_message_id,
                recipients=count,
            )

    async def _may_be_any(self) -> bool:
        """Whether any mail waits in doubt; nearly never, and not asked for every event."""
        now = self._clock.monotonic()
        if now - self._looked_at >= DOUBT_LOOK:
            counts = await self._view.counts()
            self._are_any = counts[State.AMBIGUOUS] > 0
            self._looked_at = now
        return self._are_any


class Effects:
    """Takes in what is believed."""

    def __init__(
        self,
        record: Record,
        doubts: Doubts,
        practice: Callable[[], Practice],
        facts: Facts,
        clock: Clock,
    ) -> None:
        self._record = record
        self._doubts = doubts
        self._practice = practice
        self._facts = facts
        self._clock = clock
        self._send_seen: float | None = None

    def events_seen(self) -> bool:
        """Whether a Send event arrived within the last hour, so that more may be expected."""
        seen = self._send_seen
        return seen is not None and self._clock.monotonic() - seen < EVENTS_FRESH

    async def take_in(self, delivery_id: str, message: str, topic: str) -> None:
        """Take in the JSON of an event, or whatever else came in its place; raise SpoolError."""
        event, causes = self._read(message)
        caused = await self._record.take_in(
            delivery_id,
            message.encode(errors="replace"),
            event,
            causes,
            self._practice().soft_bounces,
        )
        if event is None:
            if message.strip() == VALIDATION_TEXT:
                self._facts.service("topic_validated", topic=topic)
            else:
                self._facts.feedback_not_understood(topic, delivery_id)
            return
        if event.kind is FeedbackKind.SEND:
            self._send_seen = self._clock.monotonic()
        is_stale = self._clock.now() - event.at > STALE
        self._facts.feedback(event, duplicate=caused is None, stale=is_stale)
        for suppression in caused or ():
            self._facts.suppressed(suppression, actor="ses")
        await self._doubts.settle(event)

    def _read(self, message: str) -> tuple[FeedbackEvent | None, list[Suppression]]:
        """Read the event and what follows from it; what we fall over is kept raw, never refused."""
        try:
            event = read_event(message, now=self._clock.now())
            if event is None:
                return None, []
            return event, list(suppressions(event, self._practice()))
        except Exception as error:  # noqa: BLE001 - a believed message is never SNS's to send again
            self._facts.fault("feedback", error)
            return None, []
