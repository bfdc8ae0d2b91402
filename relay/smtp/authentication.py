"""One AUTH command, from its first challenge to its verdict (RFC 4954 section 4).

Does not know when AUTH is allowed; the session asks for it where it is.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from relay.mail.reply import Reply
from relay.policy.ruleset import Ruleset
from relay.policy.sender import Host, Sender
from relay.smtp.auth import Verifier
from relay.smtp.connection import Connection
from relay.smtp.replies import AUTH_BUSY, AUTH_FAILED, AUTH_LINE_TOO_LONG
from relay.smtp.sasl import MECHANISMS, Credentials, ExchangeError
from relay.smtp.throttle import VerifierBusyError

# RFC 4954 section 4: what a client may need for one response.
RESPONSE_LIMIT: Final = 12288


class AuthFailure(NamedTuple):
    """Why nobody was authenticated; `reason` is credentials, busy or aborted."""

    reply: Reply
    reason: str


async def authenticate(
    connection: Connection,
    mechanism: str,
    initial: bytes | None,
    *,
    verifier: Verifier,
    ruleset: Ruleset,
    host: Host,
) -> Sender | AuthFailure:
    """Ask for credentials and check them. Every failure is answered only after a while."""
    loop, began = connection.loop, None
    try:
        credentials = await _exchange(connection, mechanism, initial)
        await connection.flush()
        began = loop.time()
        sender = await verifier.verify(ruleset, credentials, host)
    except ExchangeError as error:
        failure = AuthFailure(error.reply, "aborted")
    except VerifierBusyError:
        failure = AuthFailure(AUTH_BUSY, "busy")
    else:
        if sender is not None:
            return sender
        failure = AuthFailure(AUTH_FAILED, "credentials")
    # The same time for a login nobody has, a wrong token, a wrong password, and no check at all.
    await connection.flush()
    taken = 0.0 if began is None else loop.time() - began
    await asyncio.sleep(connection.deadlines.auth_floor - taken)
    return failure


async def _exchange(connection: Connection, mechanism: str, initial: bytes | None) -> Credentials:
    exchange = MECHANISMS[mechanism](initial)
    try:
        challenge = next(exchange)
        while True:
            connection.say(challenge)
            response = await connection.next_line()
            if len(response) > RESPONSE_LIMIT:
                raise ExchangeError(AUTH_LINE_TOO_LONG)
            challenge = exchange.send(response)
    except StopIteration as end:
        credentials: Credentials = end.value
        return credentials
