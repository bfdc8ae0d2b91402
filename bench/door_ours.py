"""Our SMTP side alone: listener, session and policy as they are, and a spool that keeps nothing.

Run as `python -m bench.door_ours PORT`. Nothing is stored, sent or logged: what is measured is what
a client costs before its mail is anybody's business.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any, Final, cast

import uvloop

from bench.stalls import watch
from relay.clock import SystemClock
from relay.facts import Facts
from relay.mail.address import Address
from relay.mail.entry import Backlog
from relay.mail.envelope import AccountName, Envelope, Mail, QueueId, SenderName, new_queue_id
from relay.mail.ses_headers import NOTHING_ASKED
from relay.policy.admission import Auth
from relay.policy.allowance import Allowances
from relay.policy.patterns import AddressPatterns
from relay.policy.retry import RetrySchedule
from relay.policy.ruleset import Ruleset
from relay.policy.sender import Limits, Route, Sender, Senders
from relay.ports import Draft
from relay.smtp.auth import Verifier
from relay.smtp.frontdoor import FrontDoor
from relay.smtp.settings import ListenerSettings, TlsMode
from relay.smtp.surroundings import Surroundings

_NOTHING: Final = Backlog(0, 0)


class _Draft:
    """Content that is counted and forgotten."""

    __slots__ = ("message_id", "queue_id", "ses_headers", "size")

    def __init__(self, queue_id: QueueId) -> None:
        self.queue_id = queue_id
        self.size = 0
        self.message_id = ""
        self.ses_headers = NOTHING_ASKED

    async def append(self, octets: bytes) -> None:
        self.size += len(octets)

    async def discard(self) -> None:
        pass


class _Spool:
    """Commits to nowhere."""

    is_well = True

    def draft(self) -> _Draft:
        return _Draft(new_queue_id(datetime.now(UTC)))

    def has_room_for(self, octets: int) -> bool:
        return octets >= 0

    def backlog(self, _sender: SenderName) -> Backlog:
        return _NOTHING

    async def commit(self, draft: Draft, sender: SenderName, envelope: Envelope) -> Mail:
        return Mail(draft.queue_id, sender, envelope, datetime.now(UTC), draft.size)


class _Suppressions:
    """Nobody is suppressed."""

    def may_hold(self, _address: Address) -> bool:
        return False

    async def find(self, _address: Address, _sender: Sender | None = None) -> None:
        return None


class _Facts:
    """Tells nobody anything, but for our own faults: a bench of those would be worth nothing."""

    def fault(self, where: str, error: BaseException, _session_id: str = "") -> None:
        print(f"fault {where}: {error!r}", file=sys.stderr)


def _ignore(*_: object, **__: object) -> None:
    return None


for _name in (name for name in vars(Facts) if not name.startswith("_") and name != "fault"):
    setattr(_Facts, _name, staticmethod(_ignore))


class _Rules:
    """One sender: this host."""

    def __init__(self) -> None:
        sender = Sender(
            SenderName("bench"),
            AddressPatterns(("@example.com",)),
            Limits(10 * 1024 * 1024 - 4096),
            Route(AccountName("main")),
            networks=(ip_network("127.0.0.0/8"),),
        )
        schedule = RetrySchedule(timedelta(seconds=30), timedelta(hours=1), timedelta(days=4))
        self.current = Ruleset(1, "bench.example", Senders([sender]), schedule)


async def main(port: int) -> None:
    """Serve until killed."""
    clock = SystemClock()
    door = FrontDoor(
        [ListenerSettings("bench", "127.0.0.1", port, TlsMode.OFF, Auth.OFF)],
        Surroundings(
            rules=_Rules(),
            spool=_Spool(),
            suppressions=_Suppressions(),
            facts=cast("Any", _Facts()),
            clock=clock,
            verifier=Verifier(clock),
            allowances=Allowances(),
        ),
    )
    await door.start()
    watch(asyncio.get_running_loop(), time.thread_time)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
