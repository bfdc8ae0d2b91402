"""The queue gone through for what is past its time, a page at a time.

Knows the tables. Does not know what is done with what it finds, or when.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import starmap
from typing import Final, NamedTuple

from relay.mail.entry import State
from relay.policy.expiry import Terms, may_expire
from relay.store.columns import milliseconds
from relay.store.lifetime import HELD, IN_STATE, IS_ATTEMPTABLE, WAITED, Instant
from relay.store.pauses import IS_PAUSED
from relay.store.states import ATTEMPTABLE, known
from relay.store.trouble import is_damage
from relay.upkeep import Group, Page

_MILLISECOND: Final = timedelta(milliseconds=1)
# Entries looked at in one transaction, and those found among them: some 10 ms of a reader's time.
_PAGE: Final = 5000
_FOUND: Final = 500
# What is changed in one transaction: a few ms of the writer's time.
_ENTRIES: Final = 10
_RECIPIENTS: Final = 100
_OCTETS: Final = 2 * 1024 * 1024
# An attempt that takes so long has no end: with all its calls it would be over long before.
_ENDLESS: Final = timedelta(days=1)

_STANDING: Final = f"""
    SELECT id, state, {WAITED} AS has_waited, {HELD} AS was_held, {IN_STATE}, freed_up,
        due_at IS NOT NULL, due_at > :horizon, size,
        (SELECT count(*) FROM recipient WHERE entry = id),
        EXISTS (SELECT 1 FROM recipient
            WHERE entry = id AND tried_in = :run AND recipient.due_at IS NOT NULL)
    FROM entry
    WHERE id >= :start AND id <= :last AND (
        (({IS_ATTEMPTABLE} AND has_waited >= :lifetime
            OR state = '{State.HELD}' AND has_waited + was_held >= :half) AND NOT {IS_PAUSED})
        OR (state = '{State.FAILED}' AND {IN_STATE} >= :keep_failed)
        OR (state = '{State.IN_FLIGHT}' AND {IN_STATE} >= :endless)
        OR due_at > :horizon)
    ORDER BY id LIMIT :most"""  # noqa: S608 - our own names
_LAST: Final = """
    SELECT max(id) FROM (SELECT id FROM entry WHERE id >= ? ORDER BY id LIMIT ?)"""
# From an index alone, so that no damaged row is met: all of it is gone through.
_IDS: Final = """
    SELECT id FROM entry INDEXED BY sqlite_autoindex_entry_1 WHERE id >= ? ORDER BY id LIMIT ?"""


def horizon(terms: Terms, now: Instant) -> int:
    """Return the time after which nothing can be due, if it was scheduled by this clock."""
    return milliseconds(now.wall + terms.longest_wait)


def endless(terms: Terms) -> int:
    """Return the milliseconds after which an attempt has no end."""
    return max(terms.lifetime, _ENDLESS) // _MILLISECOND


class Standing(NamedTuple):
    """How an entry stands with regard to its time. Spans in milliseconds."""

    id: int
    state: str
    waited: int
    held: int
    in_state: int
    freed_up: int
    has_time: int
    is_far: int | None
    size: int
    recipients: int
    is_tried: int


@dataclass(frozen=True, slots=True)
class Looking:
    """One call of relay.upkeep.Upkeep.look. `up` is for how long this run has been."""

    start: int
    terms: Terms
    now: Instant
    up: timedelta

    def __call__(self, connection: sqlite3.Connection) -> Page:
        """Look at a page; what is on a damaged page of the database hides no other."""
        try:
            (last,) = connection.execute(_LAST, (self.start, _PAGE)).fetchone()
            if last is None:
                return self._page([], None)
            some = self._standings(connection, self.start, last)
            # Of a page full of what is looked for, the rest is for the next.
            return self._page(some, (some[-1].id if len(some) == _FOUND else last) + 1)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
        ids = [entry for (entry,) in connection.execute(_IDS, (self.start, _PAGE))]
        found: list[Standing] = []
        for entry in ids:
            try:
                found += self._standings(connection, entry, entry)
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
        return self._page(found, ids[-1] + 1 if ids else None)

    def _standings(self, connection: sqlite3.Connection, start: int, last: int) -> list[Standing]:
        terms, now = self.terms, self.now
        asked = {
            "start": start,
            "last": last,
            "uptime": now.uptime,
            "run": now.run,
            "lifetime": terms.lifetime // _MILLISECOND,
            "half": terms.held_lifetime // _MILLISECOND // 2,
            "keep_failed": terms.keep_failed // _MILLISECOND,
            "endless": endless(terms),
            "horizon": horizon(terms, now),
            "most": _FOUND,
        }
        return list(starmap(Standing, connection.execute(_STANDING, asked)))

    def _page(self, found: Sequence[Standing], following: int | None) -> Page:
        over = [(self._over(one), one) for one in found]
        return Page(
            expiring=grouped(one for past, one in over if past >= 0 and self._may_expire(one)),
            spent=grouped(one for one in found if one.state == State.FAILED),
            far=grouped(one for one in found if one.is_far),
            overdue=max((past for past, _ in over if past > 0), default=0) * _MILLISECOND,
            held_long=sum(self._is_held_long(one) for one in found),
            next=following,
        )

    def _over(self, one: Standing) -> int:
        """Return for how long its time has been over; below 0 while it is not."""
        lifetime = self.terms.lifetime // _MILLISECOND
        match known(one.state):
            case State.HELD if one.has_time:
                return one.waited + one.held - self.terms.held_lifetime // _MILLISECOND
            case State.IN_FLIGHT:
                return one.in_state - endless(self.terms)
            case state if state in ATTEMPTABLE:
                return one.waited - lifetime
            case _:
                # Held by hand, or for want of its sender: it waits for an operator for ever.
                return -1

    def _is_held_long(self, one: Standing) -> bool:
        half = self.terms.held_lifetime // _MILLISECOND // 2
        return one.state == State.HELD and one.waited + one.held >= half

    def _may_expire(self, one: Standing) -> bool:
        free = min(self.up, (self.now.uptime - one.freed_up) * _MILLISECOND)
        is_held = one.state == State.HELD
        return may_expire(is_tried=bool(one.is_tried), is_held=is_held, free=free)


def grouped(found: Iterable[Standing]) -> list[Group]:
    """Part entries into groups that each take the writer a few milliseconds."""
    groups: list[list[int]] = []
    recipients = octets = 0
    for one in found:
        recipients += one.recipients
        octets += one.size
        fits = recipients <= _RECIPIENTS and octets <= _OCTETS
        if groups and fits and len(groups[-1]) < _ENTRIES:
            groups[-1].append(one.id)
        else:
            groups.append([one.id])
            recipients, octets = one.recipients, one.size
    return [Group(tuple(group)) for group in groups]
