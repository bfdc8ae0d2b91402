"""Whether a database takes what is given to it, and what is done while it does not.

Knows the reserve, and the two ways to be unwell. *Sick*: the last transaction failed for want of a
disk. *Starved*: the disk is full and the reserve was given up; outcomes alone are recorded, for SES
cannot be asked again, and nothing new is begun until the reserve is there again. Either ends by
itself once the disk does its duty. For the thread of the writer; the loop reads the flags.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from typing import Final

from relay.ports import SpoolFullError
from relay.store.batch import Batch
from relay.store.reserve import Reserve
from relay.store.trouble import wants_space
from relay.store.wal import Log

AGAIN: Final = 1.0
"""Seconds between two tries to be well again."""


class Health:
    """The condition of one database, and the only place where it changes."""

    def __init__(
        self,
        database: str,
        reserve: Reserve | None,
        *,
        monotonic: Callable[[], float],
        turned: Callable[[bool, str], None],
    ) -> None:
        """`turned` is told when it is no longer well, and why, and when it is again."""
        self._database = database
        self._reserve = reserve
        self._monotonic = monotonic
        self._turned = turned
        self._was_well = True
        self._tried_at = float("-inf")
        self.sick = False
        self.is_starved = False
        self.is_asked = False
        """Set by the loop: try as soon as you can."""

    @property
    def is_well(self) -> bool:
        """Whether what is given to the database can be expected to become durable."""
        return not (self.sick or self.is_starved)

    def make_durable(self, batch: Batch, connection: sqlite3.Connection, log: Log) -> None:
        """Run a batch, and what of it must be recorded by the help of the reserve."""
        if self.is_starved:
            full = SpoolFullError(
                f"{self._database}: the disk is full; outcomes alone are recorded"
            )
            batch.refuse_all_but_outcomes(full)
        batch.run(connection, self._monotonic)
        if any(map(wants_space, batch.failures)):
            # That makes room, also where the reserve was given up before and the log has taken it.
            log.fold("TRUNCATE")
            room = 0 if self._reserve is None else self._reserve.octets
            if self._reserve is not None and self._reserve.release():
                self.is_starved = True
            if self.is_starved:
                batch.record_outcomes(connection, self._monotonic)
            # Or the log would take all of the reserve, and what is left could not hold what the
            # database grows by when it is folded: nothing more would be recorded, or dropped. It
            # keeps its length, which is as good as a reserve.
            if log.growth() <= room // 2:
                log.fold("PASSIVE")
        if batch.commits or batch.is_sick:
            self.sick = batch.is_sick
        self._tell(*batch.failures)

    def try_again(self, connection: sqlite3.Connection, *, at_once: bool = False) -> None:
        """See whether it is well again, if that was not tried a moment ago."""
        now = self._monotonic()
        if not (at_once or self.is_asked) and now - self._tried_at < AGAIN:
            return
        self.is_asked, self._tried_at = False, now
        self.put_by()
        if self.is_starved:
            return
        self.note(_try_to_commit(connection))

    def note(self, error: BaseException | None) -> None:
        """Take note that the database could not be opened, or that it could."""
        self.sick = error is not None
        self._tell(*([] if error is None else [error]))

    def put_by(self) -> None:
        """Have the reserve, if there is one to have."""
        if self._reserve is None:
            return
        try:
            self._reserve.make()
        except OSError as error:
            self.is_starved = True
            self._tell(error)
        else:
            self.is_starved = False

    def _tell(self, *failures: BaseException) -> None:
        if self.is_well is not self._was_well:
            self._was_well = self.is_well
            why = "" if self.is_well else f"{self._database}: {failures[-1] if failures else ''}"
            self._turned(self.is_well, why)


def _try_to_commit(connection: sqlite3.Connection) -> sqlite3.Error | None:
    """Write the first page as it is; return what is in the way, if anything is."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        with contextlib.suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        return error
    return None
