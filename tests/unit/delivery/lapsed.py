"""Delivery at work on a real spool, in lapsed time, with a SES that takes mail as it is told to."""

from __future__ import annotations

import asyncio
import sqlite3
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest

from relay.delivery.calls import Desk
from relay.delivery.gate import Gate
from relay.delivery.lobby import Lobby
from relay.delivery.passing import Passages
from relay.delivery.scheduler import Scheduler
from relay.mail.address import Address
from relay.mail.envelope import AccountName, Envelope, Mail, SenderName, new_queue_id
from relay.passing import Parcel, Passed
from relay.policy.allowance import Allowances
from relay.policy.sender import Sender
from relay.policy.verdict import Accepted, Answer, Broken, Stage
from relay.ports import Clock, Consignment, SendQuota
from relay.store import Store, schema
from relay.store.spool import Arrival, Insertion
from relay.store.uptime import Uptime
from tests.builders import a_ruleset, addresses, an_address
from tests.fakes import FakeSuppressions, RecordingFacts, StaticRules, nothing_reported
from tests.timelapse import BEGIN, LapsedClock

CONTENT = b"From: app@example.com\r\n\r\nHi\r\n"
RATE = 14.0
BULK, OTP = SenderName("bulk"), SenderName("otp")


def fill(path: Path, sender: SenderName, entries: int, recipients: int = 1) -> None:
    """Put due mail into a spool that is not open."""
    path.mkdir(exist_ok=True)
    to = tuple(Address(f"user{n}", "example.net") for n in range(recipients))
    envelope = Envelope(an_address("app@example.com"), to)
    crc32, uptime = zlib.crc32(CONTENT), Uptime(lambda: 0.0)
    insert = Insertion(uptime)
    with closing(schema.connect(path / "spool.db")) as connection:
        schema.migrate(connection, schema.SPOOL)
        uptime.begin(connection)
        for first in range(0, entries, 1000):
            arrivals = [
                Arrival(
                    Mail(new_queue_id(BEGIN), sender, envelope, BEGIN, len(CONTENT)),
                    crc32,
                    CONTENT,
                )
                for _ in range(min(1000, entries - first))
            ]
            connection.execute("BEGIN")
            insert(connection, arrivals)
            connection.execute("COMMIT")


class Call(NamedTuple):
    at: float
    sender: SenderName
    recipients: int
    queue_id: str


class TimedCarrier:
    """Takes everything, each call in a fifth of a second, and notes when it was asked."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.calls: list[Call] = []
        self.seconds: Callable[[Consignment], float] = lambda _: 0.2
        self.is_down = False
        self.judge: Callable[[Consignment], Answer | None] = lambda _: None
        """What SES says to a call as it comes in, if anything but that it takes it."""
        self._ids = count()

    async def relay(self, consignment: Consignment) -> Answer:
        mail = consignment.mail
        at, to = self.clock.monotonic(), len(consignment.recipients)
        self.calls.append(Call(at, mail.sender, to, mail.queue_id))
        answer = self.judge(consignment)
        await asyncio.sleep(self.seconds(consignment))
        if answer is not None:
            return answer
        if self.is_down:
            return Broken(Stage.NOT_SENT, "connection refused")
        return Accepted(f"0102-{next(self._ids)}")

    def shares(self) -> Counter[SenderName]:
        """Return how many recipients went of each sender."""
        got: Counter[SenderName] = Counter()
        for call in self.calls:
            got[call.sender] += call.recipients
        return got


@dataclass
class OneAccount:
    carrier: TimedCarrier
    name: AccountName = AccountName("main")  # noqa: RUF009 - a string
    quota: SendQuota | None = field(default_factory=lambda: SendQuota(RATE, 1e9, 0))


class House:
    """Delivery at work on a real spool."""

    def __init__(self, store: Store, clock: LapsedClock, senders: Sequence[Sender]) -> None:
        self.store, self.clock = store, clock
        self.carrier = TimedCarrier(clock)
        facts = self.facts = RecordingFacts()
        self.account = OneAccount(self.carrier)
        self.gate = Gate(self.account, facts=facts, clock=clock)
        self.suppressions = FakeSuppressions()
        self.paused: set[SenderName] = set()
        self.desk = desk = Desk(
            queue=store.queue,
            suppressions=self.suppressions,
            facts=facts,
            clock=clock,
            node="n1",
            jitter=lambda: 0.0,
            events_seen=lambda: False,
            reported=nothing_reported,
            is_paused=lambda name: name in self.paused,
            may_expire=lambda: True,
        )
        rules = StaticRules(a_ruleset(*senders))
        gates = self.gates = {AccountName("main"): self.gate}
        self.lobby = Lobby()
        self.scheduler = Scheduler(desk, rules, gates, Allowances(), self.lobby)
        self.passages = Passages(
            desk, store.shelf, store.spool, gates, self.lobby, self.scheduler.rouse
        )
        store.on_commit = self.scheduler.notice

    async def accept(self, sender: SenderName, recipients: int = 1) -> tuple[str, float]:
        """Accept a mail; return its id, and when it was durable."""
        draft = self.store.spool.draft()
        await draft.append(CONTENT)
        to = tuple(Address(f"user{n}", "example.net") for n in range(recipients))
        mail = await self.store.spool.commit(draft, sender, Envelope(to[0], to))
        return mail.queue_id, self.clock.monotonic()

    async def pass_on(
        self, sender: Sender, *to: Address, content: bytes = CONTENT, message_id: str = ""
    ) -> Passed:
        """Do what the front door does with a mail whose client waits."""
        spool = self.store.spool
        draft = spool.draft()
        draft.message_id = message_id
        await draft.append(content)
        envelope = Envelope(an_address("app@example.com"), to or addresses(1))
        try:
            parcel = Parcel(draft, envelope, sender, a_ruleset(sender))
            passed = await self.passages.pass_on(parcel)
            if passed.is_to_be_queued:
                await spool.commit(draft, sender.name, envelope)
        finally:
            await draft.discard()
        return passed

    async def accept_now_and_then(
        self, sender: SenderName, gaps: Sequence[float]
    ) -> dict[str, float]:
        """Accept a mail after each gap; return when each was durable."""
        came = {}
        for gap in gaps:
            await asyncio.sleep(gap)
            queue_id, at = await self.accept(sender)
            came[queue_id] = at
        return came

    def delays(self, came: dict[str, float]) -> list[float]:
        """Return how long each waited for its call."""
        called = {call.queue_id: call.at for call in self.carrier.calls}
        return [called[queue_id] - at for queue_id, at in came.items()]


def _connect(path: Path) -> sqlite3.Connection:
    """Open a database that waits for no disk: no power is lost here, and thousands of mails go."""
    connection = _connect_durably(path)
    connection.execute("PRAGMA synchronous = OFF").fetchall()
    return connection


_connect_durably = schema.connect


@asynccontextmanager
async def a_house(path: Path, clock: LapsedClock, *senders: Sender) -> AsyncIterator[House]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "connect", _connect)
        store = await Store.open(
            path,
            clock=clock,
            facts=RecordingFacts(),
            node="n1",
            ambiguous_wait=timedelta(minutes=30),
            min_free=0.01,
            unsafe=True,
        )
    async with store:
        house = House(store, clock, senders)
        running = asyncio.create_task(house.scheduler.run())
        yield house
        await house.scheduler.drain()
        await running
