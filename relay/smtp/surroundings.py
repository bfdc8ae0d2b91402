"""What sessions work with, gathered once by the composition root."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from relay.facts import Facts
from relay.ports import Clock, Rules, Spool, Suppressions
from relay.smtp.auth import Verifier
from relay.smtp.headers import HeaderWindow
from relay.smtp.rates import SenderRates
from relay.smtp.settings import Deadlines


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The collaborators of every session. `tls` is None where no listener needs it."""

    rules: Rules
    spool: Spool
    suppressions: Suppressions
    facts: Facts
    clock: Clock
    verifier: Verifier
    tls: ssl.SSLContext | None = None
    rates: SenderRates = field(default_factory=SenderRates)
    headers: HeaderWindow = field(default_factory=HeaderWindow)
    deadlines: Deadlines = field(default_factory=Deadlines)
