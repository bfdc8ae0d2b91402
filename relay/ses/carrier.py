"""The carrier: one consignment, one SendRawEmail request, one answer.

Knows how the pieces of a call fit together. Does not know what an answer means for the mail
(relay.policy.verdict), how often to ask, or how long it took.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from relay.policy.verdict import Answer, Broken, Refused
from relay.ports import Clock, Consignment
from relay.ses.answer import read_answer
from relay.ses.connection import Request
from relay.ses.credentials import REFUSED, Credentials
from relay.ses.pool import Pool
from relay.ses.request import SLICE, encode, form_fields
from relay.ses.signer import Keys, Signer
from relay.ses.spooled import SpooledForm, SpooledForms, check_size

NO_CREDENTIALS: Final = "MissingAuthenticationToken"
"""SES's own code for a request without credentials; we need not ask to know its answer."""


@dataclass(frozen=True, slots=True)
class Line:
    """The way to SES: connections to an endpoint, and who signs for it."""

    pool: Pool
    signer: Signer


class SesCarrier:
    """Takes mail onward to SES, for one account."""

    def __init__(
        self,
        credentials: Credentials,
        line: Callable[[], Line],
        *,
        clock: Clock,
        threads: Executor,
    ) -> None:
        """`line` is asked only once there are credentials; `threads` read large content."""
        self._credentials = credentials
        self._line = line
        self._clock = clock
        self._threads = threads
        self._forms = SpooledForms(threads)

    async def relay(self, consignment: Consignment) -> Answer:
        """Ask SES to take the consignment; see relay.ports.Carrier."""
        keys = self._credentials.current or await self._credentials.first()
        if keys is None:
            return Refused(0, NO_CREDENTIALS, self._credentials.complaint)
        mail, content = consignment.mail, consignment.content
        fields = form_fields(
            mail.envelope.reverse_path,
            consignment.recipients,
            consignment.tags,
            consignment.route.configuration_set,
        )
        if not isinstance(content, bytes):
            async with self._forms.measured(fields, content) as form:
                return await self._ask(keys, form, form.digest, form.length)
        check_size(len(content), mail.size)
        if len(content) <= SLICE:
            body, digest = _whole(fields, content)
        else:
            loop = asyncio.get_running_loop()
            body, digest = await loop.run_in_executor(self._threads, _whole, fields, content)
        return await self._ask(keys, body, digest, len(body))

    async def _ask(self, keys: Keys, body: bytes | SpooledForm, digest: str, length: int) -> Answer:
        line = self._line()
        head = line.signer.head(keys, self._clock.now(), digest=digest, length=length)
        response = await line.pool.exchange(Request(head, body), length)
        if isinstance(response, Broken):
            return response
        answer = read_answer(response.status, response.body)
        if isinstance(answer, Refused) and answer.code in REFUSED:
            self._credentials.refused(keys)
        return answer


def _whole(fields: bytes, content: bytes) -> tuple[bytes, str]:
    body = fields + encode(content)
    return body, sha256(body).hexdigest()
