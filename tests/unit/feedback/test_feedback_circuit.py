"""The circuit of a sender: when it breaks, what follows, and that it breaks once a time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pytest

from relay.feedback.circuit import ACTOR, Circuits
from relay.mail.envelope import SenderName
from relay.operators import Pause
from relay.policy.reputation import Reception, complaint_about
from relay.ports import SpoolError
from tests.fakes import FrozenClock, RecordingFacts

NEWS = SenderName("news")


class Book:
    def __init__(self) -> None:
        self.day = Reception()

    async def reception(self, since: datetime, until: datetime) -> Mapping[SenderName, Reception]:
        return {NEWS: self.day} if (until - since).days else {}


class Pauses:
    def __init__(self) -> None:
        self.in_force: dict[SenderName, Pause] = {}
        self.is_sick = False

    async def pause(self, pause: Pause) -> Pause:
        if self.is_sick:
            raise SpoolError("disk")
        self.in_force[pause.sender] = pause
        return pause

    async def resume(self, sender: SenderName) -> bool:
        return self.in_force.pop(sender, None) is not None


class Watched:
    def __init__(self, *, pauses: bool) -> None:
        self.book, self.pauses, self.facts = Book(), Pauses(), RecordingFacts()

        async def nothing_expires(_now: datetime) -> int:
            return 0

        self.circuits = Circuits(
            self.book,
            nothing_expires,
            self.pauses,
            lambda: {NEWS: pauses},
            facts=self.facts,
            clock=FrozenClock(),
        )

    def told(self) -> list[str]:
        return [args[0] for _, args in self.facts.told]


@pytest.mark.parametrize(
    ("day", "is_broken"),
    [
        (Reception(999, 0, 999, 999), False),
        (Reception(1000, 0, 50, 0), True),
        (Reception(1000, 0, 49, 0), False),
        (Reception(1000, 0, 0, 5), True),
        (Reception(1000, 0, 0, 4), False),
        (Reception(100_000, 0, 4_999, 99), False),
        (Reception(100_000, 0, 0, 100), True),
        (Reception(0, 0, 30, 30), False),
    ],
)
def test_it_takes_numbers_and_a_rate_that_ses_would_review(day: Reception, is_broken: bool) -> None:
    assert bool(complaint_about(day)) is is_broken


async def test_by_default_it_only_says_so_and_once() -> None:
    watched = Watched(pauses=False)
    watched.book.day = Reception(2000, 1000, 200, 0)
    await watched.circuits.look()
    await watched.circuits.look()
    assert watched.told() == ["sender_suspect"]
    assert watched.circuits.suspects == {NEWS: "200 of 2000 bounced in 24 h (10.0%)"}
    assert not watched.pauses.in_force
    watched.book.day = Reception(2000, 1900, 20, 0)
    await watched.circuits.look()
    assert not watched.circuits.suspects


async def test_by_choice_it_pauses_and_does_not_overrule_who_resumes() -> None:
    watched = Watched(pauses=True)
    watched.book.day = Reception(2000, 1000, 0, 20)
    watched.pauses.is_sick = True
    with pytest.raises(SpoolError):
        await watched.circuits.look()
    watched.pauses.is_sick = False
    await watched.circuits.look()
    pause = watched.pauses.in_force[NEWS]
    assert (pause.actor, pause.reason) == (ACTOR, "20 of 2000 complained in 24 h (1.00%)")
    await watched.pauses.resume(NEWS)
    await watched.circuits.look()
    assert not watched.pauses.in_force
