"""A campaign: clients that send, an SES in bad weather, and a relay that is killed all the time.

Knows the order of things: start, load, end, look, start again; at last all is let come to rest.
What must be true is in the books.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from relay.simulator import Message
from tests.crash import disk
from tests.crash.books import Books, Run
from tests.crash.clients import Attempt, Client
from tests.crash.mails import Writer, mark_of, without_trace
from tests.crash.points import POINTS, Nudge
from tests.crash.ses import FAIR, FOUL, Call, Ses
from tests.crash.victim import Victim
from tests.forked import Nursery

RANDOM: Final = "at random"
STOP: Final = "stopped"

# Seconds within which a named point is passed, or it is none.
_PASSES_WITHIN: Final = 60.0
_COMES_TO_REST_WITHIN: Final = 600.0
_RELOAD_EVERY: Final = 0.03

_CONFIGURATION: Final = """\
hostname: relay.test
listeners:
  - {{name: door, address: "127.0.0.1:0", tls: off, auth: off}}
senders:
  - {{name: one, networks: [127.0.1.0/24], from: ["@example.com"]}}
  - {{name: many, networks: [127.0.2.0/24], from: ["@example.com"], priority: bulk}}
{sometimes}
ses:
  accounts: {{main: {{region: eu-west-1, endpoint_url: "{ses}"}}}}
spool:
  path: {directory}/var/spool
  unsafe: true
  min_free: 1%
  retry: {{first: 50ms, ceiling: 1s}}
