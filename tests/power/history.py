"""What was promised, and when: from the same trace as the disk, so that the order is beyond doubt.

Knows the replies, the requests and the log of the relay. Does not know files.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import parse_qsl

from relay.simulator import Message
from tests.crash.disk import Pair
from tests.power.trace import Call, Kind

_QUEUED: Final = re.compile(rb"250 2\.0\.0 Ok queued as ([0-9A-Z]{20})\r\n")
_REQUEST: Final = b"POST / HTTP/1.1\r\n"
_BODY: Final = b"\r\n\r\n"
_CONTENT: Final = b"&RawMessage.Data="
_STANDARD_OUTPUT: Final = 1


@dataclass(frozen=True)
class Taken:
    """One call for one recipient that SES took."""

    begun: int
    """The line in which its first octets were written."""
    at: float
    """When SES took it."""


@dataclass
class History:
    """What was said when, by line of the trace."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    """Of each queue id, the line in which its 250 was being written."""
    told: dict[Pair, int] = field(default_factory=dict)
    """Of each pair, the line in which the log was being told that SES has taken it."""
    begun: dict[Pair, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Of each pair, the lines in which the first octets of a call were written."""
    taken: dict[Pair, list[Taken]] = field(default_factory=lambda: defaultdict(list))
    """Of each pair, the calls that SES took."""
    _requests: set[Call] = field(default_factory=set)

    @classmethod
    def read(cls, calls: Iterable[Call], messages: Iterable[Message]) -> Self:
        """Read what was promised from a trace, and from what SES took."""
        told = cls()
        streams: dict[str, _Stream] = defaultdict(_Stream)
        requests: dict[tuple[str, ...], list[Call]] = defaultdict(list)
        said = [call for call in calls if call.kind is Kind.SAY]
        for call in sorted(said, key=lambda one: one.begun):
            for found in _QUEUED.findall(call.octets):
                told.acknowledged[found.decode()] = call.begun
            stream = streams[call.path]
            if call.descriptor == _STANDARD_OUTPUT:
                told._hear(stream.lines(call), call.begun)
            elif (request := stream.request(call)) is not None:
                begun, name, *recipients = request
                told._requests.add(begun)
                requests[name, *recipients].append(begun)
                for one in recipients:
                    told.begun[name, one].append(begun.begun)
        for message in messages:
            name = dict(message.tags)["relay-id"]
            recipients = list(map(str, message.recipients))
            at = message.received_at.timestamp()
            # Some came to nothing before SES had read them: it is the last that had begun by then.
            begun = [one for one in requests[name, *recipients] if one.at <= at][-1]
            for one in recipients:
                told.taken[name, one].append(Taken(begun.begun, at))
        return told

    def _hear(self, lines: list[bytes], begun: int) -> None:
        for line in lines:
            said = json.loads(line)
            if said["event"] == "mail.relayed":
                self.told[said["queue_id"], said["recipient"]] = begun

    def why(self, call: Call) -> str:
        """Return what makes the begin of a call a moment worth looking at, or nothing."""
        if call.kind is not Kind.SAY:
            return ""
        if _QUEUED.search(call.octets):
            return "a 250 is being written"
        return "a call to SES begins" if call in self._requests else ""


class _Stream:
    """What was written into one socket or pipe and is not complete yet."""

    def __init__(self) -> None:
        self._held = b""
        self._begun: Call | None = None

    def lines(self, call: Call) -> list[bytes]:
        """Return the lines that are complete with this."""
        *lines, self._held = (self._held + call.octets).split(b"\n")
        return lines

    def request(self, call: Call) -> tuple[Any, ...] | None:
        """Return the call with which a request to send mail began, its queue id and recipients.

        As soon as they are known: they come first, and large content long after.
        """
        if call.octets.startswith(_REQUEST):
            self._begun, self._held = call, b""
        if self._begun is None:
            return None
        self._held += call.octets
        head, fits, _ = self._held.partition(_CONTENT)
        if not fits:
            return None
        begun, self._begun = self._begun, None
        fields = parse_qsl(head.partition(_BODY)[2].decode())
        values = [value for name, value in fields if name.startswith("Tags.member.")]
        name = values[values.index("relay-id") + 1]
        recipients = [value for name, value in fields if name.startswith("Destinations.member.")]
        return begun, name, *recipients
