"""Which entries a selection means, found stretch by stretch of the queue, in order of queue id.

Knows the tables, and how much one question may go through. Does not know what is done to entries.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence
from sqlite3 import Connection
from sqlite3 import Error as SqliteError
from typing import Any, Final, NamedTuple

from relay.mail.entry import State
from relay.operators import Selection
from relay.store.columns import milliseconds
from relay.store.trouble import is_damage

NO_END: Final = (1 << 63) - 1
"""The newest entry there can be."""

# Entries gone through in one question: some 10 ms of the reader's time, also where recipients are
# looked at and each entry has a thousand (relay.config allows no more).
_SHALLOW: Final = 5000
_DEEP: Final = 500

_STRETCH: Final = """
    SELECT queue_id FROM entry WHERE queue_id > :after AND id <= :newest
    ORDER BY queue_id LIMIT :most"""
# Rows come in one JSON array, as each row of an answer costs a wait for the interpreter lock. The
# first two are answered from the index alone, so that no damaged row is met.
_LAST_OF: Final = f"SELECT max(queue_id), count(*) FROM ({_STRETCH})"  # noqa: S608 - our own names
_NAMES: Final = """
    SELECT json_group_array(json_array(id, queue_id)) FROM (
        SELECT id, queue_id FROM entry WHERE {which} ORDER BY queue_id)"""
_PLACES: Final = """
    SELECT json_group_array(json_array(id, queue_id, state, recipients, octets)) FROM (
        SELECT id, queue_id, state, (SELECT count(*) FROM recipient WHERE entry = id) AS recipients,
            iif(in_file, 0, size) AS octets
        FROM entry WHERE {which} ORDER BY queue_id)"""
# The end is found again: one that is damaged is not what it is read as.
_RANGE: Final = (
    f"queue_id > :after AND queue_id <= (SELECT max(queue_id) FROM ({_STRETCH})) "  # noqa: S608
    "AND id <= :newest"
)
_NAMED: Final = "queue_id IN (SELECT value FROM json_each(:queue_ids))"
_ONE: Final = "id = :id"

_OF_RECIPIENT: Final = "EXISTS (SELECT 1 FROM recipient WHERE entry = id AND {which})"
_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class Criteria(NamedTuple):
    """A selection in SQL: what follows on from another condition, and its words."""

    sql: str
    words: Mapping[str, Any]
    is_deep: bool
    """Whether recipients are looked at."""
    takes_damaged: bool
    """Whether what cannot be judged is meant too."""


class Stretch(NamedTuple):
    """A part of the queue, in SQL."""

    sql: str
    words: Mapping[str, Any]


class Place(NamedTuple):
    """An entry that is meant, and what it weighs: its recipients, and its octets in the row."""

    id: int
    queue_id: str
    state: str
    recipients: int
    octets: int


def criteria_of(selection: Selection) -> Criteria:
    """Return a selection in SQL, for a stretch that knows the ids."""
    parts: list[str] = []
    words: dict[str, Any] = {}

    def ask(sql: str, **more: Any) -> None:
        parts.append(f" AND {sql}")
        words.update(more)

    if selection.sender is not None:
        ask("entry.sender = :sender", sender=selection.sender)
    if selection.states:
        states = "SELECT value FROM json_each(:states)"
        # What is in a state we do not know is shown as corrupt.
        strange = "entry.state NOT IN (SELECT value FROM json_each(:known_states))"
        is_corrupt = f" OR {strange}" if State.CORRUPT in selection.states else ""
        ask(f"(entry.state IN ({states}){is_corrupt})", states=json.dumps(sorted(selection.states)))
        if is_corrupt:
            words["known_states"] = json.dumps(list(State))
    if selection.arrived_before is not None:
        ask("arrived_at <= :before", before=milliseconds(selection.arrived_before))
    if selection.arrived_after is not None:
        ask("arrived_at >= :since", since=milliseconds(selection.arrived_after))
    if selection.message_id:
        ask("message_id = :message_id", message_id=selection.message_id)
    if selection.recipient:
        address = _lower(selection.recipient)
        ask(_OF_RECIPIENT.format(which="lower(address) = :address"), address=address)
    if selection.domain:
        # A quoted local part may hold anything, but the domain is what stands at the end.
        which = "substr(lower(address), -length(:domain)) = :domain"
        ask(_OF_RECIPIENT.format(which=which), domain=f"@{_lower(selection.domain)}")
    if selection.reason:
        which = "instr(lower(recipient.reason || ': ' || detail), :why)"
        deep = _OF_RECIPIENT.format(which=which)
        ask(f"(instr(lower(entry.reason), :why) OR {deep})", why=_lower(selection.reason))
    is_deep = bool(selection.recipient or selection.domain or selection.reason)
    takes_damaged = not parts or State.CORRUPT in selection.states
    return Criteria("".join(parts), words, is_deep, takes_damaged)


def newest(connection: Connection) -> int:
    """Return the number of the newest entry; what comes later has a higher one."""
    (found,) = connection.execute("SELECT coalesce(max(id), 0) FROM entry").fetchone()
    return int(found)


def stretch_after(
    connection: Connection,
    selection: Selection,
    after: str,
    *,
    until: int = NO_END,
    deep: bool = False,
    wanted: int = _SHALLOW,
) -> tuple[Stretch | None, str | None]:
    """Return the stretch that begins after a queue id, and where the next begins; None at the end.

    Only entries numbered up to `until` are in it. It is shorter if it is to be gone through `deep`,
    down to the recipients, or if no more are `wanted` and all of them will do.
    """
    most = _DEEP if deep or criteria_of(selection).is_deep else _SHALLOW
    if selection.is_everything:
        most = min(most, wanted)
    if selection.queue_ids:
        ids = sorted(one for one in selection.queue_ids if one > after or not after)
        stretch = Stretch(_NAMED, {"queue_ids": json.dumps(ids[:most])})
        return (stretch if ids else None), (ids[most - 1] if len(ids) > most else None)
    words = {"after": after, "newest": until, "most": most}
    last, count = connection.execute(_LAST_OF, words).fetchone()
    if not count:
        return None, None
    # A damaged id may be read as one that sorts before itself: we would come to it for ever.
    is_end = count < most or last <= after
    return Stretch(_RANGE, words), (None if is_end else last)


def places(
    connection: Connection, stretch: Stretch, criteria: Criteria
) -> tuple[list[Place], list[tuple[int, str]]]:
    """Return the entries of a stretch that are meant, in order, and those that cannot be read."""
    try:
        return _places(connection, stretch, criteria), []
    except SqliteError as error:
        if not is_damage(error):
            raise
    found: list[Place] = []
    damaged: list[tuple[int, str]] = []
    question = _NAMES.format(which=stretch.sql)
    (names,) = connection.execute(question, dict(stretch.words)).fetchone()
    for number, queue_id in json.loads(names):
        try:
            found += _places(connection, Stretch(_ONE, {"id": number}), criteria)
        except SqliteError as error:
            if not is_damage(error):
                raise
            damaged.append((number, queue_id))
    return found, damaged if criteria.takes_damaged else []


def by_weight(
    found: Sequence[Place], *, entries: int, recipients: int, octets: int | None
) -> list[list[Place]]:
    """Cut a list into pages, each of which is heavier than that by its last entry at most."""
    pages: list[list[Place]] = []
    left = [0]
    for place in found:
        if min(left) <= 0:
            pages.append([])
            left = [entries, recipients] + ([] if octets is None else [octets])
        pages[-1].append(place)
        weights = (1, place.recipients, place.octets)
        left = [rest - weight for rest, weight in zip(left, weights, strict=False)]
    return pages


def _places(connection: Connection, stretch: Stretch, criteria: Criteria) -> list[Place]:
    question = _PLACES.format(which=stretch.sql + criteria.sql)
    words = {**stretch.words, **criteria.words}
    (found,) = connection.execute(question, words).fetchone()
    return [Place(*row) for row in json.loads(found)]


def _lower(text: str) -> str:
    """Fold case as SQLite's lower() does."""
    return text.translate(_LOWER)
