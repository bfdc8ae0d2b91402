"""What a sending application is told of its mail: the notice, its id and its body.

The body is that of Standard Webhooks 1.0 (type, timestamp, data). Knows no HTTP and no queue; that
a mail was *relayed* is no news, for what comes of it is still open (P4).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final

from relay.mail.envelope import SenderName
from relay.mail.feedback import FeedbackKind

FAILED: Final = "failed"
"""We gave it up, and SES never had it; or it is unknown whether it had."""

OF_EVENTS: Final = {
    FeedbackKind.DELIVERY: "delivered",
    FeedbackKind.BOUNCE: "bounced",
    FeedbackKind.COMPLAINT: "complained",
    FeedbackKind.DELIVERY_DELAY: "delayed",
}
OF_FACTS: Final = {"failed": FAILED, "expired": FAILED}
KINDS: Final = (FAILED, *OF_EVENTS.values())

# After the first try: some 17 hours in all. What is tried at once fails of what is over in seconds;
# what is tried tomorrow, of what somebody had to be called in for.
_WAITS: Final = tuple(
    timedelta(seconds=seconds) for seconds in (5, 60, 300, 1800, 2 * 3600, 5 * 3600, 10 * 3600)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing an application is told about one recipient of one of its mails.

    `number` tells it from another one of its kind: an attempt, or SES's name of the event.
    """

    sender: SenderName
    kind: str
    at: datetime
    queue_id: str
    recipient: str
    number: str
    detail: str = ""
    ses_message_id: str = ""
    message_id: str = ""

    @property
    def id(self) -> str:
        """The webhook-id: the same whenever this is told, so that the receiver knows it again."""
        words = (self.queue_id, self.ses_message_id, self.recipient, self.kind, self.number)
        return "msg_" + blake2b("\0".join(words).encode(), digest_size=16).hexdigest()

    def body(self) -> bytes:
        """Return what is posted."""
        document = {
            "type": f"mail.{self.kind}",
            "timestamp": self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "data": {
                "sender": self.sender,
                "queue_id": self.queue_id,
                "recipient": self.recipient,
                "detail": self.detail,
                "ses_message_id": self.ses_message_id,
                "message_id": self.message_id,
            },
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(
            errors="replace"
        )


def next_try(attempts: int, jitter: float) -> timedelta | None:
    """Return the wait after so many attempts, this one included; None: it is given up.

    `jitter` is drawn from [0, 1), so that an endpoint that comes back is not met by all at once.
    """
    if attempts > len(_WAITS):
        return None
    return _WAITS[attempts - 1] * (1 + jitter / 5)
