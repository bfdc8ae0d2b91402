"""Mail that SES reports on is mail it has taken, whatever we heard of our attempt.

Knows the tables; what follows comes from relay.store.states. Does not know feedback.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Final, NamedTuple

from relay.mail.entry import Settled, State, Turn
from relay.mail.envelope import Envelope, Mail, QueueId, SenderName
from relay.mail.outcome import Relayed
from relay.store.columns import nearest_moment, reverse_path, shown_address
from relay.store.lifetime import Instant, count
from relay.store.outbox import OUTBOX, lines
from relay.store.settling import give_back
from relay.store.states import RETIRED, after, known

_ENTRY: Final = """
    SELECT id, sender, reverse_path, arrived_at, size, message_id, in_file, state
    FROM entry WHERE queue_id = ?"""
_RECIPIENTS: Final = "SELECT address, state, attempts FROM recipient WHERE entry = ?"
_LET_GO: Final = "DELETE FROM recipient WHERE entry = ? AND address = ?"


class Cleared(NamedTuple):
    """What became of an entry: how many recipients SES has, and its mail if nobody is left."""

    recipients: int
    retired: Mail | None
    in_file: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What SES says of one mail: to whom it has taken it, folded, and as what."""

    queue_id: QueueId
    taken: Mapping[str, str]
    now: Instant

    def __call__(self, connection: Connection) -> Cleared:
        """Let those recipients go. Those in flight are left to their attempt."""
        row = connection.execute(_ENTRY, (self.queue_id,)).fetchone()
        if row is None or known(row[-1]) in (State.IN_FLIGHT, State.CORRUPT, None):
            return Cleared(0, None, in_file=False)
        entry, sender, path, arrived_at, size, message_id, in_file, _ = row
        settled, attempts = {}, {}
        for column, name, tried in connection.execute(_RECIPIENTS, (entry,)).fetchall():
            address, state = shown_address(column), known(name)
            ses_message_id = self.taken.get(address.folded)
            if ses_message_id is None or state is None:
                continue
            if after(state, Turn.SETTLED_BY_EVENT) is RETIRED:
                settled[address] = Settled(Relayed(ses_message_id), None)
                attempts[address] = tried
                connection.execute(_LET_GO, (entry, column))
        if not settled:
            return Cleared(0, None, in_file=False)
        mail = Mail(
            self.queue_id,
            SenderName(sender),
            Envelope(reverse_path(path), ()),
            nearest_moment(arrived_at),
            size,
            message_id,
        )
        OUTBOX.insert(connection, list(lines(mail, settled, attempts, self.now.wall)))
        count(connection, entry, self.now)
        is_gone = give_back(connection, entry, self.now) is RETIRED
        return Cleared(len(settled), mail if is_gone else None, in_file=bool(in_file))
