"""Which feedback puts an address on the suppression list. Does not know where the list is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from relay.mail.feedback import (
    EVERYBODY,
    FeedbackEvent,
    FeedbackKind,
    SoftBounces,
    Suppression,
    SuppressionReason,
    account_scope,
    sender_scope,
)
from relay.policy.sender import Sender


def binds(entry: Suppression, sender: Sender, now: datetime) -> bool:
    """Whether an entry of the list keeps that sender from mailing its address now."""
    scopes = (EVERYBODY, account_scope(sender.route.account), sender_scope(sender.name))
    return entry.scope in scopes and (entry.until is None or now < entry.until)


@dataclass(frozen=True, slots=True)
class Practice:
    """What of feedback suppresses, and for how long; None is for ever, or not at all."""

    bounce_expiry: timedelta | None = None
    soft_bounces: SoftBounces | None = None
    suppresses_candidates: bool = False
    """Whether everybody is suppressed whom a complaint names as possible."""


CAUTIOUS: Final = Practice()
"""Hard bounces for ever, and whom a complaint surely names."""

# SES said no before it asked the recipient's host: what the list itself caused is no news of it.
_ON_OUR_LIST: Final = frozenset({"OnAccountSuppressionList", "OnTenantSuppressionList"})


def suppressions(event: FeedbackEvent, practice: Practice = CAUTIOUS) -> Iterator[Suppression]:
    """Yield the suppressions an event causes.

    Permanent bounces at once; complaints only when they name one recipient (several are merely
    everyone at that provider: candidates) and are not `not-spam`; nothing else (SES Developer
    Guide, "Amazon SNS notification contents"). Transient bounces are counted by the store.
    """
    until = None
    if event.kind is FeedbackKind.BOUNCE and event.kind_detail.startswith("Permanent/"):
        reason = SuppressionReason.BOUNCE
        subtype = event.kind_detail.partition("/")[2]
        what = "on SES's suppression list" if subtype in _ON_OUR_LIST else "hard bounce"
        if practice.bounce_expiry is not None:
            until = event.at + practice.bounce_expiry
    elif (
        event.kind is FeedbackKind.COMPLAINT
        and (len(event.recipients) == 1 or practice.suppresses_candidates)
        and event.kind_detail != "not-spam"
    ):
        reason, what = SuppressionReason.COMPLAINT, "complaint"
    else:
        return
    for recipient in event.recipients:
        said = recipient.diagnostic or event.kind_detail
        yield Suppression(
            address=recipient.address.lower(),
            reason=reason,
            detail=f"{what} ({said})" if said else what,
            since=event.at,
            event_id=event.feedback_id,
            until=until,
            spelling=recipient.address,
        )


def is_soft(event: FeedbackEvent) -> bool:
    """Whether it is a bounce that may pass; Undetermined ones never count."""
    return event.kind is FeedbackKind.BOUNCE and event.kind_detail.startswith("Transient/")


def softly_bounced(event: FeedbackEvent, address: str, soft: SoftBounces) -> Suppression:
    """Return what follows once an address has bounced that often; `event` is the last of them."""
    days = soft.within / timedelta(days=1)
    said = event.kind_detail.partition("/")[2]
    return Suppression(
        address=address.lower(),
        reason=SuppressionReason.BOUNCE,
        detail=f"{soft.count} soft bounces within {days:g} days, the last {said}",
        since=event.at,
        event_id=event.feedback_id,
        until=event.at + soft.expiry,
        spelling=address,
    )
