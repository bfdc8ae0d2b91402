"""Everything policy decides by, as one immutable value with a generation.

A session, a transaction and an attempt each take the current ruleset once; a reload swaps the whole
value and never changes one in use.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from relay.policy.retry import RetrySchedule
from relay.policy.sender import Senders


class TraceHeaders(StrEnum):
    """How much of where a mail came from its header tells the recipients."""

    FULL = "full"
    MINIMAL = "minimal"
    """A Received field without the client's name and address."""
    NONE = "none"
    """No Received field; X-Relay-Id alone."""


@dataclass(frozen=True, slots=True)
class Ruleset:
    """The rules of one configuration. `generation` grows by one at each successful reload."""

    generation: int
    hostname: str
    senders: Senders
    retry: RetrySchedule
    trace: TraceHeaders = TraceHeaders.FULL
