"""What happens to one SNS POST: placed, verified, stored, answered.

Knows the order of the checks and the HTTP status each earns. SNS takes 2xx to 4xx as delivered and
comes again only after 5xx (SNS Developer Guide, "Message delivery retries"), so 403 and 400 are for
what is known wrong and 503 for what we could not do. Does not know HTTP servers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from relay.facts import Facts
from relay.feedback.certificate import SnsGateway, UnavailableError
from relay.feedback.event import VALIDATION_TEXT, read_event
from relay.feedback.sns import (
    NOTIFICATION,
    SUBSCRIPTION,
    CertificateError,
    ForgedError,
    MalformedError,
    SnsMessage,
)
from relay.mail.feedback import FeedbackEvent, FeedbackKind, Suppression
from relay.policy.suppression import suppressions
from relay.ports import Clock, Record, SpoolError

BODY_LIMIT: Final = 1024 * 1024
"""SNS messages have at most 256 KiB; as JSON inside JSON they grow."""

# How long after a Send event more are expected.
EVENTS_FRESH: Final = 3600.0  # seconds


class Confirm(StrEnum):
    """Whether a subscription of a configured topic confirms itself."""

    AUTO = "auto"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Topics:
    """The SNS topics we listen to; everything else is refused before anything is fetched."""

    arns: frozenset[str]
    confirm: Confirm


class Intake:
    """Takes in SNS messages."""

    def __init__(
        self,
        topics: Callable[[], Topics],
        gateway: SnsGateway,
        record: Record,
        facts: Facts,
        clock: Clock,
    ) -> None:
        self._topics = topics
        self._gateway = gateway
        self._record = record
        self._facts = facts
        self._clock = clock
        self._send_seen: float | None = None

    def events_seen(self) -> bool:
        """Whether a Send event arrived within the last hour, so that more may be expected."""
        seen = self._send_seen
        return seen is not None and self._clock.monotonic() - seen < EVENTS_FRESH

    async def take_in(self, body: bytes) -> int:
        """Take in one POST body; return the HTTP status to answer with."""
        if len(body) > BODY_LIMIT:
            return self._refuse(413, "too_large", "the body is longer than SNS sends")
        try:
            message = SnsMessage.parse(body)
            if message.topic not in self._topics().arns:
                return self._refuse(403, "topic", "the topic is not configured")
            pem = await self._gateway.certificate(message.certificate_url())
            message.verify(pem, self._clock.now())
        except MalformedError as error:
            return self._refuse(400, "malformed", str(error))
        except ForgedError as error:
            return self._refuse(403, "signature", str(error))
        except (UnavailableError, CertificateError) as error:
            return self._refuse(503, "certificate", str(error))
        if message.kind == SUBSCRIPTION:
            return await self._confirm(message)
        if message.kind == NOTIFICATION:
            return await self._store(message)
        # Unsubscribing is somebody's decision; subscribing again would overrule it.
        self._facts.service("unsubscribed", topic=message.topic)
        return 200

    async def _confirm(self, message: SnsMessage) -> int:
        if self._topics().confirm is Confirm.MANUAL:
            url = message.confirmation_url()
            self._facts.service("subscription_waiting", topic=message.topic, url=url)
            return 200
        try:
            await self._gateway.confirm(message.confirmation_url())
        except UnavailableError as error:
            return self._refuse(503, "certificate", str(error))
        self._facts.service("subscribed", topic=message.topic)
        return 200

    async def _store(self, message: SnsMessage) -> int:
        event, causes = self._read(message)
        try:
            caused = await self._record.take_in(
                message.message_id, message.message.encode(errors="replace"), event, causes
            )
        except SpoolError as error:
            return self._refuse(503, "store", str(error))
        if event is None and message.message.strip() == VALIDATION_TEXT:
            self._facts.service("topic_validated", topic=message.topic)
            return 200
        if event is None:
            self._facts.feedback_not_understood(message.topic, message.message_id)
            return 200
        if event.kind is FeedbackKind.SEND:
            self._send_seen = self._clock.monotonic()
        self._facts.feedback(event, duplicate=caused is None)
        for suppression in caused or ():
            self._facts.suppressed(suppression, actor="ses")
        return 200

    def _read(self, message: SnsMessage) -> tuple[FeedbackEvent | None, list[Suppression]]:
        """Read the event and what follows from it; what we fall over is kept raw, never refused."""
        try:
            event = read_event(message.message, now=self._clock.now())
            return event, [] if event is None else list(suppressions(event))
        except Exception as error:  # noqa: BLE001 - a signed message is never SNS's to send again
            self._facts.fault("feedback", error)
            return None, []

    def _refuse(self, status: int, reason: str, complaint: str) -> int:
        self._facts.feedback_refused(reason, complaint)
        return status
