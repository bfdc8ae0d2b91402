"""How much the account may send: recipients a second, recipients a day, control calls a second.

Counts and decides. Does not know the clock: callers pass `now`, which never runs backwards here.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

from relay.simulator.errors import ApiError, throttled
from relay.simulator.settings import UNLIMITED, Throttle

if TYPE_CHECKING:
    from relay.simulator.settings import Settings

_DAY: Final = timedelta(hours=24)
_SECOND: Final = timedelta(seconds=1)
_ROUNDING: Final = 1e-6

RATE_EXCEEDED: Final = throttled("Maximum sending rate exceeded.")
DAY_EXCEEDED: Final = throttled("Daily message quota exceeded.")
CONTROL_RATE_EXCEEDED: Final = throttled("Rate exceeded")


class Counted(Protocol):
    """One way of counting a rate."""

    def take(self, count: int, *, rate: float, now: datetime) -> bool:
        """Whether the call passes; if it does, its whole cost is on the account."""


class Bucket:
    """A token bucket that holds one second's worth and may go into debt.

    SES Developer Guide, sending quotas: a call goes through while any allowance is left, however
    many recipients it has; the debt must be earned back before the next one.
    """

    def __init__(self) -> None:
        self._at: datetime | None = None
        #: Tokens missing from a full bucket; more than it holds is debt.
        self._missing = 0.0

    def take(self, count: int, *, rate: float, now: datetime) -> bool:
        """Pass while a whole token is there, and take as many as the call costs."""
        if self._at is not None:
            self._missing = max(0.0, self._missing - (now - self._at) / _SECOND * rate)
        self._at = now
        # A rate below one a second fills up to a whole token all the same.
        if self._missing > max(rate, 1.0) - 1 + _ROUNDING:
            return False
        self._missing += count
        return True


class Window:
    """Fixed windows of one second; what a call takes over the limit comes off the next ones."""

    def __init__(self) -> None:
        self._second: datetime | None = None
        self._used = 0.0

    def take(self, count: int, *, rate: float, now: datetime) -> bool:
        """Pass while anything of this window is left."""
        second = now.replace(microsecond=0)
        if self._second is not None:
            gone = max(0, (second - self._second) // _SECOND)
            self._used = max(0.0, self._used - gone * rate)
        self._second = second
        if self._used >= rate:
            return False
        self._used += count
        return True


class Day:
    """Recipients of the last 24 hours, kept by the second."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[datetime, int]] = deque()
        self._total = 0

    def used(self, now: datetime) -> int:
        """How many count against the quota now."""
        while self._seconds and now - self._seconds[0][0] >= _DAY:
            self._total -= self._seconds.popleft()[1]
        return self._total

    def add(self, count: int, now: datetime) -> None:
        """Count a call that passed."""
        second = now.replace(microsecond=0)
        if self._seconds and self._seconds[-1][0] == second:
            count_before = self._seconds.pop()[1]
        else:
            count_before = 0
        self._seconds.append((second, count_before + count))
        self._total += count


class Quota:
    """Every allowance of the account."""

    def __init__(self) -> None:
        self._rates: dict[Throttle, Counted] = {
            Throttle.BUCKET: Bucket(),
            Throttle.WINDOW: Window(),
        }
        self._control = Bucket()
        self._day = Day()

    def take(
        self, recipients: int, *, counted: int, settings: Settings, now: datetime
    ) -> ApiError | None:
        """Take a call's cost, or say which allowance refuses it; a refused call costs nothing.

        `recipients` counts against the send rate, `counted` against the day: the mailbox
        simulator's recipients are in the first only. An over-quota call is refused whole.
        """
        limit = settings.recipients_a_day
        if counted and limit != UNLIMITED and self._day.used(now) + counted > limit:
            return DAY_EXCEEDED
        rate = settings.send_rate
        if rate != UNLIMITED and not self._rates[settings.throttle].take(
            recipients, rate=rate, now=now
        ):
            return RATE_EXCEEDED
        self._day.add(counted, now)
        return None

    def take_control_call(self, settings: Settings, now: datetime) -> ApiError | None:
        """SES Developer Guide, quotas: every other operation is throttled at about 1 a second."""
        rate = settings.control_rate
        if rate is None or self._control.take(1, rate=rate, now=now):
            return None
        return CONTROL_RATE_EXCEEDED

    def sent_last_24_hours(self, now: datetime) -> int:
        """What GetSendQuota reports as SentLast24Hours."""
        return self._day.used(now)
