"""Mail past its time, given up as the policy says (relay.policy.expiry).

Knows the tables; every next state comes from relay.store.states. Does not know how it was
found.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple

from relay.mail.address import Address
from relay.mail.entry import Settled, State, Turn
from relay.mail.envelope import Envelope, Mail, QueueId, SenderName
from relay.mail.outcome import Blame, Failed
from relay.policy import expiry as policy
from relay.policy.expiry import Terms
from relay.store.claiming import set_aside
from relay.store.columns import address, moment, reverse_path, span
from relay.store.due import shown_mail, unreadable
from relay.store.lifetime import HELD, IN_STATE, WAITED, Instant, count
from relay.store.looking import endless
from relay.store.outbox import OUTBOX, lines
from relay.store.pauses import IS_PAUSED
from relay.store.settling import give_back
from relay.store.states import TABLE, kept_after, known
from relay.upkeep import Expired

_MILLISECOND: Final = timedelta(milliseconds=1)

_ENTRY: Final = f"""
    SELECT queue_id, sender, reverse_path, arrived_at, size, message_id, state,
        {IS_PAUSED}, {WAITED}, {HELD}, {IN_STATE}, freed_up,
        coalesce((SELECT recipients FROM attempt WHERE entry = id), '')
    FROM entry WHERE id = :id"""  # noqa: S608 - our own names
_RECIPIENTS_OF: Final = """
    SELECT address, state, attempts, doubts, due_at, detail, tried_in FROM recipient
    WHERE entry = ? ORDER BY position"""
_GIVE_UP: Final = """
    UPDATE recipient SET state = ?, due_at = NULL, reason = ?, detail = ?, attempts = ?, doubts = ?
    WHERE entry = ? AND address = ?"""


class Damage(NamedTuple):
    """An entry past its time that cannot be read, and so was set aside."""

    mail: Mail
    complaint: str


@dataclass(frozen=True, slots=True)
class Expiring:
    """One call of relay.upkeep.Upkeep.expire, run by the writer."""

    group: Sequence[int]
    terms: Terms
    now: Instant
    up: timedelta

    def __call__(self, connection: sqlite3.Connection) -> tuple[list[Expired], list[Damage]]:
        """Give up the recipients whose time is over; leave the others as they are."""
        expired: list[Expired] = []
        damaged: list[Damage] = []
        for entry in self.group:
            try:
                found = self._expire(connection, entry)
            except (OverflowError, TypeError, ValueError) as error:
                damage = Damage(shown_mail(connection, entry), unreadable(error))
                set_aside(connection, entry, damage.complaint, self.now)
                damaged.append(damage)
            else:
                expired += found
        return expired, damaged

    def _expire(self, connection: sqlite3.Connection, entry: int) -> list[Expired]:
        asked = {"id": entry, "uptime": self.now.uptime}
        row = connection.execute(_ENTRY, asked).fetchone()
        if row is None:
            return []
        queue_id, sender, path, arrived_at, size, message_id, name, paused, *times, marked = row
        state = known(name)
        if state is None or (state not in TABLE[Turn.CLAIM] and state is not State.IN_FLIGHT):
            return []
        if paused and state is not State.IN_FLIGHT:
            return []
        recipients = [
            _Recipient(address(spelt), known(own), *rest)
            for spelt, own, *rest in connection.execute(_RECIPIENTS_OF, (entry,))
        ]
        mail = Mail(
            QueueId(queue_id),
            SenderName(sender),
            Envelope(reverse_path(path), tuple(one.address for one in recipients)),
            moment(arrived_at),
            size,
            message_id,
        )
        entry_times = _Times(*times)
        over = [one for one in recipients if self._is_over(one, state, entry_times)]
        if not over:
            return []
        return [self._give_up(connection, entry, mail, over, set(marked.splitlines()))]

    def _is_over(self, one: _Recipient, state: State, times: _Times) -> bool:
        waited = times.waited
        if state is State.IN_FLIGHT:
            # Its attempt has no end, so it has not waited for anything else.
            if times.in_state < endless(self.terms):
                return False
            waited += times.in_state
        if one.state is State.HELD and one.due_at is None:
            return False
        if one.state not in TABLE[Turn.CLAIM]:
            return False
        over = policy.is_over(
            self.terms.lifetime,
            waited=span(waited),
            held=span(times.held),
            needs_operator=one.state is State.HELD,
        )
        free = min(self.up, span(self.now.uptime - times.freed_up))
        return over and policy.may_expire(
            is_tried=one.tried_in == self.now.run, is_held=state is State.HELD, free=free
        )

    def _give_up(
        self,
        connection: sqlite3.Connection,
        entry: int,
        mail: Mail,
        over: Sequence[_Recipient],
        marked: set[str],
    ) -> Expired:
        outcomes: dict[Address, Failed] = {}
        attempts: dict[Address, int] = {}
        count(connection, entry, self.now)
        for one in over:
            spelt = str(one.address)
            # Of an attempt that has no end nobody knows what it did.
            begun = spelt in marked
            doubts = one.doubts + begun
            blame = Blame.OPERATOR if one.state is State.HELD else Blame.SERVICE
            failed = policy.expired(one.detail, in_doubt=doubts > 0, blame=blame)
            outcomes[one.address] = failed
            attempts[one.address] = one.attempts + begun
            assert one.state is not None  # noqa: S101 - only what is claimable is over
            state = kept_after(one.state, Turn.EXPIRED)
            said = (state, failed.reason, str(failed.reply), attempts[one.address], doubts)
            connection.execute(_GIVE_UP, (*said, entry, spelt))
        settled = {place: Settled(failed, None) for place, failed in outcomes.items()}
        OUTBOX.insert(connection, list(lines(mail, settled, attempts, self.now.wall)))
        give_back(connection, entry, self.now)
        return Expired(mail, outcomes)


class _Times(NamedTuple):
    """What was measured of an entry, in milliseconds."""

    waited: int
    held: int
    in_state: int
    freed_up: int


class _Recipient(NamedTuple):
    """A recipient as it stands in its row."""

    address: Address
    state: State | None
    attempts: int
    doubts: int
    due_at: int | None
    detail: str
    tried_in: int
