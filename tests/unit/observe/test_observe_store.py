"""What the store tells: its log lines say what follows, its metrics are there from the start."""

from __future__ import annotations

import sqlite3

import pytest

from tests.unit.observe.test_observe_maillog import Log


@pytest.fixture(name="log")
def _log() -> Log:
    return Log()


def an_sqlite_error(code: int, name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("it failed")
    error.sqlite_errorcode, error.sqlite_errorname = code, name
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (an_sqlite_error(sqlite3.SQLITE_FULL, "SQLITE_FULL"), "no_space"),
        (an_sqlite_error(sqlite3.SQLITE_IOERR_WRITE, "SQLITE_IOERR_WRITE"), "io"),
        (an_sqlite_error(sqlite3.SQLITE_BUSY, "SQLITE_BUSY"), "other"),
        (sqlite3.IntegrityError("no code"), "other"),
        (OSError(28, "No space left on device"), "no_space"),
        (OSError(122, "Disk quota exceeded"), "no_space"),
        (OSError(5, "Input/output error"), "io"),
    ],
)
def test_a_failed_commit_is_counted_by_its_reason(
    log: Log, error: BaseException, reason: str
) -> None:
    sample = f'relay_spool_commit_failures_total{{reason="{reason}"}}'
    assert log.value(sample) == 0
    log.facts.spool_failed(error)
    assert log.value(sample) == 1
    assert log.lines()[-1]["event"] == "spool.failed"


def test_a_commit_is_counted_by_its_operations_and_its_time(log: Log) -> None:
    log.facts.spool_committed(7, 0.003)
    log.facts.spool_committed(1, 0.001)
    assert log.value("relay_spool_commit_operations_sum") == 8
    assert log.value("relay_spool_commit_operations_count") == 2
    assert log.value('relay_spool_commit_operations_bucket{le="1.0"}') == 1
    assert log.value('relay_spool_commit_duration_seconds_bucket{le="0.001"}') == 1


@pytest.mark.parametrize(
    ("database", "follows"), [("spool.db", "mail is refused"), ("record.db", "mail flows")]
)
def test_a_database_out_of_order_is_told_with_what_follows(
    log: Log, database: str, follows: str
) -> None:
    log.facts.database_turned(database, is_well=False, complaint="disk I/O error")
    log.facts.database_turned(database, is_well=True, complaint="")
    worse, better = log.lines()
    assert (worse["event"], worse["level"]) == ("database.unavailable", "error")
    assert worse["complaint"] == "disk I/O error"
    assert worse["follows"].startswith(follows)
    assert (better["event"], better["database"]) == ("database.available", database)


def test_a_start_without_the_suppression_list_is_told_by_how_bad_it_is(log: Log) -> None:
    log.facts.suppressions_recalled(is_whole=True)
    log.facts.suppressions_recalled(is_whole=False)
    assert [(line["event"], line["level"]) for line in log.lines()] == [
        ("suppression.recalled", "warning"),
        ("suppression.unknown", "error"),
    ]


def test_what_a_start_found_is_counted(log: Log) -> None:
    log.facts.spool_recovered(10, 1, 2, 3)
    assert log.value("relay_spool_stray_files_total") == 2
    assert log.value("relay_spool_corrupt_entries_total") == 3


def test_what_is_looked_at_has_its_place_from_the_start(log: Log) -> None:
    for name in ("free_bytes", "reserve_bytes", "outcome_reserve_bytes"):
        assert log.value(f"relay_spool_{name}") == 0
    for database in ("spool", "record"):
        assert log.value(f'relay_database_available{{database="{database}"}}') == 0
        assert log.value(f'relay_database_wal_bytes{{database="{database}"}}') == 0
    assert log.value("relay_outbox_lines") == 0
