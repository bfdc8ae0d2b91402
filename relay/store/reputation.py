"""What became of each sender's mail, by five minutes (aftermath.ReputationBook).

Triggers count it with the row that tells of it, so that nothing counts twice. Knows the reputation
table; does not know what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from sqlite3 import Connection
from typing import Final

from relay.mail.envelope import SenderName
from relay.policy.reputation import Reception
from relay.store.columns import milliseconds
from relay.store.reader import Reader
from relay.store.record_tables import SLOT

_SUM: Final = """
    SELECT sender, sum(sent), sum(delivered), sum(bounced), sum(complained) FROM reputation
    WHERE slot > ? AND slot <= ? GROUP BY sender"""
_FORGET: Final = "DELETE FROM reputation WHERE slot < ?"
_KEPT: Final = 3 * 24 * 3600 * 1000


class StoredReputation:
    """Reads the numbers."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def reception(self, since: datetime, until: datetime) -> Mapping[SenderName, Reception]:
        """Return the numbers of that time, to five minutes; raise SpoolError."""
        span = (milliseconds(since) // SLOT, milliseconds(until) // SLOT)

        def count(connection: Connection) -> dict[SenderName, Reception]:
            return {
                SenderName(sender): Reception(*numbers)
                for sender, *numbers in connection.execute(_SUM, span)
            }

        return await self._reader.ask(count)


def forget(connection: Connection, now: datetime) -> None:
    """Forget what no rate is made of any more."""
    connection.execute(_FORGET, ((milliseconds(now) - _KEPT) // SLOT,))
