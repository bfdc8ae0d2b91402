"""An open store with what a test needs around it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from sqlite3 import Connection
from typing import Any
from zlib import crc32

from relay.mail.address import Address
from relay.mail.entry import QueuedMail, Settled, State
from relay.mail.envelope import Envelope, Mail, QueueId, SenderName, new_queue_id
from relay.mail.outcome import Ambiguous, Blame, Deferred, Failed, Relayed
from relay.mail.reply import Reply
from relay.operators import Order, Result, Selection, Turned, Verb
from relay.ports import Claim, Claims
from relay.store import Store
from relay.store.columns import milliseconds
from relay.store.writer import Writer
from tests.fakes import FrozenClock, RecordingFacts

BILLING = SenderName("billing")
PATIENCE = timedelta(minutes=30)
LEASE = timedelta(minutes=5)
SMALL = b"Subject: small\r\n\r\nhello\r\n"
LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 20_000

JANE, JOHN, JOE = (Address.parse(f"{name}@example.net") for name in ("jane", "john", "joe"))


@dataclass
class Opened:
    """A store, its clock and what it told."""

    store: Store
    clock: FrozenClock
    facts: RecordingFacts
    path: Path

    @property
    def writer(self) -> Writer:
        return self.store.spool._writer

    @property
    def record_writer(self) -> Writer:
        return self.store.record._writer

    async def come_round(self) -> None:
        """Return once the writer has done all that was asked of it before."""
        await self.writer.run(lambda _: None)

    async def accept(
        self,
        *recipients: Address,
        content: bytes = SMALL,
        sender: SenderName = BILLING,
        reverse_path: Address | None = JOE,
        message_id: str = "",
    ) -> Mail:
        draft = self.store.spool.draft()
        draft.message_id = message_id
        await draft.append(content)
        envelope = Envelope(reverse_path, recipients or (JANE,))
        return await self.store.spool.commit(draft, sender, envelope)

    async def fill(
        self, count: int, *, state: State = State.HELD, sender: SenderName = BILLING
    ) -> list[QueueId]:
        """Have many small mails in the queue, each for somebody else, before any is accepted."""
        at = milliseconds(self.clock.now())
        due_at = None if state is State.HELD else at
        uptime = self.store.queue._uptime.now()
        ids = [new_queue_id(self.clock.now() + timedelta(milliseconds=n)) for n in range(count)]

        def insert(connection: Connection) -> None:
            entries = (
                (n, queue_id, sender, at, len(SMALL), crc32(SMALL), state, due_at, at, uptime)
                for n, queue_id in enumerate(ids, 1)
            )
            connection.executemany(
                "INSERT INTO entry (id, queue_id, sender, reverse_path, arrived_at, size, crc32, "
                "in_file, state, due_at, reason, since, token, entered_up) "
                "VALUES (?, ?, ?, 'app@example.com', ?, ?, ?, 0, ?, ?, '', ?, 0, ?)",
                entries,
            )
            connection.executemany(
                "INSERT INTO content VALUES (?, ?)", ((n, SMALL) for n in range(1, count + 1))
            )
            connection.executemany(
                "INSERT INTO recipient VALUES (?, ?, 0, ?, 0, 0, ?, '', '', 0, 0)",
                ((n, f"user{n}@example.net", state, due_at) for n in range(1, count + 1)),
            )
            self.store.orders._backlogs.load(connection)

        await self.writer.run(insert)
        return ids

    async def claim(
        self, count: int = 1, *, sender: SenderName = BILLING, chunk: int = 50
    ) -> Sequence[Claim]:
        return (await self.claims({sender: count}, chunk=chunk)).taken

    async def claims(
        self, wants: Mapping[SenderName, int], *, chunk: int = 50, room: int = 1_000_000
    ) -> Claims:
        return await self.store.queue.claim(
            wants, node="node-1", now=self.clock.now(), lease=LEASE, chunk=chunk, room=room
        )

    async def claim_one(self, *, chunk: int = 50) -> Claim:
        (claim,) = await self.claim(chunk=chunk)
        return claim

    async def settle(
        self, claim: Claim, *settled: Settled, mark: Sequence[Address] = ()
    ) -> State | None:
        """Settle the first recipients of the claim."""
        outcomes = dict(zip(claim.recipients, settled, strict=False))
        return await self.store.queue.settle(claim, outcomes, now=self.clock.now(), mark=mark)

    async def entries(self, **criteria: Any) -> Sequence[QueuedMail]:
        """Return the entries meant, all of them without criteria, page by page."""
        found: list[QueuedMail] = []
        after: str | None = ""
        while after is not None:
            page = await self.store.queue.find(Selection(**criteria), after, 100)
            found += page.entries
            after = page.after
        return found

    async def order(
        self, verb: Verb, *mails: Mail | QueueId, reason: str = "because", **words: Any
    ) -> list[Turned]:
        """Have an order carried out; `words` are criteria, or `new_sender` and `senders`."""
        ids = frozenset(one.queue_id if isinstance(one, Mail) else one for one in mails)
        more = {name: words.pop(name) for name in ("new_sender", "senders") if name in words}
        selection = Selection(queue_ids=ids, **words)
        order = Order(verb=verb, selection=selection, actor="op", reason=reason, **more)
        return [one async for page in self.store.orders.carry_out(order) for one in page.mails]

    async def retry(self, mail: Mail | QueueId) -> State | None:
        """Retry one mail; return the state it is in then, or None if it is unknown."""
        (turned,) = await self.order(Verb.RETRY, mail)
        assert (turned.state is None) is (turned.result is Result.UNKNOWN)
        return turned.state

    async def show(self, mail: Mail) -> QueuedMail:
        found = await self.store.queue.show(mail.queue_id)
        assert found is not None
        return found

    async def facts_of(self, key: str) -> list[str]:
        """What the ledger says of a mail or recipient, beside that it was accepted."""
        lines = await self.store.record.trace(key, 100)
        return [line.fact for line in lines if line.fact != "accepted"]

    def deferred(self, wait: timedelta = timedelta(minutes=1)) -> Settled:
        reply = Reply(451, "4.4.5", "SES Throttling: slow down")
        return Settled(Deferred(reply, "throttled", Blame.SERVICE), self.clock.now() + wait)

    def held(self, wait: timedelta = timedelta(minutes=10)) -> Settled:
        reply = Reply(451, "4.3.5", "SES AccessDenied: no")
        return Settled(Deferred(reply, "access_denied", Blame.OPERATOR), self.clock.now() + wait)

    def ambiguous(self, wait: timedelta = PATIENCE) -> Settled:
        reply = Reply(451, "4.4.2", "SES: no answer; the message may be sent more than once")
        return Settled(Ambiguous(reply, "timeout"), self.clock.now() + wait)


def relayed(ses_message_id: str = "0100-abc") -> Settled:
    return Settled(Relayed(ses_message_id), None)


def failed() -> Settled:
    reply = Reply(554, "5.6.0", "SES MessageRejected: no")
    return Settled(Failed(reply, "rejected", Blame.MESSAGE), None)


@asynccontextmanager
async def opened(
    path: Path, clock: FrozenClock | None = None, **words: Any
) -> AsyncIterator[Opened]:
    """Open a store where memory file systems are fine, and close it."""
    clock = clock or FrozenClock()
    facts = RecordingFacts()
    arguments: dict[str, Any] = {
        "ambiguous_wait": PATIENCE,
        "min_free": 0.0,
        "reserve": 1 << 16,
        "unsafe": True,
    } | words
    store = await Store.open(path, clock=clock, facts=facts, node="node-1", **arguments)
    async with store:
        yield Opened(store, clock, facts, path)
