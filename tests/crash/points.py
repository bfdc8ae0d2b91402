"""The named points: where in the life of a mail the relay is killed, and how a trap gets there.

Knows the insides of the relay, and fails at once where they are not what they were. Does not know
loads or what must be true afterwards.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Final

from relay.delivery.scheduler import Scheduler
from relay.mail.entry import State
from relay.readmission import Readmission
from relay.ses import connection as calls
from relay.smtp.connection import Connection as Session
from relay.store import draft, mover, recovery, returning, schema, settling
from relay.store.batch import Batch
from relay.store.claiming import Claiming
from relay.store.content import Contents
from relay.store.queue import EntryQueue
from relay.store.spool import Insertion
from relay.store.store import Store
from tests.crash.hooks import Stand, Trap, after, before, put, watch


class Nudge(StrEnum):
    """What has to be done to the relay so that it passes the point."""

    NONE = ""
    RELOAD = "reload"
    STOP = "stop"
    MIGRATION = "migration"


@dataclass(frozen=True)
class Point:
    """One point. The trap is set for a passage from the first to the `most`-th."""

    install: Callable[[Trap], None]
    most: int = 1
    nudge: Nudge = Nudge.NONE
    first: str = ""
    """The point at which it must have been killed before, or there is nothing to recover."""


# --- transactions, by what is in them ---

_within = threading.local()


def _name_of(operation: Any) -> str:
    """Say what an operation of a batch does."""
    work, item = operation.work, operation.item
    if isinstance(work, Insertion):
        return "row"
    if work is settling.settle:
        return "outcome"
    if isinstance(item, Claiming):
        return "mark"
    if not isinstance(item, partial):
        return ""
    # Of a method, the function: each of its owner is another object.
    return _BY_FUNCTION.get(getattr(item.func, "__func__", item.func), "")


_BY_FUNCTION: Final[dict[object, str]] = {
    mover.Mover._copy: "copied",
    mover._delete: "moved",
    returning.readmit: "readmitted",
}


def _know_transactions() -> None:
    """Have it known in the thread that commits what it commits."""

    def begun(_batch: Batch, _connection: object, operations: Sequence[Any], _: object) -> None:
        _within.operations = operations

    def ended(*_: object) -> None:
        _within.operations = ()

    before(Batch, "_transact", begun)
    after(Batch, "_transact", ended)


def _in_commit_of(what: str, sql: str) -> bool:
    if sql != "COMMIT":
        return False
    found = [one for one in getattr(_within, "operations", ()) if _name_of(one) == what]
    # Every start looks for held mail to let go; what is meant is that there was some.
    return any(what != "readmitted" or one.result for one in found)


def _commit(what: str, place: str) -> Callable[[Trap], None]:
    """Make a point before, in or after the commit of transactions that have such an operation."""

    def install(trap: Trap) -> None:
        def see(_: sqlite3.Connection, sql: str, execute: Callable[[], Any]) -> Any:
            if not _in_commit_of(what, sql):
                return execute()
            if place == "in":
                with trap.during():
                    return execute()
            if place == "before":
                trap.passed()
            result = execute()
            if place == "after":
                trap.passed()
            return result

        _know_transactions()
        watch(schema, see)

    return install


def _checkpoint(trap: Trap) -> None:
    """While the log is being folded into the database: it has begun to write that file."""

    def see(connection: sqlite3.Connection, sql: str, execute: Callable[[], Any]) -> Any:
        if sql != "COMMIT" and not sql.startswith("PRAGMA wal_checkpoint"):
            return execute()
        (_, _, file), *_ = connection.cursor().execute("PRAGMA database_list").fetchall()
        if not file.endswith("spool.db"):
            return execute()
        path = Path(file)
        found = path.stat().st_mtime_ns
        with trap.during(lambda: path.stat().st_mtime_ns != found):
            return execute()

    watch(schema, see)


def _statement(begins: str) -> Callable[[Trap], None]:
    """Make a point before a statement, outside of batches."""

    def install(trap: Trap) -> None:
        def see(_: sqlite3.Connection, sql: str, execute: Callable[[], Any]) -> Any:
            if sql.startswith(begins):
                trap.passed()
            return execute()

        watch(schema, see)

    return install


# --- content files ---


def _fsync_of_content(trap: Trap) -> None:
    def fsync(descriptor: int) -> None:
        trap.passed()
        os.fsync(descriptor)

    put(draft, "os", Stand(os, fsync=fsync))


def _file_removed(trap: Trap) -> None:
    def done(_result: None, _contents: Contents, job: Callable[[], None]) -> None:
        if job.__qualname__.startswith("Contents.remove."):
            trap.passed()

    after(Contents, "_quietly", done)


def _stray_found(trap: Trap) -> None:
    def looked(is_known: bool, *_: object) -> None:
        if not is_known:
            trap.passed()

    after(recovery.Recovery, "_is_known", looked)


# --- replies and calls ---


def _once_written(transport: Any, trap: Trap) -> None:
    """Let it count as passed once the kernel has all that was given to the transport."""
    if transport.is_closing():
        return
    if transport.get_write_buffer_size() == 0:
        trap.passed()
    else:
        asyncio.get_running_loop().call_soon(_once_written, transport, trap)


def _reply_written(trap: Trap) -> None:
    def writes(session: Session) -> None:
        if b" queued as " in session._said:
            asyncio.get_running_loop().call_soon(_once_written, session._wire, trap)

    before(Session, "_write", writes)


def _call_begins(trap: Trap) -> None:
    def writes(call: calls.Connection, _octets: bytes, *, is_last: bool) -> None:
        if not call._is_begun:
            trap.passed()

    before(calls.Connection, "_write", writes)


def _call_written(trap: Trap, *, is_last: bool) -> None:
    wanted = is_last

    def wrote(_: None, call: calls.Connection, _octets: bytes, *, is_last: bool) -> None:
        if is_last is wanted:
            asyncio.get_running_loop().call_soon(_once_written, call._transport, trap)

    after(calls.Connection, "_write", wrote)


def _chunk_settled(trap: Trap) -> None:
    def settled(_queue: EntryQueue, operation: Any) -> None:
        if operation.error is None and operation.result is State.IN_FLIGHT:
            trap.passed()

    before(EntryQueue, "_settled", settled)


# --- the table ---


def _before(owner: object, name: str) -> Callable[[Trap], None]:
    return lambda trap: before(owner, name, lambda *_, **__: trap.passed())


def _after(owner: object, name: str) -> Callable[[Trap], None]:
    return lambda trap: after(owner, name, lambda *_, **__: trap.passed())


_STRAY: Final = "content: durable, no row yet"
_CLAIMED: Final = "call: last octet written"

POINTS: Final[dict[str, Point]] = {
    # Accepting: content file, its directory, the row, the reply.
    "content: first pieces written": Point(_after(draft.DraftFile, "write"), 12),
    "content: before its fsync": Point(_fsync_of_content, 8),
    "content: before its directory's fsync": Point(_before(draft, "sync_directory"), 8),
    _STRAY: Point(_after(draft, "sync_directory"), 8),
    "row: before the commit": Point(_commit("row", "before"), 60),
    "row: in the commit": Point(_commit("row", "in"), 60),
    "row: committed, no reply yet": Point(_commit("row", "after"), 60),
    "reply: written": Point(_reply_written, 100),
    # Sending: the mark, the request, the answer.
    "mark: before the commit": Point(_commit("mark", "before"), 60),
    "mark: in the commit": Point(_commit("mark", "in"), 60),
    "mark: committed, no call yet": Point(_commit("mark", "after"), 60),
    "call: before its first octet": Point(_call_begins, 100),
    "call: some of it written": Point(partial(_call_written, is_last=False), 3),
    _CLAIMED: Point(partial(_call_written, is_last=True), 100),
    "call: answered, not recorded": Point(_before(calls.Connection, "_answered"), 100),
    # Recording: the outcome, the next chunk, the file.
    "outcome: before the commit": Point(_commit("outcome", "before"), 60),
    "outcome: in the commit": Point(_commit("outcome", "in"), 60),
    "outcome: committed": Point(_commit("outcome", "after"), 60),
    "chunk: recorded, the next not sent": Point(_chunk_settled, 5),
    "file: its row retired, before unlink": Point(_before(Contents, "remove"), 5),
    "file: unlinked": Point(_file_removed, 5),
    # The mover, between the two databases.
    "mover: before the copy is committed": Point(_commit("copied", "before"), 8),
    "mover: in the commit of the copy": Point(_commit("copied", "in"), 8),
    "mover: copied, not deleted": Point(_commit("copied", "after"), 8),
    "mover: before the deletion is committed": Point(_commit("moved", "before"), 8),
    # The log of the database.
    "checkpoint: pages half copied": Point(_checkpoint, 40),
    # Starting again.
    "recovery: claims half ended": Point(
        _after(recovery.Recovery, "_end_claim"), 1, first=_CLAIMED
    ),
    "recovery: claims ended": Point(_before(recovery.Recovery, "_check_files"), 1, first=_CLAIMED),
    "recovery: before a stray is removed": Point(_stray_found, 1, first=_STRAY),
    "recovery: over, nobody let in yet": Point(_before(mover.Mover, "start")),
    "migration: between its statements": Point(
        _statement("INSERT INTO recipient SELECT"), nudge=Nudge.MIGRATION
    ),
    "migration: before its commit": Point(
        _statement("PRAGMA user_version = "), nudge=Nudge.MIGRATION
    ),
    # While it is told to do something else.
    "reload: rules in force": Point(_before(Readmission, "orphaned"), 3, nudge=Nudge.RELOAD),
    "reload: held mail let go": Point(_commit("readmitted", "before"), 2, nudge=Nudge.RELOAD),
    "stop: before it drains": Point(_before(Scheduler, "finish"), nudge=Nudge.STOP),
    "stop: before the spool is closed": Point(_before(Store, "close"), nudge=Nudge.STOP),
}
"""Every point, in the order of a mail's life."""


def set_trap(name: str, at: int) -> None:
    """Have this process killed at a point, at the n-th passage."""
    POINTS[name].install(Trap(name, at))


def migrations(count: int) -> tuple[schema.Migration, ...]:
    """Return so many migrations as a later release might have: a table is built anew.

    Half of one, the spool knows no recipients.
    """
    return (
        (
            "CREATE TABLE rebuilt AS SELECT * FROM recipient",
            "DELETE FROM recipient",
            "INSERT INTO recipient SELECT * FROM rebuilt",
            "DROP TABLE rebuilt",
        ),
    ) * count
