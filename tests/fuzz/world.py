"""The listeners and senders fuzzed clients meet, and the playing of one script against them.

Knows how a session is made and fed. Does not judge what comes of it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from ipaddress import ip_address, ip_network
from typing import Any, Final, cast

from relay.mail.address import Address
from relay.mail.feedback import Suppression, SuppressionReason
from relay.policy.admission import Auth
from relay.policy.allowance import Allowances
from relay.policy.patterns import AddressPatterns
from relay.policy.rewrite import Rewrite
from relay.policy.sender import Destinations, Limits, LineEndings, OnSuppressed, OverLimit, Rate
from relay.smtp.auth import Verifier
from relay.smtp.offer import Offer
from relay.smtp.places import Capacity, Places
from relay.smtp.replies import SHUTTING_DOWN
from relay.smtp.session import Session
from relay.smtp.sessions import Sessions
from relay.smtp.settings import AuthWithoutTls, ListenerSettings, TlsMode
from relay.smtp.surroundings import Surroundings
from relay.smtp.tls import ServerContext, TlsInForce
from tests.builders import ARRIVED, a_ruleset, a_sender
from tests.fakes import FakeSuppressions, StaticRules
from tests.fuzz import script as notation
from tests.fuzz.loop import SteppedLoop
from tests.fuzz.script import Script
from tests.fuzz.stand_ins import FuzzFacts, FuzzSpool, LoopClock
from tests.fuzz.wire import Wire

# Small enough that a client of a few kilobytes is over it.
MESSAGE_SIZE: Final = 65536
PASSWORD: Final = b"swordfish"
_TOKEN: Final = "sha256:" + hashlib.sha256(PASSWORD).hexdigest()
_PEER: Final = ip_address("127.0.0.1")
# Longer than any chain of deadlines; and what throttles and quotas remember is over by then.
_AFTERWARDS: Final = 10_000.0


def _listener(
    name: str, tls: TlsMode = TlsMode.OFF, auth: Auth = Auth.OFF, **keys: Any
) -> ListenerSettings:
    loopback = AuthWithoutTls.LOOPBACK
    return ListenerSettings(name, "127.0.0.1", 0, tls, auth, auth_without_tls=loopback, **keys)


_BILLING: Final = replace(
    a_sender(),
    login="billing",
    secret=_TOKEN,
    networks=(ip_network("127.0.0.0/8"),),
    limits=Limits(MESSAGE_SIZE),
)
_SCANNER: Final = replace(
    _BILLING,
    rewrite=Rewrite(reverse_path=Address.parse("scan@example.com"), author="S <scan@example.com>"),
    line_endings=LineEndings.NORMALIZE,
    on_suppressed=OnSuppressed.DROP,
)
_BOUNDED: Final = replace(
    _BILLING,
    limits=Limits(
        MESSAGE_SIZE,
        Rate(3, 3600.0),
        3,
        OverLimit.REFUSE,
        recipients=(Rate(5, 3600.0),),
        recipients_per_message=3,
    ),
    to=Destinations(deny=AddressPatterns(("@denied.example",))),
)
_WORLDS: Final[Mapping[str, tuple[ListenerSettings, Any]]] = {
    "printer": (_listener("printer"), _BILLING),
    "submission": (_listener("submission", auth=Auth.REQUIRED), _BILLING),
    "mixed": (
        _listener("mixed", auth=Auth.OPTIONAL, line_endings=LineEndings.NORMALIZE),
        _SCANNER,
    ),
    "tls": (_listener("tls", TlsMode.STARTTLS_REQUIRED, Auth.OPTIONAL), _BILLING),
    # With one place, which is taken: always under stress.
    "quotas": (
        _listener("quotas", TlsMode.STARTTLS, refuses_long_lines=True, max_connections=1),
        _BOUNDED,
    ),
}
GONE: Final = "zqgone@example.net"
"""The address on the suppression list."""


@dataclass(slots=True)
class Played:
    """What came of one script."""

    script: Script
    sent: bytes
    said: bytes
    spool: FuzzSpool
    facts: FuzzFacts
    has_ended: bool
    """Whether the session was over once all its deadlines had passed."""
    was_reset: bool
    was_drained: bool
    normalizes: bool
    complaints: list[str]
    """What the stand-ins and the loop did not like."""


class _Context:
    """What is known of a context nobody encrypts with."""

    authorities: frozenset[bytes] = frozenset()


class World:
    """One listener and its senders, over one loop. Sessions are played one after the other."""

    def __init__(self, name: str, loop: SteppedLoop) -> None:
        self.loop = loop
        self._settings, sender = _WORLDS[name]
        self._normalizes = sender.line_endings is LineEndings.NORMALIZE
        self._spool, self._facts = FuzzSpool(), FuzzFacts()
        clock = LoopClock(loop)
        self._rules = StaticRules(a_ruleset(sender))
        suppression = Suppression(GONE, SuppressionReason.BOUNCE, "hard bounce", ARRIVED)
        # Nobody looks into it: the loop only pretends to encrypt.
        context = TlsInForce(cast("ServerContext", _Context()))
        self.surroundings = Surroundings(
            rules=self._rules,
            spool=self._spool,
            suppressions=FakeSuppressions(suppression),
            facts=cast("Any", self._facts),
            clock=clock,
            verifier=Verifier(clock),
            allowances=Allowances(),
            tls={} if self._settings.tls is TlsMode.OFF else {name: context},
        )
        self.capacity = Capacity(100)
        self.places = Places(self._settings.max_connections, self.capacity)
        self._offer = Offer(self._settings)

    def play(self, script: Script) -> Played:
        """Play one script until every deadline has passed, and tell what came of it."""
        loop, spool, facts = self.loop, self._spool, self._facts
        spool.forget()
        facts.forget()
        loop.complaints.clear()
        spool.mode = script.spool
        sessions = Sessions(self.places)
        place = self.places.take()
        assert place is not None, "a place was not given back"
        place.is_for(_PEER)
        session = Session(loop, self._settings, self.surroundings, self._offer, sessions, place)
        wire = Wire(loop)
        wire.connect(session)
        loop.step()
        sent, was_drained = self._act(script, wire, sessions)
        was_reset = wire.is_gone
        # The client has said all it will say; what it leaves unfinished is for deadlines to end.
        loop.move_to(loop.time() + _AFTERWARDS)
        complaints = spool.complaints + [str(one.get("message")) for one in loop.complaints]
        complaints += self._left_behind(sessions)
        return Played(
            script,
            sent,
            bytes(wire.said),
            spool,
            facts,
            wire.is_lost and not len(sessions),
            was_reset,
            was_drained,
            self._normalizes,
            complaints,
        )

    def _act(self, script: Script, wire: Wire, sessions: Sessions) -> tuple[bytes, bool]:
        loop, sent, was_drained = self.loop, bytearray(), False
        for kind, octets, seconds in script.moves:
            if kind == notation.SEND:
                sent += octets
                wire.arrive(octets)
                loop.step()
            elif kind == notation.SETTLE:
                loop.settle()
            elif kind == notation.WAIT:
                loop.move_to(loop.time() + seconds)
            elif kind == notation.EOF:
                wire.arrive_eof()
            elif kind == notation.RESET:
                wire.reset()
                break
            elif kind == notation.DEAF:
                wire.deafen()
            elif kind == notation.HEAR:
                wire.hear()
            elif kind == notation.RELOAD:
                current = self._rules.current
                self._rules.current = replace(current, generation=current.generation + 1)
            else:
                was_drained = True
                (sessions.part if kind == notation.DRAIN else sessions.cut_short)(SHUTTING_DOWN)
        return bytes(sent), was_drained

    def _left_behind(self, sessions: Sessions) -> list[str]:
        """Name the counters that are not back where they began."""
        counts: dict[str, object] = {
            "sessions": len(sessions),
            "places taken": len(self.places),
            "capacity taken": self.capacity.taken,
            "unfinished tasks": len(asyncio.all_tasks(self.loop)),
            "drafts left open": sum(draft.fate == "open" for draft in self._spool.drafts),
        }
        # Every window of octets that sessions share.
        for one in fields(self.surroundings):
            taken = getattr(getattr(self.surroundings, one.name), "taken", 0)
            if isinstance(taken, int):
                counts[f"octets taken of {one.name}"] = taken
        return [f"{name}: {count}" for name, count in counts.items() if count]

    def close(self) -> None:
        """End what the world started."""
        self.surroundings.verifier.close()
