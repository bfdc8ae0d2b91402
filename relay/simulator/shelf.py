"""The messages SES took, kept for inspection: the newest, within a number and a size.

Memory only. Does not know why a message was taken nor what became of it.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from relay.simulator.address import Mailbox
    from relay.simulator.content import Content
    from relay.simulator.submission import Api


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message that SES took."""

    #: The SES message id.
    id: str
    #: Which API it came by.
    api: Api
    received_at: datetime
    #: The Source parameter as it was given, of v2 FeedbackForwardingEmailAddress; None without.
    source: str | None
    #: The Destinations parameter as it was given.
    destinations: tuple[str, ...]
    #: Who gets it: Destinations, or else To, Cc and Bcc.
    recipients: tuple[Mailbox, ...]
    #: What bounces go back to: the Source, or else the author.
    envelope_from: Mailbox
    #: The verified identity that allowed it.
    identity: str
    content: Content
    tags: tuple[tuple[str, str], ...]
    configuration_set: str | None
    tenant: str | None
    access_key: str
    caller: str
    #: The client's address.
    client: str

    @property
    def raw(self) -> bytes:
        """The content, octet for octet as it was sent."""
        return self.content.octets


class Shelf:
    """The newest messages, oldest first."""

    def __init__(self, *, keep_messages: int, keep_bytes: int) -> None:
        self._keep_messages = keep_messages
        self._keep_bytes = keep_bytes
        self._messages: OrderedDict[str, Message] = OrderedDict()
        self._bytes = 0
        #: How many were taken since the last `clear`, those no longer kept included.
        self.taken = 0

    def add(self, message: Message) -> None:
        """Keep it, and let go of the oldest that no longer fit. The newest always stays."""
        self._messages[message.id] = message
        self._bytes += len(message.raw)
        self.taken += 1
        while len(self._messages) > 1 and (
            len(self._messages) > self._keep_messages or self._bytes > self._keep_bytes
        ):
            _, oldest = self._messages.popitem(last=False)
            self._bytes -= len(oldest.raw)

    def get(self, message_id: str) -> Message | None:
        """The message, while it is kept."""
        return self._messages.get(message_id)

    def all(self) -> tuple[Message, ...]:
        """Every message kept, oldest first."""
        return tuple(self._messages.values())

    def clear(self) -> None:
        """Forget every message and start counting anew."""
        self._messages.clear()
        self._bytes = 0
        self.taken = 0


def ses_id(at: datetime) -> str:
    """An id of the shape SES gives to messages and to feedback: opaque, and ordered by time."""
    milliseconds = int(at.timestamp() * 1000)
    return f"0102{milliseconds:012x}-{uuid.uuid4()}-000000"
