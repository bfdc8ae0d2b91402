"""The shape of the queue: how much of its mail is how old, by sender, domain, reason or state.

Knows the tables, and one stretch of the queue at a time: whoever asks adds the stretches up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from sqlite3 import Connection
from sqlite3 import Error as SqliteError
from typing import Any, Final

from relay.operators import AGES, Axis, Selection, Shape
from relay.store.columns import milliseconds
from relay.store.selecting import Criteria, Stretch, criteria_of, places, stretch_after
from relay.store.trouble import is_damage

DAMAGED: Final = "(damaged)"
"""Where mail is counted of which nothing can be read."""

_MINUTE: Final = 60_000  # milliseconds
_LIMITS: Final = [age * _MINUTE for age in AGES]
_COLUMNS: Final = len(AGES) + 1
_COLUMN: Final = (
    "CASE "
    + " ".join(f"WHEN :now - arrived_at < {limit} THEN {n}" for n, limit in enumerate(_LIMITS))
    + f" ELSE {len(AGES)} END"
)
_COUNT: Final = """
    SELECT json_group_array(json_array(name, age, mails)) FROM (
        SELECT {name} AS name, {age} AS age, count({what}) AS mails
        FROM {tables} WHERE {which} GROUP BY 1, 2)"""
# A quoted local part may have an @ of its own: what stands behind the last one is the domain.
_DOMAIN: Final = "lower(substr(address, length(rtrim(address, replace(address, '@', ''))) + 1))"
_AXES: Final[Mapping[Axis | None, tuple[str, str, str]]] = {
    None: ("''", "*", "entry"),
    Axis.SENDER: ("sender", "*", "entry"),
    Axis.REASON: ("entry.reason", "*", "entry"),
    Axis.STATE: ("entry.state", "*", "entry"),
    # The recipients of each entry, not the entries of each recipient.
    Axis.DOMAIN: (_DOMAIN, "DISTINCT id", "entry CROSS JOIN recipient ON recipient.entry = id"),
}


def shape(
    connection: Connection, *, selection: Selection, axis: Axis, after: str, now: datetime
) -> Shape:
    """Count one stretch of what is meant."""
    criteria = criteria_of(selection)
    stretch, key = stretch_after(connection, selection, after, deep=axis is Axis.DOMAIN)
    if stretch is None:
        return Shape({}, [0] * _COLUMNS, None)
    at = milliseconds(now)
    try:
        groups, total = _both(connection, stretch, criteria, axis, at)
    except SqliteError as error:
        if not is_damage(error):
            raise
        groups, total = _singly(connection, stretch, criteria, axis, at)
    return Shape(groups, total, key)


def added(shape: Shape, more: Shape) -> Shape:
    """Return two parts of a shape as one, that goes on where the second does."""
    groups = dict(shape.groups)
    for name, counts in more.groups.items():
        groups[name] = _sum(groups.get(name, [0] * _COLUMNS), counts)
    return Shape(groups, _sum(shape.total, more.total), more.after)


def question_for(axis: Axis | None, which: str) -> str:
    """Return the question for counts by an axis, or by age alone, under a condition."""
    name, what, tables = _AXES[axis]
    return _COUNT.format(name=name, age=_COLUMN, what=what, tables=tables, which=which)


def _both(
    connection: Connection, stretch: Stretch, criteria: Criteria, axis: Axis, now: int
) -> tuple[dict[str, list[int]], list[int]]:
    words: dict[str, Any] = {**stretch.words, **criteria.words, "now": now}

    def count(axis: Axis | None) -> dict[str, list[int]]:
        question = question_for(axis, stretch.sql + criteria.sql)
        (found,) = connection.execute(question, words).fetchone()
        counts: dict[str, list[int]] = {}
        for group, age, mails in json.loads(found):
            counts.setdefault(group, [0] * _COLUMNS)[age] += mails
        return counts

    return count(axis), count(None).get("", [0] * _COLUMNS)


def _singly(
    connection: Connection, stretch: Stretch, criteria: Criteria, axis: Axis, now: int
) -> tuple[dict[str, list[int]], list[int]]:
    """Count entry by entry; what cannot be read is as old as can be."""
    found, damaged = places(connection, stretch, criteria)
    groups: dict[str, list[int]] = {}
    total = [0] * _COLUMNS

    def add(group: str, counts: list[int]) -> None:
        groups[group] = _sum(groups.get(group, [0] * _COLUMNS), counts)

    unreadable = len(damaged)
    for place in found:
        one = Stretch("entry.id = :id", {"id": place.id})
        try:
            mine, all_of_it = _both(connection, one, criteria, axis, now)
        except SqliteError as error:
            if not is_damage(error):
                raise
            unreadable += 1
            continue
        total = _sum(total, all_of_it)
        for group, counts in mine.items():
            add(group, counts)
    if unreadable:
        oldest = [0] * len(AGES) + [unreadable]
        add(DAMAGED, oldest)
        total = _sum(total, oldest)
    return groups, total


def _sum(counts: Sequence[int], more: Sequence[int]) -> list[int]:
    return [a + b for a, b in zip(counts, more, strict=True)]
