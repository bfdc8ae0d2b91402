"""Operations, and how a batch of them becomes durable in one transaction.

Knows transactions. Does not know threads, or what an operation means.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any, Generic, TypeAlias, TypeVar

from relay.store.trouble import as_spool_error, is_sick

Item = TypeVar("Item")
T = TypeVar("T")

Work: TypeAlias = Callable[[sqlite3.Connection, list[Item]], Sequence[T]]
"""What is run, once per batch, for all items given to it; it returns a result for each."""


class Stage(Enum):
    """How far an operation has come; only what is waiting can be withdrawn."""

    WAITING = auto()
    PICKED = auto()
    WITHDRAWN = auto()


class Operation(Generic[T]):
    """One item on its way into a database.

    `future` is for whoever waits, and they may cancel it. `then` is called in the loop once the
    operation has ended, whether or not anyone still waits: what must follow a commit hangs there.
    """

    __slots__ = (
        "error",
        "future",
        "has_ended",
        "is_outcome",
        "item",
        "result",
        "stage",
        "then",
        "work",
    )

    def __init__(
        self,
        work: Work[Any, T],
        item: Any,
        future: asyncio.Future[T],
        then: Callable[[Operation[T]], None] | None,
        *,
        is_outcome: bool,
    ) -> None:
        """`is_outcome`: it records what cannot be asked again, or makes room (Writer.submit)."""
        self.work = work
        self.item = item
        self.future = future
        self.then = then
        self.is_outcome = is_outcome
        self.stage = Stage.WAITING
        self.has_ended = False
        self.result: T
        self.error: Exception | None = None

    def outcome(self) -> T:
        """Return the result, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.result

    def end(self) -> None:
        """Tell whoever waits, and let follow what follows. In the loop."""
        self.has_ended = True
        if not self.future.done():
            if self.error is None:
                self.future.set_result(self.result)
            else:
                self.future.set_exception(self.error)
        if self.then is not None:
            self.then(self)


class Batch:
    """Operations that were picked together, and what became of them."""

    def __init__(self, database: str, operations: list[Operation[Any]]) -> None:
        self.operations = operations
        self.commits: list[tuple[int, float]] = []
        """For each transaction that became durable, its operations and seconds."""
        self.failures: list[sqlite3.Error] = []
        self._database = database

    @property
    def is_sick(self) -> bool:
        """Whether nothing could be made durable, for want of a disk."""
        return not self.commits and any(map(is_sick, self.failures))

    def run(self, connection: sqlite3.Connection, monotonic: Callable[[], float]) -> None:
        """Make the operations durable; each ends with a result or an error."""
        operations = [one for one in self.operations if one.error is None]
        if operations:
            self._run(connection, operations, monotonic)

    def refuse_all_but_outcomes(self, error: Exception) -> None:
        """End with this error all that begins something new."""
        for operation in self.operations:
            if not operation.is_outcome:
                operation.error = error

    def record_outcomes(
        self, connection: sqlite3.Connection, monotonic: Callable[[], float]
    ) -> None:
        """Try again what records an outcome and failed: there is more room now."""
        again = [one for one in self.operations if one.is_outcome and one.error is not None]
        for operation in again:
            operation.error = None
        if again:
            self._run(connection, again, monotonic)

    def _run(
        self,
        connection: sqlite3.Connection,
        operations: list[Operation[Any]],
        monotonic: Callable[[], float],
    ) -> None:
        error = self._transact(connection, operations, monotonic)
        if error is None:
            return
        if len(operations) == 1 or is_sick(error):
            self._fail(operations, error)
            return
        # One of them asked for something impossible: only that one shall fail.
        for operation in operations:
            own = self._transact(connection, [operation], monotonic)
            if own is not None:
                self._fail([operation], own)

    def _transact(
        self,
        connection: sqlite3.Connection,
        operations: list[Operation[Any]],
        monotonic: Callable[[], float],
    ) -> Exception | None:
        """Run operations in one transaction; return the error if it had to be undone."""
        begun = monotonic()
        kinds: dict[Work[Any, Any], list[Operation[Any]]] = {}
        for operation in operations:
            kinds.setdefault(operation.work, []).append(operation)
        try:
            connection.execute("BEGIN IMMEDIATE")
            for work, members in kinds.items():
                results = work(connection, [member.item for member in members])
                for member, result in zip(members, results, strict=True):
                    member.result = result
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the operation
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            return error
        self.commits.append((len(operations), monotonic() - begun))
        return None

    def _fail(self, operations: list[Operation[Any]], error: Exception) -> None:
        """End operations with an error: SQLite's in the words of the ports, any other as it is."""
        if isinstance(error, sqlite3.Error):
            self.failures.append(error)
        for operation in operations:
            operation.error = (
                as_spool_error(self._database, error) if isinstance(error, sqlite3.Error) else error
            )
