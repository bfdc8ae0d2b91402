"""What the simulator does wrong on purpose, and for which calls.

A queue of faults, each good for the next n calls it matches. Knows what is to go wrong, not how a
server does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

SERVICE_DOWN_PAGE: Final = (
    "<html><head><title>503 Service Temporarily Unavailable</title></head>"
    "<body><h1>503 Service Temporarily Unavailable</h1></body></html>"
)


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer with an AWS error. The message is not taken."""

    code: str
    text: str
    status: int = 400


@dataclass(frozen=True, slots=True)
class Garble:
    """Answer with something that is no XML, as a load balancer does. The message is not taken."""

    status: int = 503
    body: str = SERVICE_DOWN_PAGE
    content_type: str = "text/html"


@dataclass(frozen=True, slots=True)
class Delay:
    """Wait, then carry on as usual."""

    by: timedelta


@dataclass(frozen=True, slots=True)
class Hang:
    """Answer only when released. `accepted`: the message is taken first, and its events go out."""

    accepted: bool = False


@dataclass(frozen=True, slots=True)
class ResetUnread:
    """Reset the connection before the body is read: certainly nothing was taken."""


@dataclass(frozen=True, slots=True)
class LoseAnswer:
    """Take the message, send its events, and reset the connection instead of answering."""


@dataclass(frozen=True, slots=True)
class CutAnswer:
    """Take the message, announce the whole answer, and close after its first bytes."""

    keep: int = 20


Act: TypeAlias = Refuse | Garble | Delay | Hang | ResetUnread | LoseAnswer | CutAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One act, how often, and for which calls."""

    act: Act
    times: int = 1
    #: Only calls of this action; None is any.
    action: str | None = None
    #: Only calls with this recipient, an address or "@domain"; None is any.
    recipient: str | None = None

    def __post_init__(self) -> None:
        """Refuse a fault that could never happen."""
        if self.times < 1:
            raise ValueError(f"a fault happens at least once, not {self.times} times")
        if isinstance(self.act, ResetUnread) and (self.action or self.recipient):
            raise ValueError("a call reset unread cannot be told by its action or recipient")

    def matches(self, action: str, recipients: Iterable[str]) -> bool:
        """Whether this call is meant."""
        if self.action is not None and self.action != action:
            return False
        if self.recipient is None:
            return True
        wanted = self.recipient.lower()
        return any(
            address == wanted or (wanted.startswith("@") and address.endswith(wanted))
            for address in map(str.lower, recipients)
        )


class FaultQueue:
    """Faults to come, first come first served."""

    def __init__(self) -> None:
        self._queue: list[tuple[Fault, int]] = []

    def add(self, fault: Fault) -> None:
        """Put it behind those already waiting."""
        self._queue.append((fault, fault.times))

    def clear(self) -> None:
        """Forget every fault."""
        self._queue.clear()

    def waiting(self) -> tuple[tuple[Fault, int], ...]:
        """The faults to come, with how often each still happens."""
        return tuple(self._queue)

    def take_unread(self) -> ResetUnread | None:
        """The fault for a call of which only the request line and headers were read."""
        for place, (fault, _) in enumerate(self._queue):
            if isinstance(fault.act, ResetUnread):
                self._use(place)
                return fault.act
        return None

    def take(self, action: str, recipients: Iterable[str]) -> Act | None:
        """The fault for a call that was read whole."""
        addresses = tuple(recipients)
        for place, (fault, _) in enumerate(self._queue):
            if not isinstance(fault.act, ResetUnread) and fault.matches(action, addresses):
                self._use(place)
                return fault.act
        return None

    def _use(self, place: int) -> None:
        fault, left = self._queue[place]
        if left > 1:
            self._queue[place] = (fault, left - 1)
        else:
            del self._queue[place]
