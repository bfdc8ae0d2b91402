"""The trace fields we prepend: Received (RFC 5321 section 4.4), X-Relay-Id, and who was spared.

Knows their syntax. Does not know sessions; what a client called itself is never copied unless it
has the shape of a host name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Final

from relay.mail.address import Address
from relay.mail.envelope import QueueId
from relay.policy.ruleset import TraceHeaders
from relay.policy.sender import Host

# Underscores are not in the grammar, but Windows hosts have them.
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,253}|\[[A-Za-z0-9.:]{2,64}\]")

# Octets of X-Relay-Redirected-From that name recipients: with Received it must fit into what
# relay.yaml keeps for our fields (senders: limits: message_size).
_REDIRECTED_LIMIT: Final = 2000
_NEXT_RECIPIENT: Final = b",\r\n\t"


def protocol_name(*, extended: bool, secure: bool, authenticated: bool) -> str:
    """Return the "with" keyword of RFC 3848."""
    if not extended:
        return "SMTP"
    return "ESMTP" + "S" * secure + "A" * authenticated


def opening(
    client_name: str, client: Host, *, hostname: str, protocol: str, trace: TraceHeaders
) -> bytes:
    """Return what every Received field of one client begins with, up to the queue id.

    Empty where there is to be no such field.
    """
    if trace is TraceHeaders.NONE:
        return b""
    by = f"by {hostname} with {protocol} id "
    if trace is TraceHeaders.MINIMAL:
        return f"Received: {by}".encode("ascii")
    literal = f"[IPv6:{client}]" if client.version == 6 else f"[{client}]"  # noqa: PLR2004
    name = client_name if _HOST_NAME.fullmatch(client_name) else literal
    return f"Received: from {name} ({literal})\r\n\t{by}".encode("ascii")


def trace_fields(
    opened: bytes, queue_id: QueueId, now: datetime, only_recipient: Address | None
) -> bytes:
    """Return both fields. A recipient is named only when there is no other to be shown to."""
    name = queue_id.encode("ascii")
    if not opened:
        return b"X-Relay-Id: %b\r\n" % name
    towards = b"\r\n\tfor <%b>" % str(only_recipient).encode("ascii") if only_recipient else b""
    return b"%b%b%b; %b\r\nX-Relay-Id: %b\r\n" % (
        opened,
        name,
        towards,
        _date(int(now.timestamp())),
        name,
    )


def redirected_from(recipients: Sequence[Address]) -> bytes:
    """Return a field that names whom a redirected mail was for, one a line, as far as they fit."""
    lines, room = [], _REDIRECTED_LIMIT
    for recipient in recipients:
        line = str(recipient).encode("ascii")
        room -= len(line) + len(_NEXT_RECIPIENT)
        if room < 0:
            break
        lines.append(line)
    more = len(recipients) - len(lines)
    rest = b" and %d more" % more if more else b""
    return b"X-Relay-Redirected-From: %b%b\r\n" % (_NEXT_RECIPIENT.join(lines), rest)


@lru_cache(maxsize=2)
def _date(second: int) -> bytes:
    """Return the date of RFC 5322 section 3.3; written once a second, not once a mail."""
    return format_datetime(datetime.fromtimestamp(second, UTC)).encode("ascii")