http: {{metrics: "127.0.0.1:0", admin: "{directory}/admin.sock"}}
log: {{format: json, level: info}}
"""
_SOMETIMES: Final = "  - {name: sometimes, networks: [127.0.3.0/24], from: ['@example.com']}"


@dataclass(frozen=True)
class Settings:
    """What a campaign is to be like."""

    endings: Sequence[str]
    """How each run ends: the name of a point, at random, or by a stop."""
    seed: int
    sabotage: str = ""
    passages: int = 1000
    """At which passage of a point it is killed at the latest, if the point itself knows no less."""
    life: float = 0.6
    """Seconds of work within which a kill at random comes, or a stop; they begin ..."""
    warm: int = 0
    """... with the first client, and after so many acknowledgements."""
    clients: int = 12
    begins_with_all: bool = False
    """Whether each client begins with one mail of each kind."""


class Campaign:
    """One campaign in one directory."""

    def __init__(
        self,
        directory: Path,
        settings: Settings,
        nursery: Nursery,
        on_taken: Callable[[Message], None] = lambda _: None,
        on_end: Callable[[Books], None] = lambda _: None,
    ) -> None:
        """`on_taken` hears of each message that SES takes, `on_end` of the end of each run."""
        self.books = Books()
        self._on_taken = on_taken
        self._on_end = on_end
        self._directory = directory
        self._settings = settings
        self._dice = Random(f"{settings.seed}/campaign")  # noqa: S311 - to be drawn again
        self._ses = Ses(f"{settings.seed}/weather", self._took)
        self._config = directory / "relay.yaml"
        self._victim = Victim(nursery, self._config, self._heard)
        self._news = asyncio.Event()
        self._migrations = 0
        marks = itertools.count()
        self._clients = [
            Client(
                self._victim,
                Writer(
                    f"{settings.seed}/mails/{n}", marks, begins_with_all=settings.begins_with_all
                ),
                f"127.0.{1 + n % 3}.{1 + n}",
                self._attempted,
                f"{settings.seed}/client/{n}",
            )
            for n in range(settings.clients)
        ]

    @property
    def spool(self) -> Path:
        """The spool directory."""
        return self._directory / "var" / "spool"

    async def run(self) -> None:
        """Run it until its end, or until something is wrong."""
        async with self._ses, self._load():
            try:
                for ending in self._settings.endings:
                    await self._live(ending)
                    if self.books.complaints:
                        return
                await self._come_to_rest()
            finally:
                if not self._victim.has_ended:
                    self._victim.kill()
                    await self._victim.end()

    @asynccontextmanager
    async def _load(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(client.run()) for client in self._clients]
        self._tasks = tasks
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _attempted(self, attempt: Attempt) -> None:
        self.books.attempted(attempt)
        self._news.set()

    def _heard(self, line: dict[str, Any]) -> None:
        self.books.heard(line)
        self._news.set()

    def _took(self, call: Call) -> None:
        message = call.message
        assert message is not None
        self._on_taken(message)
        tags = dict(message.tags)
        letter = self.books.letters.get(mark_of(message.raw))
        if letter is not None and not letter.is_in(message.source, without_trace(message.raw)):
            letter = None
        self.books.took(
            tags["relay-id"],
            tuple(map(str, message.recipients)),
            message.id,
            letter=letter,
            loses_answer=call.loses_answer,
        )
        self._news.set()

    # --- one run ---

    async def _live(self, ending: str) -> None:
        self._ses.weather = FOUL
        run = self.books.begin(ending, is_orderly=ending == STOP)
        await self._start(ending)
        if ending == RANDOM:
            await self._live_a_while()
            self.books.killed(self._ses.open_calls)
            self._victim.kill()
        elif ending == STOP:
            await self._live_a_while()
            self._victim.stop()
        else:
            await self._nudge(POINTS[ending].nudge)
        await self._end(run, _expected(ending))

    async def _start(self, ending: str) -> None:
        """Start the relay, with the trap set where it is to be killed at a point."""
        self._configure(is_whole=True)
        sabotage = self._settings.sabotage
        point = POINTS.get(ending)
        if point is None:
            await self._victim.start(sabotage=sabotage, migrations=self._migrations)
            if self._victim.has_ended:
                self.books.complaints.append(f"it does not start: {self._victim.complaints}")
            return
        self._migrations += point.nudge is Nudge.MIGRATION
        passage = self._dice.randint(1, min(point.most, self._settings.passages))
        await self._victim.start(
            point=ending, passage=passage, sabotage=sabotage, migrations=self._migrations
        )

    async def _live_a_while(self) -> None:
        """Let it work for a random time."""
        run, upto = self.books.runs[-1], self.books.acknowledged + self._settings.warm
        while not ((run.attempts and self.books.acknowledged >= upto) or self._victim.has_ended):
            self._news.clear()
            await self._news.wait()
        await asyncio.sleep(self._dice.random() * self._settings.life)

    async def _nudge(self, nudge: Nudge) -> None:
        """Do what it takes to have the point passed."""
        if nudge is Nudge.STOP:
            await self._live_a_while()
            self._victim.stop()
        elif nudge is Nudge.RELOAD:
            for turn in range(int(_PASSES_WITHIN / _RELOAD_EVERY)):
                if self._victim.has_ended:
                    break
                self._configure(is_whole=turn % 2 == 1)
                self._victim.reload()
                await asyncio.sleep(_RELOAD_EVERY)

    async def _end(self, run: Run, expected: int) -> None:
        """Wait for the end of a run, and look at what it leaves."""
        try:
            code = await self._victim.end(_PASSES_WITHIN)
        except TimeoutError:
            self.books.complaints.append(f"run {run.number} did not end: {run.ending}")
            self._victim.kill()
            code = await self._victim.end()
        said = self._victim.complaints
        if code != expected or (run.ending in POINTS and f"killed at: {run.ending}\n" not in said):
            self.books.complaints.append(
                f"run {run.number} ({run.ending}) ended with {code} instead of {expected}: {said}"
            )
        # What SES has of it is dealt with to the end, as if it were still there.
        await self._ses.quiet()
        self.books.end(await asyncio.to_thread(disk.kept, self.spool))
        self._on_end(self.books)

    def _configure(self, *, is_whole: bool) -> None:
        configure(self._config, self._ses.url, self._directory, is_whole=is_whole)

    # --- the end ---

    async def _come_to_rest(self) -> None:
        """Let clients finish and the queue run empty; then look at everything once more."""
        self._ses.weather = FAIR
        run = self.books.begin("at rest", is_orderly=True)
        await self._start("at rest")
        if self.books.complaints:
            return
        for client in self._clients:
            client.is_finishing = True
        try:
            async with asyncio.timeout(_COMES_TO_REST_WITHIN):
                await asyncio.gather(*self._tasks)
                await self._until_empty()
        except TimeoutError:
            self.books.complaints.append(f"it did not come to rest: {len(self.books.left)} left")
            return
        self._victim.stop()
        await self._end(run, 0)
        self.books.close(disk.kept(self.spool), disk.ledger(self.spool))
        self.books.complaints += disk.complaints(self.spool)
        for name in ("content", "corrupt"):
            for left in (self.spool / name).iterdir():
                self.books.complaints.append(f"{left}: left behind")
        if waiting := disk.outbox(self.spool):
            self.books.complaints.append(f"{waiting} lines are still in the outbox")

    async def _until_empty(self) -> None:
        # What a client has just been told, the log may not have said yet.
        while self.books.left or self.books.owed:
            self._news.clear()
            await self._news.wait()


def configure(file: Path, ses: str, directory: Path, *, is_whole: bool = True) -> None:
    """Write a configuration, at one stroke; if it is not whole, a sender is missing."""
    sometimes = _SOMETIMES if is_whole else ""
    draft = file.with_suffix(".new")
    draft.write_text(_CONFIGURATION.format(ses=ses, directory=directory, sometimes=sometimes))
    draft.replace(file)


def _expected(ending: str) -> int:
    return 0 if ending == STOP else -signal.SIGKILL


def plan(kills: int, seed: int, *, stop_every: int = 15) -> list[str]:
    """Return how the runs of a campaign end: three of four kills at each named point in turn.

    With an orderly stop every now and then.
    """
    dice = Random(f"{seed}/plan")  # noqa: S311 - to be drawn again
    names = itertools.islice(itertools.cycle(POINTS), kills * 3 // 4)
    # What is passed in recovery only needs something to recover: those two belong together.
    steps = [[POINTS[name].first, name] if POINTS[name].first else [name] for name in names]
    planned = sum(map(len, steps))
    steps += [[RANDOM] for _ in range(kills - planned)]
    steps += [[STOP] for _ in range(kills // stop_every)]
    dice.shuffle(steps)
    return list(itertools.chain.from_iterable(steps))
