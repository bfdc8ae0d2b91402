"""How the two databases are opened: brought up to date, put in order, read in, and who hears of it.

Knows which of them the relay can do without. Does not know what is done with them afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from sqlite3 import Connection, Error
from typing import Final

from relay.facts import Facts
from relay.ports import Clock
from relay.store import schema
from relay.store.backlog import Backlogs
from relay.store.recovery import Recovered, Recovery
from relay.store.reserve import Reserve
from relay.store.suppression import SuppressionList
from relay.store.trouble import wants_space
from relay.store.uptime import Uptime
from relay.store.writer import Writer

SPOOL_DATABASE: Final = "spool.db"
RECORD_DATABASE: Final = "record.db"


@dataclass(frozen=True, slots=True)
class Opening:
    """One opening of one spool directory, whose lock is held."""

    path: Path
    clock: Clock
    facts: Facts
    died: Callable[[Exception], None]
    """Called in the loop if a writer ends by a fault of ours."""
    parts: contextlib.AsyncExitStack
    """What is opened is closed with it."""

    async def spool(
        self,
        backlogs: Backlogs,
        reserve: Reserve,
        uptime: Uptime,
        *,
        ambiguous_wait: timedelta,
    ) -> tuple[Writer, Recovered]:
        """Open spool.db and put in order what a crash left; raise SpoolError if it cannot be."""
        clock, facts, path = self.clock, self.facts, self.path
        recovered: list[Recovered] = []
        trouble: list[OSError] = []
        writer = Writer(
            "spool",
            monotonic=clock.monotonic,
            committed=facts.spool_committed,
            failed=facts.spool_failed,
            turned=_turned(facts, SPOOL_DATABASE),
            died=self.died,
            reserve=reserve,
        )
        self.parts.push_async_callback(writer.close)

        def connect() -> Connection:
            connection = _connect(path / SPOOL_DATABASE, schema.SPOOL)
            with _closed_on_error(connection):
                uptime.begin(connection)
                now = uptime.at(clock.now())
                recovery = Recovery(connection, path, now=now, ambiguous_wait=ambiguous_wait)
                recovered[:] = [recovery.run()]
                trouble[:] = recovery.trouble
                backlogs.load(connection)
            return connection

        def connect_past_a_full_disk() -> Connection:
            try:
                return connect()
            except Error as error:
                # An earlier run has put by what it takes to come to where that helps.
                if not (wants_space(error) and reserve.release()):
                    raise
            return connect()

        await writer.open(connect_past_a_full_disk)
        for error in trouble[:1]:
            facts.spool_failed(error)
        return writer, recovered[0]

    async def record(self, suppressions: SuppressionList) -> Writer:
        """Open record.db, now or as soon as it can be: mail flows without it."""
        writer = Writer(
            "record",
            monotonic=self.clock.monotonic,
            committed=lambda _batch, _seconds: None,
            # Whoever waits for it is told; its trouble is not the spool's.
            failed=lambda _error: None,
            turned=_turned(self.facts, RECORD_DATABASE),
            died=self.died,
        )
        self.parts.push_async_callback(writer.close)

        def connect() -> Connection:
            connection = _connect(self.path / RECORD_DATABASE, schema.RECORD)
            with _closed_on_error(connection):
                suppressions.load(connection)
            return connection

        # Until the database says otherwise.
        is_recalled = await asyncio.to_thread(suppressions.recall)
        await writer.open(connect, is_patient=True)
        if not writer.is_well:
            self.facts.suppressions_recalled(is_whole=is_recalled)
        return writer


def _turned(facts: Facts, database: str) -> Callable[[bool, str], None]:
    def turned(is_well: bool, complaint: str) -> None:  # noqa: FBT001 - called by the writer alone
        facts.database_turned(database, is_well=is_well, complaint=complaint)

    return turned


def _connect(path: Path, migrations: tuple[schema.Migration, ...]) -> Connection:
    connection = schema.connect(path)
    with _closed_on_error(connection):
        schema.migrate(connection, migrations)
    return connection


@contextlib.contextmanager
def _closed_on_error(connection: Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise
