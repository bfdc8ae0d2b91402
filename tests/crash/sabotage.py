"""Relays that are broken on purpose: what a proof must find, or it proves nothing.

Each breaks one rule of R1 or R4 in the few lines that a hasty author would write. Knows the insides
of the relay, and fails at once where they are not what they were.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from relay.delivery.scheduler import Scheduler
from relay.ports import Claim, ContentFile
from relay.smtp.frontdoor import FrontDoor
from relay.store import claiming, disk, draft, ledger, mover, recovery, schema
from relay.store.queue import EntryQueue
from relay.store.settling import retire
from relay.store.spool import AcceptedMail, Insertion
from relay.store.writer import Writer
from tests.crash.hooks import Stand, before, put, replace, watch


@dataclass(frozen=True)
class Sabotage:
    """One way to be broken."""

    install: Callable[[], None]
    shows_as: str
    """What is complained of then, as a regular expression: another complaint is none of this."""
    endings: tuple[str, ...] = ()
    """How runs end that are to show it to the crash harness; without any, no kill can show it."""
    shows_by_power: bool = False
    """Whether the images of a power loss are to show it."""

    def found_in(self, complaints: Sequence[str]) -> str:
        """Return the first complaint that shows it, if one does."""
        return next((one for one in complaints if re.search(self.shows_as, one)), "")


def _synchronous(instead: str) -> None:
    def see(connection: sqlite3.Connection, sql: str, execute: Callable[[], Any]) -> Any:
        if sql == "PRAGMA synchronous = FULL":
            return connection.cursor().execute(f"PRAGMA synchronous = {instead}")
        return execute()

    watch(schema, see)


def _content_not_synced() -> None:
    put(draft, "os", Stand(os, fsync=lambda _: None))


def _no_directory_synced(module: object) -> None:
    replace(module, "sync_directory", lambda _: lambda _directory: None)


def _reply_before_commit() -> None:
    def wrapper(see_through: Callable[..., Any]) -> Any:
        async def at_once(self: Writer, operation: Any) -> Any:
            if isinstance(operation.work, Insertion):
                return None
            return await see_through(self, operation)

        return at_once

    replace(Writer, "see_through", wrapper)
    # Or the session would take the commit back, thinking it was done with the draft.
    replace(AcceptedMail, "_withdraw", lambda _: lambda *_: False)


def _unlink_before_retire() -> None:
    def settles(_: EntryQueue, claim: Claim, *__: object, **___: object) -> None:
        if isinstance(claim.content, ContentFile):
            claim.content.path.unlink(missing_ok=True)

    before(EntryQueue, "settle", settles)


def _no_mark() -> None:
    insert = claiming.ATTEMPTS.insert

    def unmarked(connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        insert(connection, [(*row[:-1], "") for row in rows])

    put(claiming, "ATTEMPTS", Stand(claiming.ATTEMPTS, insert=unmarked))


def _outcomes_saved_up() -> None:
    """Have outcomes wait for company, and their attempts not wait for them."""
    waiting: set[asyncio.Task[Any]] = set()

    def wrapper(settle: Callable[..., Any]) -> Any:
        async def later(self: EntryQueue, *arguments: Any, **words: Any) -> None:
            await asyncio.sleep(0.05)
            await settle(self, *arguments, **words)

        async def at_once(self: EntryQueue, *arguments: Any, **words: Any) -> Any:
            if words.get("mark"):
                return await settle(self, *arguments, **words)
            task = asyncio.create_task(later(self, *arguments, **words))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
            return None

        return at_once

    replace(EntryQueue, "settle", wrapper)


def _claims_taken_for_sent() -> None:
    def end(self: recovery.Recovery, entry: int, *_: object) -> int:
        retire(self._connection, [entry])
        return 0

    replace(recovery.Recovery, "_end_claim", lambda _: end)


def _all_content_stray() -> None:
    replace(recovery.Recovery, "_is_known", lambda _: lambda *_: False)


def _deleted_before_copied() -> None:
    async def move(self: mover.Mover) -> int:
        page = await self._outbox.ask(mover._read)
        if page:
            await self._spool.run(partial(mover._delete, last=page[-1][-1]))
            await self._record.run(partial(ledger.copy, lines=[row[:-1] for row in page]))
        return len(page)

    replace(mover.Mover, "_move", lambda _: move)


def _migration_in_pieces() -> None:
    def migrate(connection: sqlite3.Connection, migrations: Sequence[schema.Migration]) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for number, statements in enumerate(migrations[version:], version + 1):
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")

    replace(schema, "migrate", lambda _: migrate)


def _stop_cuts_calls() -> None:
    def drains(scheduler: Scheduler) -> None:
        for attempt in scheduler._attempts:
            attempt.cancel()

    before(Scheduler, "finish", drains)


def _stop_cuts_replies() -> None:
    async def drain(self: FrontDoor, _grace: float) -> None:
        for listener in self.listeners:
            listener.close()
            listener.sessions.abort()
        await self._gone(within=None)

    replace(FrontDoor, "drain", lambda _: drain)


_ROW: Final = ("row: before the commit",) * 3
_CALL: Final = ("call: last octet written",) * 3
_OUTCOME: Final = ("outcome: before the commit",) * 5

_LOST: Final = "LOST"
_TWICE: Final = "TWICE"
_DAMAGE: Final = r"LOST|spool\.corrupt|'corrupt': [1-9]|it finds damage"
_UNTOLD: Final = "that this may happen was said"

SABOTAGES: Final[dict[str, Sabotage]] = {
    "no commit is synced": Sabotage(partial(_synchronous, "OFF"), _LOST, shows_by_power=True),
    "commits are synced at checkpoints": Sabotage(
        partial(_synchronous, "NORMAL"), _LOST, shows_by_power=True
    ),
    "content is not synced": Sabotage(_content_not_synced, _DAMAGE, shows_by_power=True),
    "the directory of content is not synced": Sabotage(
        partial(_no_directory_synced, draft), _DAMAGE, shows_by_power=True
    ),
    "the spool's own name is not synced": Sabotage(
        partial(_no_directory_synced, disk), _LOST, shows_by_power=True
    ),
    "the reply comes before the commit": Sabotage(
        _reply_before_commit, _LOST, _ROW, shows_by_power=True
    ),
    "the file goes before its row": Sabotage(
        _unlink_before_retire, _DAMAGE, _OUTCOME, shows_by_power=True
    ),
    "no mark before a call": Sabotage(_no_mark, f"{_UNTOLD}|{_TWICE}", _CALL, shows_by_power=True),
    "outcomes are saved up": Sabotage(
        _outcomes_saved_up, f"told as relayed|{_TWICE}", _OUTCOME, shows_by_power=True
    ),
    "what was in flight is taken for sent": Sabotage(
        _claims_taken_for_sent, _LOST, ("call: before its first octet", "at random") * 2
    ),
    "all content is taken for stray": Sabotage(_all_content_stray, _DAMAGE, ("at random",) * 6),
    "the outbox is emptied before it is copied": Sabotage(
        _deleted_before_copied,
        f"{_UNTOLD}|the ledger has it",
        ("mover: before the copy is committed",) * 3,
    ),
    "a migration is no transaction": Sabotage(
        _migration_in_pieces,
        _LOST,
        ("at random", "migration: between its statements", "at random"),
    ),
    "a stop cuts off calls": Sabotage(
        _stop_cuts_calls, "a stop left SES's answer unrecorded", ("stopped",) * 4
    ),
    "a stop cuts off replies": Sabotage(
        _stop_cuts_replies, "kept by an orderly stop", ("stopped",) * 4
    ),
}
"""Every way to be broken, by what an operator would say of it."""


def sabotage(name: str) -> None:
    """Break this process."""
    SABOTAGES[name].install()
