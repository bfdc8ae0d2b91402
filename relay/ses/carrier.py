"""The carrier: one consignment, one request to SES, one answer.

Knows how the pieces of a call fit together. Does not know what an answer means for the mail
(relay.policy.verdict), how often to ask, or how long it took.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from hashlib import sha256
from typing import Final

from relay.policy.verdict import Answer, Refused
from relay.ports import Consignment
from relay.ses.api import Choice
from relay.ses.caller import Caller
from relay.ses.frame import SLICE, Frame
from relay.ses.lines import Lines
from relay.ses.spooled import SpooledBodies, check_size

NO_CREDENTIALS: Final = "MissingAuthenticationToken"
"""SES's own code for a request without credentials; we need not ask to know its answer."""
NO_ENDPOINT: Final = "NoEndpoint"
"""Our own code where the AWS configuration does not say where to ask."""


class SesCarrier:
    """Takes mail onward to SES, for one account."""

    def __init__(
        self,
        caller: Caller,
        lines: Lines,
        choice: Choice,
        *,
        threads: Executor,
    ) -> None:
        """`lines` are asked only once there are credentials; `threads` read large content."""
        self._caller = caller
        self._credentials = caller.credentials
        self._lines = lines
        self._choice = choice
        self._threads = threads
        self._bodies = SpooledBodies(threads)

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
                return await self._caller.call(
                    line, keys, spooled, spooled.digest, spooled.length, api.read
                )
        check_size(len(content), mail.size)
        if len(content) <= SLICE:
            body, digest = _whole(frame, content)
        else:
            loop = asyncio.get_running_loop()
            body, digest = await loop.run_in_executor(self._threads, _whole, frame, content)
        return await self._caller.call(line, keys, body, digest, len(body), api.read)


def _whole(frame: Frame, content: bytes) -> tuple[bytes, str]:
    body = frame.around(content)
    return body, sha256(body).hexdigest()
