"""Limits of senders that outlive the process: written down as they are used, read at the start.

Knows how usage is spelt and how long a note is ago. What is used, and how much is written down
ahead, the policy knows (relay.policy.allowance).
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial
from typing import Any

from relay.facts import Facts
from relay.mail.envelope import SenderName
from relay.policy.allowance import Allowances, Recalled, Usage
from relay.policy.sender import Rate
from relay.ports import Clock, SpoolError
from relay.upkeep import Note, Notes


class Savings:
    """Keeps the notes of senders' limits.

    A note is begun the moment more was used than the last one covers, and is durable no later than
    any mail accepted after that: so no kill gives a sender back what it used to get mail in. It
    covers a hundredth of the limit ahead, which is what a kill costs at most.
    """

    def __init__(
        self, allowances: Allowances, notes: Notes, *, boot: str, facts: Facts, clock: Clock
    ) -> None:
        """`boot` names this boot of the machine, within which monotonic time goes on."""
        self._allowances = allowances
        self._notes = notes
        self._boot = boot
        self._facts = facts
        self._clock = clock

    async def recall(self) -> None:
        """Have the allowances go on where the last run ended. Trouble is told, and costs notes."""
        try:
            notes = await self._notes.read()
        except SpoolError as error:
            self._facts.fault("limits", error)
            notes = ()
        recalled = {}
        for note in notes:
            try:
                usage = _read(note.used)
            except (KeyError, TypeError, ValueError) as error:
                self._facts.fault("limits", error)
            else:
                recalled[note.sender] = Recalled(usage, self._ago(note))
        self._allowances.recall(recalled, self._clock.monotonic())
        self._allowances.on_uncovered = self._note

    async def close(self) -> None:
        """Write down exactly how far all limits are used; nothing more will be."""
        now = self._clock.monotonic()
        notes = [self._noted(name, usage) for name, usage in self._allowances.usages(now)]
        # What is there already covers it.
        with suppress(SpoolError):
            await self._notes.write_all(notes)

    def _note(self, name: SenderName) -> None:
        note = self._noted(name, self._allowances.usage_of(name, self._clock.monotonic()))
        failed = partial(self._allowances.uncover, name)
        try:
            self._notes.write(note, failed)
        except SpoolError:
            # The spool has told of it.
            failed()

    def _noted(self, name: SenderName, usage: Usage) -> Note:
        clock = self._clock
        return Note(name, clock.now(), self._boot, clock.monotonic(), _spell(usage))

    def _ago(self, note: Note) -> float:
        """Return the seconds since a note, never more than have passed as far as is known."""
        if self._boot and note.boot == self._boot:
            # No step of the wall clock is in it.
            return max(0.0, self._clock.monotonic() - note.monotonic)
        return max(0.0, (self._clock.now() - note.at).total_seconds())


def _spell(usage: Usage) -> str:
    rate = usage.rate
    return json.dumps(
        {
            "rate": None if rate is None else [rate.count, rate.seconds],
            "burst": usage.burst,
            "tokens": usage.tokens,
            "quotas": [[seconds, list(ages)] for seconds, ages in usage.quotas.items()],
            "messages": usage.messages,
            "recipients": usage.recipients,
        }
    )


def _read(text: str) -> Usage:
    """Read what was spelt; KeyError, TypeError or ValueError where it is something else."""
    found: dict[str, Any] = json.loads(text)
    rate = found["rate"]
    return Usage(
        rate=None if rate is None else Rate(int(rate[0]), float(rate[1])),
        burst=int(found["burst"]),
        tokens=float(found["tokens"]),
        quotas={
            float(seconds): [(float(age), int(taken)) for age, taken in ages]
            for seconds, ages in found["quotas"]
        },
        messages=int(found["messages"]),
        recipients=int(found["recipients"]),
    )
