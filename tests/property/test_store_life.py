"""Whatever happens to mail in whatever order, none is lost and none relayed is sent again."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from relay.mail.address import Address
from relay.mail.entry import Settled, State
from relay.mail.envelope import Mail, QueueId
from relay.mail.outcome import Relayed
from relay.operators import Result, Verb
from relay.ports import Claim, LeaseLostError
from tests.fakes import FrozenClock
from tests.unit.store.stores import BILLING, LARGE, SMALL, Opened, failed, opened, relayed

T = TypeVar("T")

PEOPLE = tuple(Address(f"user{n}", "example.net") for n in range(4))
OUTCOMES = st.sampled_from(["relayed", "deferred", "held", "ambiguous", "failed"])


class Life(RuleBasedStateMachine):
    """A store, and beside it what must be true of each mail."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = Path(tempfile.mkdtemp(prefix="store-life-"))
        self.path = self.directory / "0"
        self.clock = FrozenClock()
        self.spool: Opened
        self.context: AbstractAsyncContextManager[Opened]
        # Who of each mail SES has not taken, as far as we were told.
        self.owed: dict[QueueId, set[Address]] = {}
        self.claims: list[tuple[Claim, set[Address]]] = []
        self.stale: list[Claim] = []
        # What an operator holds, and nobody has let go since.
        self.on_hold: set[QueueId] = set()
        # When each came, in time that no step of the wall clock is in.
        self.born: dict[QueueId, float] = {}

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize()
    def begin(self) -> None:
        self.open()

    def open(self) -> None:
        self.context = opened(self.path, self.clock)
        self.spool = self.do(self.context.__aenter__())  # held over many rules

    def close(self) -> None:
        self.do(self.context.__aexit__(None, None, None))

    def teardown(self) -> None:
        self.close()
        self.runner.close()
        shutil.rmtree(self.directory)

    # --- what happens ---

    @rule(people=st.integers(1, len(PEOPLE)), large=st.booleans())
    def accept(self, people: int, *, large: bool) -> None:
        content = LARGE if large else SMALL
        mail = self.do(self.spool.accept(*PEOPLE[:people], content=content))
        self.owed[mail.queue_id] = set(PEOPLE[:people])
        self.born[mail.queue_id] = self.clock.monotonic()

    @rule(count=st.integers(1, 3), chunk=st.integers(1, len(PEOPLE)), room=st.integers(1, 6))
    def claim(self, count: int, chunk: int, room: int) -> None:
        taken = self.do(self.spool.claims({BILLING: count}, chunk=chunk, room=room)).taken
        assert sum(claim.marked for claim in taken[:-1]) < room
        for claim in taken:
            age = self.clock.monotonic() - self.born[claim.mail.queue_id]
            assert (claim.waited + claim.held).total_seconds() <= age + 0.001
            assert set(claim.recipients) <= self.owed[claim.mail.queue_id]
            assert claim.mail.queue_id not in self.on_hold
            assert not [c for c, _ in self.claims if c.mail.queue_id == claim.mail.queue_id]
            self.claims.append((claim, set(claim.recipients)))

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        claim, waiting = data.draw(st.sampled_from(self.claims))
        people = data.draw(st.sets(st.sampled_from(sorted(waiting, key=str)), min_size=1))
        outcomes = {place: self.outcome(data.draw(OUTCOMES)) for place in people}
        waiting -= people
        mark = sorted(waiting, key=str)[:1]
        now = self.clock.now()
        state = self.do(self.spool.store.queue.settle(claim, outcomes, now=now, mark=mark))
        owed = self.owed[claim.mail.queue_id]
        owed -= {place for place, one in outcomes.items() if isinstance(one.outcome, Relayed)}
        assert (state is None) is (not owed)
        assert (state is State.IN_FLIGHT) is bool(waiting)
        if not waiting:
            self.end(claim)

    def outcome(self, word: str) -> Settled:
        match word:
            case "relayed":
                return relayed()
            case "failed":
                return failed()
            case "deferred":
                return self.spool.deferred()
            case "held":
                return self.spool.held()
            case _:
                return self.spool.ambiguous()

    def end(self, claim: Claim) -> None:
        self.claims = [pair for pair in self.claims if pair[0] is not claim]
        self.stale.append(claim)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), how=st.sampled_from(["release", "hold", "damaged"]))
    def give_back(self, data: st.DataObject, how: str) -> None:
        claim, _ = data.draw(st.sampled_from(self.claims))
        queue, now = self.spool.store.queue, self.clock.now()
        match how:
            case "release":
                self.do(queue.release(claim, now=now, due_at=now))
            case "hold":
                self.do(queue.hold(claim, "sender-removed", now=now))
            case _:
                self.do(queue.damaged(claim, "its content is not whole", now=now))
        self.end(claim)

    @precondition(lambda self: self.owed)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        # In the order of arrival: ids of one millisecond have another order each time.
        queue_id = data.draw(st.sampled_from(list(self.owed)))
        state = self.do(self.spool.retry(queue_id))
        self.on_hold.discard(queue_id)
        assert (state is not None) is bool(self.owed[queue_id])

    @precondition(lambda self: self.owed)
    @rule(data=st.data(), verb=st.sampled_from(list(Verb)), is_bulk=st.booleans())
    def order(self, data: st.DataObject, verb: Verb, *, is_bulk: bool) -> None:
        queue_ids = list(self.owed)
        if not is_bulk:
            queue_ids = [data.draw(st.sampled_from(queue_ids))]
        flying = {claim.mail.queue_id for claim, _ in self.claims}
        for one in self.do(self.spool.order(verb, *queue_ids)):
            assert (one.result is Result.UNKNOWN) is (not self.owed[one.queue_id])
            assert (one.result is Result.IN_FLIGHT) is (one.queue_id in flying)
            if one.result is Result.CHANGED and verb is Verb.DROP:
                self.owed[one.queue_id] = set()
            if verb is Verb.HOLD and one.state is State.HELD:
                self.on_hold.add(one.queue_id)
            elif verb is not Verb.HOLD:
                self.on_hold.discard(one.queue_id)

    @rule()
    def readmit(self) -> None:
        """The sender is back, or never went."""
        before = self.do(self.spool.store.queue.counts())[State.HELD]
        count = self.do(self.spool.store.queue.readmit([BILLING], now=self.clock.now()))
        assert self.do(self.spool.store.queue.counts())[State.HELD] == before - count

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def speak_too_late(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.stale))
        outcomes = dict.fromkeys(claim.recipients, relayed())
        with pytest.raises(LeaseLostError):
            self.do(self.spool.store.queue.settle(claim, outcomes, now=self.clock.now()))

    @rule(minutes=st.integers(1, 40))
    def wait(self, minutes: int) -> None:
        self.clock.advance(timedelta(minutes=minutes))

    @rule()
    def restart(self) -> None:
        """Stop in order, with claims that nobody settled."""
        self.close()
        self.lose_claims()
        self.open()

    @rule()
    def crash(self) -> None:
        """Go on with the files as a killed process would leave them."""
        copy = self.path.with_name(str(int(self.path.name) + 1))
        shutil.copytree(self.path, copy)
        self.close()
        shutil.rmtree(self.path)
        self.path = copy
        self.lose_claims()
        self.open()

    def lose_claims(self) -> None:
        self.stale += [claim for claim, _ in self.claims]
        self.claims.clear()

    # --- what must be true ---

    @invariant()
    def nothing_is_lost_and_nothing_relayed_is_kept(self) -> None:
        if not hasattr(self, "spool"):
            return
        entries = self.do(self.spool.entries())
        known = {e.mail.queue_id: {one.address for one in e.recipients} for e in entries}
        assert known == {queue_id: owed for queue_id, owed in self.owed.items() if owed}
        flying = {e.mail.queue_id for e in entries if e.state is State.IN_FLIGHT}
        assert flying == {claim.mail.queue_id for claim, _ in self.claims}
        for entry in entries:
            self.is_sound(entry.mail, entry.state)

    def is_sound(self, mail: Mail, state: State) -> None:
        """Content outlives its entry's last attempt, wherever it is."""
        if mail.size == len(LARGE):
            places = ("content", "corrupt") if state is State.CORRUPT else ("content",)
            assert any((self.path / place / mail.queue_id).exists() for place in places)

    @invariant()
    def the_tally_is_true(self) -> None:
        if not hasattr(self, "spool"):
            return

        def count(connection: sqlite3.Connection, question: str) -> list[tuple[Any, ...]]:
            return sorted(connection.execute(question).fetchall())

        def both(connection: sqlite3.Connection) -> None:
            assert count(
                connection,
                "SELECT sender, state, entries, octets FROM tally WHERE entries <> 0",
            ) == count(
                connection,
                "SELECT sender, state, count(*), sum(size) FROM entry GROUP BY sender, state",
            )

        self.do(self.spool.store.queue._reader.ask(both))


# Hundreds of stores are opened on a real disk, each several times synced.
TestLife = pytest.mark.P3(pytest.mark.timeout(300)(Life.TestCase))
TestLife.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
