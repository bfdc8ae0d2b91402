"""What happened to the spool: how it is, what time and operators did to mail in it.

The part of relay.observe.maillog that is about no client and no call to SES.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from relay.mail.envelope import Mail
from relay.observe.doorlog import DoorLog
from relay.operators import Order, Result, Verb

_ORDERED: Final = {
    Verb.HOLD: "queue.held",
    Verb.RELEASE: "queue.released",
    Verb.RETRY: "queue.retried",
    Verb.DROP: "queue.dropped",
}

# What an operator wants to know first.
_FOLLOWS: Final = {
    "spool.db": "mail is refused and nothing is sent until it can be written",
    "record.db": "mail flows; ledger, feedback and mail to suppressed addresses wait",
}
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class SpoolLog(DoorLog):
    """The facts of the spool, told to a logger and counted."""

    def purged(self, mail: Mail) -> None:
        """Failed mail was kept as long as promised, and is gone."""
        self._metrics.purged.inc()
        self.logger.info("mail.purged", queue_id=mail.queue_id, sender=mail.sender)

    def held_long(self, entries: int, limit: timedelta) -> None:
        """More mail than before has been held for half the time after which it is given up."""
        self.logger.error(
            "queue.held_long", entries=entries, given_up_after_days=round(limit / timedelta(1), 1)
        )

    def swept(self, at: datetime, overdue: timedelta, held_long: int) -> None:
        """The whole queue was looked through for mail past its time."""
        self._metrics.swept_at.set(at.timestamp())
        self._metrics.overdue.set(overdue.total_seconds())
        self._metrics.held_long.set(held_long)

    def clock_stepped(self, by: timedelta, suspended: timedelta) -> None:
        """The wall clock stepped: for so long nothing is given up for its age."""
        self._metrics.clock_in_doubt.set(1)
        self.logger.error(
            "relay.clock_stepped",
            seconds=round(by.total_seconds(), 1),
            expiry_suspended_seconds=round(suspended.total_seconds()),
        )

    def clock_settled(self) -> None:
        """The wall clock has kept time for long enough to be believed again."""
        self._metrics.clock_in_doubt.set(0)
        self.logger.info("relay.clock_settled")

    def ordered(self, order: Order, results: Mapping[Result, int], *, is_whole: bool) -> None:
        """An operator's order ended."""
        changed = results.get(Result.CHANGED, 0)
        self._metrics.ordered[order.verb.value].inc(changed)
        # What is gone is gone: whoever watches the log should see it.
        tell = self.logger.warning if order.verb is Verb.DROP and changed else self.logger.info
        tell(
            _ORDERED[order.verb],
            actor=order.actor,
            selection=order.selection.words(),
            reason=order.reason,
            new_sender=order.new_sender or "",
            is_whole=is_whole,
            results={result.value: count for result, count in results.items()},
        )

    def damaged(self, mail: Mail, complaint: str) -> None:
        """An entry was set aside as corrupt."""
        self._metrics.store.corrupt.inc()
        self.logger.error(
            "spool.corrupt", queue_id=mail.queue_id, sender=mail.sender, complaint=complaint
        )

    def spool_recovered(self, entries: int, ambiguous: int, strays: int, corrupt: int) -> None:
        """The spool was opened and what a crash left behind was put in order."""
        self._metrics.store.strays.inc(strays)
        self._metrics.store.corrupt.inc(corrupt)
        tell = self.logger.warning if ambiguous or corrupt else self.logger.info
        tell("spool.opened", entries=entries, ambiguous=ambiguous, strays=strays, corrupt=corrupt)

    def spool_committed(self, batch: int, seconds: float) -> None:
        """A group of operations was made durable together."""
        self._metrics.store.commit_operations.observe(batch)
        self._metrics.store.commit_seconds.observe(seconds)

    def spool_failed(self, error: BaseException) -> None:
        """A commit failed, or a content file could not be written."""
        self._metrics.store.commit_failures[_kind(error)].inc()
        self.logger.error("spool.failed", complaint=f"{type(error).__name__}: {error}")

    def database_turned(self, database: str, *, is_well: bool, complaint: str) -> None:
        """A database cannot be written any more, or can again."""
        if is_well:
            self.logger.info("database.available", database=database)
        else:
            follows = _FOLLOWS[database]
            self.logger.error(
                "database.unavailable", database=database, complaint=complaint, follows=follows
            )

    def suppressions_recalled(self, *, is_whole: bool) -> None:
        """The suppression list cannot be read at start: a copy tells who is on it, or nothing."""
        if is_whole:
            self.logger.warning("suppression.recalled", follows="mail to those on it waits")
        else:
            follows = "those on it are mailed, unless SES's own list keeps them from it"
            self.logger.error("suppression.unknown", follows=follows)


def _kind(error: BaseException) -> str:
    """Return the reason of a failure as the metric has it.

    SQLite's own names are looked at, not its library: relay.store alone knows that.
    """
    name = str(getattr(error, "sqlite_errorname", ""))
    if name == "SQLITE_FULL" or getattr(error, "errno", None) in _NO_SPACE:
        return "no_space"
    return "io" if name.startswith("SQLITE_IOERR") or isinstance(error, OSError) else "other"
