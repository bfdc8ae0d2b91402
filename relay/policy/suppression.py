"""Which feedback puts an address on the suppression list. Does not know where the list is kept."""

from __future__ import annotations

from collections.abc import Iterator

from relay.mail.feedback import FeedbackEvent, FeedbackKind, Suppression, SuppressionReason


def suppressions(event: FeedbackEvent) -> Iterator[Suppression]:
    """Yield the suppressions an event causes.

    Permanent bounces at once; complaints only when they name one recipient (several are merely
    everyone at that provider: candidates) and are not `not-spam`; nothing else (SES Developer
    Guide, "Amazon SNS notification contents").
    """
    if event.kind is FeedbackKind.BOUNCE and event.kind_detail.startswith("Permanent/"):
        reason, what = SuppressionReason.BOUNCE, "hard bounce"
    elif (
        event.kind is FeedbackKind.COMPLAINT
        and len(event.recipients) == 1
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
        )
