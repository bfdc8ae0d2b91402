"""What sessions work with, gathered once by the composition root."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from relay.facts import Facts
from relay.passing import Passage
from relay.policy.allowance import Allowances
from relay.ports import Clock, Rules, Spool, Suppressions
from relay.smtp.auth import Verifier
from relay.smtp.headers import HeaderWindow
from relay.smtp.settings import Deadlines
from relay.smtp.tls import TlsInForce
from relay.smtp.tracing import Tracing
from relay.smtp.turns import Turns


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The collaborators of every session. `tls` has, by its name, that of each listener's."""

    rules: Rules
    spool: Spool
    suppressions: Suppressions
    facts: Facts
    clock: Clock
    verifier: Verifier
    allowances: Allowances
    tls: Mapping[str, TlsInForce] = field(default_factory=dict)
    headers: HeaderWindow = field(default_factory=HeaderWindow)
    passage: Passage | None = None
    """The way to SES of mail whose clients wait; None where no sender has any."""
    turns: Turns = field(default_factory=Turns)
    tracing: Tracing = field(default_factory=Tracing)
    deadlines: Deadlines = field(default_factory=Deadlines)
