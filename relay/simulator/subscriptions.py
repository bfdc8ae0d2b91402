"""Who is subscribed to which topic, and whether they have confirmed it.

State only: posts nothing, and does not know the clock.
"""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from relay.simulator.errors import ApiError

if TYPE_CHECKING:
    from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One HTTP endpoint of one topic."""

    arn: str
    topic_arn: str
    endpoint: str
    token: str
    token_expires_at: datetime
    confirmed: bool = False


class Subscriptions:
    """Every subscription, in the order they were made."""

    def __init__(self) -> None:
        self._by_arn: dict[str, Subscription] = {}

    def add(
        self, topic_arn: str, endpoint: str, *, now: datetime, lifetime: timedelta
    ) -> Subscription:
        """A new subscription, which waits to be confirmed."""
        subscription = Subscription(
            arn=f"{topic_arn}:{uuid.uuid4()}",
            topic_arn=topic_arn,
            endpoint=endpoint,
            token=secrets.token_hex(64),
            token_expires_at=now + lifetime,
        )
        self._by_arn[subscription.arn] = subscription
        return subscription

    def confirm(
        self, token: str, topic_arn: str | None, *, now: datetime
    ) -> tuple[Subscription, bool] | ApiError:
        """The subscription, and whether this call was the one that confirmed it.

        SNS API Reference, ConfirmSubscription: NotFound and InvalidParameter. Confirming once more
        is no error.
        """
        if topic_arn is not None and topic_arn not in {s.topic_arn for s in self.all()}:
            return ApiError("NotFound", "Topic does not exist", 404)
        found = next((s for s in self.all() if s.token == token), None)
        if found is None or topic_arn not in {None, found.topic_arn}:
            return ApiError("InvalidParameter", "Invalid parameter: Token")
        if found.confirmed:
            return found, False
        if now >= found.token_expires_at:
            return ApiError("InvalidParameter", "Invalid parameter: Token")
        confirmed = replace(found, confirmed=True)
        self._by_arn[found.arn] = confirmed
        return confirmed, True

    def deactivate(self, arn: str) -> Subscription | None:
        """Take a confirmed subscription back to unconfirmed; its token restores it."""
        found = self._by_arn.get(arn)
        if found is None:
            return None
        deactivated = replace(found, confirmed=False)
        self._by_arn[arn] = deactivated
        return deactivated

    def of_topic(self, topic_arn: str) -> tuple[Subscription, ...]:
        """The confirmed subscriptions of a topic."""
        return tuple(s for s in self.all() if s.confirmed and s.topic_arn == topic_arn)

    def all(self) -> tuple[Subscription, ...]:
        """Every subscription, confirmed or not."""
        return tuple(self._by_arn.values())
