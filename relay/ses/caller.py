"""One signed call to SES, whatever is asked: what sending mail and reading quotas have in common.

Knows credentials and clocks: what SES's refusal of a signature tells of either. Does not know what
is asked or what the answer means.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from relay.policy.verdict import Broken, Refused
from relay.ports import Clock
from relay.ses import skew
from relay.ses.connection import Request, SlicedBody
from relay.ses.credentials import REFUSED, Credentials
from relay.ses.http1 import Response
from relay.ses.lines import Line
from relay.ses.signer import Keys
from relay.ses.skew import Skew

T = TypeVar("T")


class Caller:
    """Signs and makes calls, for one account; all by the same time and credentials."""

    def __init__(
        self, credentials: Credentials, *, clock: Clock, on_skew: Callable[[timedelta], None]
    ) -> None:
        """`on_skew` hears how far this machine's clock is behind SES's, whenever that changed."""
        self.credentials = credentials
        self._clock = clock
        self._skew = Skew()
        self._on_skew = on_skew

    @property
    def offset(self) -> timedelta:
        """What is added to this machine's time to get SES's."""
        return self._skew.offset

    async def call(
        self,
        line: Line,
        keys: Keys,
        body: bytes | SlicedBody,
        digest: str,
        length: int,
        read: Callable[[Response], T | Refused],
    ) -> T | Refused | Broken:
        """Make one call with a body of that SHA-256 and length; return what `read` makes of it."""
        offset, now = self._skew.offset, self._clock.now()
        if offset:
            now += offset
        head = line.signer.head(keys, now, digest=digest, length=length)
        response = await line.pool.exchange(Request(head, body), length)
        if isinstance(response, Broken):
            return response
        answer = read(response)
        if isinstance(answer, Refused):
            if answer.code in skew.REFUSED and self._skew.learn(response, self._clock.now()):
                # This call was refused; whoever asks next signs by the time of SES.
                self._on_skew(self._skew.offset)
            elif answer.code in REFUSED and offset == self._skew.offset:
                # Not one of those that were on their way when the clock was found out.
                self.credentials.refused(keys)
        return answer
