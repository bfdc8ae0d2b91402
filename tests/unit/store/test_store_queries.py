"""What is asked on the way of every mail is found by key, however long the queue is."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from relay.mail.entry import State
from relay.mail.envelope import SenderName
from relay.operators import Axis, Selection
from relay.store import (
    claiming,
    due,
    expiry,
    ledger,
    lifetime,
    looking,
    nearing,
    pauses,
    purging,
    recovery,
    returning,
    schema,
    selecting,
    settling,
    shaping,
    turning,
    view,
)
from tests.builders import ARRIVED

EVERY_CRITERION = Selection(
    sender=SenderName("billing"),
    recipient="jane@example.net",
    domain="example.net",
    states=frozenset(State),
    arrived_before=ARRIVED,
    arrived_after=ARRIVED,
    message_id="1@erp.example.com",
    reason="throttled",
)
CRITERIA = selecting.criteria_of(EVERY_CRITERION).sql
WHICH = [where + CRITERIA for where in (selecting._RANGE, selecting._NAMED, selecting._ONE)]

SPOOL_STATEMENTS = [
    due._DUE,
    due._IDS,
    due._ONE,
    due._ONE_DUE,
    due._SHOWN,
    claiming._TAKE,
    claiming._SET_ASIDE,
    claiming._POSTPONE,
    claiming._NEXT_DUE,
    settling._LEASED,
    *settling._RETIRE,
    settling._UPDATE,
    settling._GONE,
    settling._COUNT_UNSETTLED,
    settling._RELEASE,
    settling._STATES,
    settling._TURN_RECIPIENTS,
    settling._TURN,
    recovery._CLAIMED,
    recovery._MARKED,
    recovery._UNMARKED,
    recovery._CLAIMED_IDS,
    recovery._ATTEMPTS,
    recovery._IN_FILES,
    recovery._IN_FILE_IDS,
    returning._FIND,
    returning._ORPHANS,
    *returning._READMIT,
    lifetime._COUNT,
    looking._STANDING,
    expiry._ENTRY,
    expiry._RECIPIENTS_OF,
    expiry._GIVE_UP,
    nearing._NEARER,
    nearing._DUE_AGAIN,
    pauses._SINCE,
    pauses._SOME,
    pauses._LET_GO,
    pauses._UNTRIED,
    pauses._RESUME,
    purging._SPENT,
    purging._TOLD,
    view._SOME,
    view._ONE,
    view._BY_NUMBER,
    selecting._LAST_OF,
    selecting._NAMES.format(which=selecting._RANGE),
    *(selecting._PLACES.format(which=which) for which in WHICH),
    *(shaping.question_for(axis, WHICH[0]) for axis in Axis),
    turning._FIND.format(criteria=CRITERIA),
    turning._TURN_RECIPIENTS,
    turning._TURN_ENTRIES,
    turning._FORGET_ATTEMPTS,
]
RECORD_STATEMENTS = [
    *ledger._BY_MAIL,
    *ledger._BY_RECIPIENT,
    *ledger._BY_MESSAGE,
    ledger._MAIL_OF,
    ledger._MAILS_WITH,
    purging._LEDGER_PAGE,
    purging._LEDGER,
    purging._LEDGER_REST,
    purging._MESSAGE_PAGE,
    purging._MESSAGES,
    purging._FEEDBACK,
    purging._EVENT,
    purging._AUDIT,
]


# What a statement is given, or has found itself.
HARMLESS = re.compile(r"VIRTUAL TABLE|^SCAN (\(subquery|CONSTANT ROW|known)")


def in_words(statement: str) -> str:
    return " ".join(statement.split())[:60]


@pytest.fixture(name="databases", scope="module")
def _databases(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, sqlite3.Connection]]:
    path: Path = tmp_path_factory.mktemp("plans")
    with (
        closing(schema.connect(path / "spool.db")) as spool,
        closing(schema.connect(path / "record.db")) as record,
    ):
        schema.migrate(spool, schema.SPOOL)
        schema.migrate(record, schema.RECORD)
        yield {"spool": spool, "record": record}


def plan(connection: sqlite3.Connection, statement: str) -> list[str]:
    names = re.findall(r":([a-z_]+)", statement)
    values = dict.fromkeys(names) if names else [None] * statement.count("?")
    rows = connection.execute("EXPLAIN QUERY PLAN " + statement, values).fetchall()
    return [row[3] for row in rows]


@pytest.mark.P6
@pytest.mark.parametrize("statement", SPOOL_STATEMENTS, ids=in_words)
def test_nothing_of_the_spool_is_gone_through_from_end_to_end(
    databases: dict[str, sqlite3.Connection], statement: str
) -> None:
    scans = [step for step in plan(databases["spool"], statement) if step.startswith("SCAN")]
    assert all(HARMLESS.search(scan) for scan in scans), scans


@pytest.mark.parametrize("statement", RECORD_STATEMENTS, ids=in_words)
def test_nothing_of_the_record_is_gone_through_from_end_to_end(
    databases: dict[str, sqlite3.Connection], statement: str
) -> None:
    scans = [step for step in plan(databases["record"], statement) if step.startswith("SCAN")]
    assert all(HARMLESS.search(scan) for scan in scans), scans


def test_a_page_of_the_queue_is_found_by_key(databases: dict[str, sqlite3.Connection]) -> None:
    steps = plan(databases["spool"], looking._LAST)
    assert "SEARCH entry USING INTEGER PRIMARY KEY (rowid>?)" in steps
    assert not [step for step in steps if "ORDER BY" in step]


def test_what_is_due_is_found_in_order(databases: dict[str, sqlite3.Connection]) -> None:
    steps = plan(databases["spool"], due._DUE)
    assert steps[0] == "SEARCH entry USING INDEX entry_due (sender=? AND due_at<?)"
    assert not [step for step in steps if "ORDER BY" in step]
