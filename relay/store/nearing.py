"""Mail that would sleep because the clock was ahead when its time was written: due in time again.

Knows the tables. Does not know how it was found.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from relay.mail.entry import State
from relay.mail.envelope import SenderName
from relay.policy.expiry import Terms
from relay.policy.retry import AMBIGUOUS_WITHOUT_EVENTS
from relay.store.columns import milliseconds
from relay.store.lifetime import Instant
from relay.store.looking import horizon

_NEARER: Final = f"""
    UPDATE recipient SET due_at = CASE state
        WHEN '{State.READY}' THEN :now WHEN '{State.AMBIGUOUS}' THEN :patient ELSE :later END
    WHERE entry = :id AND due_at > :horizon"""  # noqa: S608 - our own names
_DUE_AGAIN: Final = """
    UPDATE entry SET due_at = (SELECT min(due_at) FROM recipient WHERE entry = id)
    WHERE id = :id AND due_at > :horizon RETURNING sender"""


@dataclass(frozen=True, slots=True)
class Nearing:
    """One call of relay.upkeep.Upkeep.bring_near, run by the writer."""

    group: Sequence[int]
    terms: Terms
    now: Instant
    jitter: Callable[[], float]

    def __call__(self, connection: sqlite3.Connection) -> list[SenderName]:
        """Bring what is due too late within the longest wait, each entry to a time of its own."""
        senders: dict[str, None] = {}
        for entry in self.group:
            share = self.jitter()
            words: dict[str, Any] = {
                "id": entry,
                "now": milliseconds(self.now.wall),
                "later": milliseconds(self.now.wall + self.terms.longest_wait * share),
                # What may have gone out waits for SES to say so, as it would have.
                "patient": milliseconds(self.now.wall + AMBIGUOUS_WITHOUT_EVENTS * (1 + share / 4)),
                "horizon": horizon(self.terms, self.now),
            }
            connection.execute(_NEARER, words)
            for (sender,) in connection.execute(_DUE_AGAIN, words).fetchall():
                senders[sender] = None
        return [SenderName(sender) for sender in senders]
