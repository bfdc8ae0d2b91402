"""Whether all that mail cannot do without still comes round: loop, writer, scheduler.

Asks each for a sign, and passes on that all have given one. A part that waits for a slow disk comes
round late, and is stuck only after a minute. Does not know what the parts do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from relay.facts import Facts
from relay.ports import Clock
from relay.supervisor import Supervisor

STUCK: Final = 60.0
"""Seconds without a sign after which a part will not give one any more."""
_EVERY: Final = 10.0  # seconds


class Part(Protocol):
    """Something that goes round and round."""

    @property
    def rounds(self) -> int:
        """How often it has come round."""
        ...

    def ping(self) -> None:
        """Have it come round though there is nothing to do."""
        ...


@dataclass(slots=True)
class _Waited:
    rounds: int = -1
    seconds: float = 0.0


class Pulse:
    """Looks after the parts. The loop answers by running this."""

    def __init__(
        self, parts: Mapping[str, Part], supervisor: Supervisor, *, facts: Facts, clock: Clock
    ) -> None:
        self._parts = parts
        self._supervisor = supervisor
        self._facts = facts
        self._clock = clock
        # systemd asks for twice as often as its limit (sd_watchdog_enabled(3)).
        limit = supervisor.watchdog
        self._every = _EVERY if limit is None else min(_EVERY, limit / 3, STUCK / 6)
        self._waited = {name: _Waited() for name in parts}
        self._looked_at = clock.monotonic()
        self.stuck: tuple[str, ...] = ()
        """The parts that will not come round any more."""

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(self._every)

    def look(self) -> None:
        """See who has come round since the last look, and ask everybody again."""
        now = self._clock.monotonic()
        # What the loop itself was away for, in a stopped process, the parts are not to blame for.
        passed, self._looked_at = min(now - self._looked_at, 2 * self._every), now
        for name, part in self._parts.items():
            waited = self._waited[name]
            if part.rounds != waited.rounds:
                waited.rounds, waited.seconds = part.rounds, 0.0
            else:
                waited.seconds += passed
            part.ping()
        stuck = tuple(name for name, one in self._waited.items() if one.seconds >= STUCK)
        if not stuck:
            self._supervisor.alive()
        elif stuck != self.stuck:
            words = f"stuck: no sign of {' and '.join(stuck)} for {STUCK:g} seconds"
            self._facts.service("stuck", parts=", ".join(stuck), seconds=STUCK)
            self._supervisor.stuck(words)
        self.stuck = stuck
