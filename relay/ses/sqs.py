"""An SQS queue (aftermath.MessageQueue), asked through botocore. Every method blocks.

Knows the calls (SQS API Reference). Does not know what messages say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from relay.aftermath import Delivered
from relay.ses.sdk import Whereabouts

AT_ONCE: Final = 10
"""The most there can be in one answer (SQS API, ReceiveMessage)."""
LONG_POLL: Final = 20  # seconds

_HOST: Final = re.compile(
    r"(?:sqs\.(?P<region>[a-z0-9-]+)|[a-z0-9-]+\.queue)\.amazonaws\.com(?:\.cn)?"
)


class SqsQueue:
    """Opened with the machine's credentials; called in threads."""

    def __init__(self, url: str, region: str) -> None:
        """`region` is used where the URL does not say its own."""
        from relay.ses.aws import Botocore  # noqa: PLC0415 - slow to import, and here in a thread

        self._url = url
        sdk = Botocore(whereabouts_of(url, region))
        # Longer than the longest poll.
        self._client: Any = sdk.client("sqs", read_timeout=LONG_POLL + 10)

    def receive(self) -> Sequence[Delivered]:
        """Wait up to 20 seconds for messages, and return at most 10."""
        said = self._client.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=AT_ONCE,
            WaitTimeSeconds=LONG_POLL,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        return [
            Delivered(
                one["MessageId"],
                one["Body"],
                one["ReceiptHandle"],
                int(one.get("Attributes", {}).get("ApproximateReceiveCount", 1)),
            )
            for one in said.get("Messages", ())
        ]

    def delete(self, handles: Sequence[str]) -> None:
        """Delete messages; what fails is handed out again."""
        entries = [{"Id": str(n), "ReceiptHandle": one} for n, one in enumerate(handles)]
        self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()


def whereabouts_of(url: str, region: str) -> Whereabouts:
    """Return where a queue is. Anything but AWS's own host is an endpoint of its own."""
    parts = urlsplit(url)
    match = _HOST.fullmatch(parts.hostname or "")
    if match is not None:
        return Whereabouts(match["region"] or region)
    return Whereabouts(region, f"{parts.scheme}://{parts.netloc}")
