"""The carrier: one consignment, one request to SES, one answer.

Knows how the pieces of a call fit together. Does not know what an answer means for the mail
(relay.policy.verdict), how often to ask, or how long it took.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import timedelta
from hashlib import sha256
from typing import Final

from relay.policy.verdict import Answer, Broken, Refused
from relay.ports import Clock, Consignment
from relay.ses import skew
from relay.ses.api import Api, Choice
from relay.ses.connection import Request
from relay.ses.credentials import REFUSED, Credentials
from relay.ses.frame import SLICE, Frame
from relay.ses.lines import Line, Lines
from relay.ses.signer import Keys
from relay.ses.skew import Skew
from relay.ses.spooled import SpooledBodies, SpooledBody, check_size

NO_CREDENTIALS: Final = "MissingAuthenticationToken"
"""SES's own code for a request without credentials; we need not ask to know its answer."""
NO_ENDPOINT: Final = "NoEndpoint"
"""Our own code where the AWS configuration does not say where to ask."""


class SesCarrier:
    """Takes mail onward to SES, for one account."""

    def __init__(
        self,
        credentials: Credentials,
        lines: Lines,
        choice: Choice,
        *,
        clock: Clock,
        threads: Executor,
        on_skew: Callable[[timedelta], None],
    ) -> None:
        """`lines` are asked only once there are credentials; `threads` read large content.

        `on_skew` hears how far this machine's clock is behind SES's, whenever that has changed.
        """
        self._credentials = credentials
        self._lines = lines
        self._choice = choice
        self._clock = clock
        self._threads = threads
        self._bodies = SpooledBodies(threads)
        self._skew = Skew()
        self._on_skew = on_skew

    async def relay(self, consignment: Consignment) -> Answer:
        """Ask SES to take the consignment; see relay.ports.Carrier."""
        keys = self._credentials.current or await self._credentials.first()
        if keys is None:
            return Refused(0, NO_CREDENTIALS, self._credentials.complaint)
        api = self._choice.of(consignment)
        try:
            line = await self._lines.to(api)
        except Exception as error:  # noqa: BLE001 - the SDK raises what it likes; nothing was sent
            return Refused(0, NO_ENDPOINT, str(error) or type(error).__name__)
        mail, content, frame = consignment.mail, consignment.content, api.frame(consignment)
        if not isinstance(content, bytes):
            async with self._bodies.measured(frame, content) as spooled:
                return await self._ask(api, line, keys, spooled, spooled.digest, spooled.length)
        check_size(len(content), mail.size)
        if len(content) <= SLICE:
            body, digest = _whole(frame, content)
        else:
            loop = asyncio.get_running_loop()
            body, digest = await loop.run_in_executor(self._threads, _whole, frame, content)
        return await self._ask(api, line, keys, body, digest, len(body))

    async def _ask(
        self, api: Api, line: Line, keys: Keys, body: bytes | SpooledBody, digest: str, length: int
    ) -> Answer:
        offset = self._skew.offset
        head = line.signer.head(keys, self._clock.now() + offset, digest=digest, length=length)
        response = await line.pool.exchange(Request(head, body), length)
        if isinstance(response, Broken):
            return response
        answer = api.read(response)
        if isinstance(answer, Refused):
            if answer.code in skew.REFUSED and self._skew.learn(response, self._clock.now()):
                # This call was refused; whoever asks next signs by the time of SES.
                self._on_skew(self._skew.offset)
            elif answer.code in REFUSED and offset == self._skew.offset:
                # Not one of those that were on their way when the clock was found out.
                self._credentials.refused(keys)
        return answer


def _whole(frame: Frame, content: bytes) -> tuple[bytes, str]:
    body = frame.around(content)
    return body, sha256(body).hexdigest()
