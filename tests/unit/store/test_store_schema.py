"""Databases are brought up to date, and never taken for older ones."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from relay.ports import SpoolError
from relay.store import schema
from tests.unit.store.stores import opened, relayed

FIRST = ("CREATE TABLE fruit (name TEXT) STRICT", "INSERT INTO fruit VALUES ('apple')")
SECOND = ("ALTER TABLE fruit ADD COLUMN weight INTEGER NOT NULL DEFAULT 1",)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(schema.connect(tmp_path / "test.db")) as connection:
        yield connection


def version_of(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    assert isinstance(version, int)
    return version


@pytest.mark.parametrize("migrations", [schema.SPOOL, schema.RECORD])
def test_an_empty_file_becomes_the_newest_version(
    connection: sqlite3.Connection, migrations: tuple[schema.Migration, ...]
) -> None:
    schema.migrate(connection, migrations)
    assert version_of(connection) == len(migrations)
    schema.migrate(connection, migrations)
    assert version_of(connection) == len(migrations)


def test_a_file_of_version_one_keeps_its_rows(connection: sqlite3.Connection) -> None:
    schema.migrate(connection, [FIRST])
    schema.migrate(connection, [FIRST, SECOND])
    assert version_of(connection) == 2
    assert connection.execute("SELECT name, weight FROM fruit").fetchall() == [("apple", 1)]


def test_a_migration_that_fails_leaves_nothing(connection: sqlite3.Connection) -> None:
    schema.migrate(connection, [FIRST])
    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(connection, [FIRST, (*SECOND, "CREATE TABLE fruit (again)")])
    assert version_of(connection) == 1
    assert connection.execute("SELECT * FROM fruit").fetchall() == [("apple",)]


def test_a_file_of_a_newer_release_is_refused(connection: sqlite3.Connection) -> None:
    schema.migrate(connection, [FIRST, SECOND])
    with pytest.raises(SpoolError, match=r"test\.db has version 2, .* written by a newer release"):
        schema.migrate(connection, [FIRST])


@pytest.mark.P1
def test_commits_are_fsynced_and_space_can_be_given_back(connection: sqlite3.Connection) -> None:
    schema.migrate(connection, schema.SPOOL)
    found = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "auto_vacuum")
    }
    assert found == {"journal_mode": "wal", "synchronous": 2, "auto_vacuum": 2}


def test_the_log_is_written_over_and_cut_off_only_when_far_above_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_WAL_PAGES", 20)
    monkeypatch.setattr(schema, "_WAL_LIMIT", 100 * 4096)
    log = tmp_path / "test.db-wal"
    with closing(schema.connect(tmp_path / "test.db")) as connection:
        schema.migrate(connection, [FIRST])

        def lengths(count: int) -> set[int]:
            found = set()
            for _ in range(count):
                connection.execute("UPDATE fruit SET name = hex(randomblob(8000))")
                found.add(log.stat().st_size)
            return found

        lengths(20)
        steady = lengths(50)
        assert len(steady) == 1
        with closing(schema.connect_to_read(tmp_path / "test.db")) as reader:
            # A long look keeps the log from being begun anew.
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM fruit").fetchall()
            assert max(lengths(50)) > 2 * 100 * 4096
        lengths(20)
        assert log.stat().st_size <= 100 * 4096


def test_a_spool_of_the_first_days_has_all_indices_in_the_end(tmp_path: Path) -> None:
    found = []
    for name, first in (("old", schema.SPOOL[0]), ("new", ())):
        with closing(schema.connect(tmp_path / f"{name}.db")) as connection:
            if first:
                earlier = tuple(one for one in first if "entry_file_name" not in one)
                assert len(earlier) == len(first) - 1
                schema.migrate(connection, [earlier])
            schema.migrate(connection, schema.SPOOL)
            found.append({name for (name,) in connection.execute("SELECT name FROM sqlite_schema")})
    assert found[0] == found[1]


def test_an_old_sqlite_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 31, 1))
    with pytest.raises(SpoolError, match=r"too old; 3\.38\.0 is needed"):
        schema.connect(tmp_path / "test.db")


def test_a_reader_cannot_write(connection: sqlite3.Connection, tmp_path: Path) -> None:
    schema.migrate(connection, [FIRST])
    with closing(schema.connect_to_read(tmp_path / "test.db")) as reader:
        assert reader.execute("SELECT name FROM fruit").fetchall() == [("apple",)]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("DELETE FROM fruit")


@pytest.mark.P1
async def test_mail_of_the_first_version_goes_on_in_the_newest(tmp_path: Path) -> None:
    """Its entries, and what its ledger was still to be told."""
    with closing(schema.connect(tmp_path / "spool.db")) as spool:
        schema.migrate(spool, schema.SPOOL[:1])
        spool.execute(
            "INSERT INTO entry VALUES (1, '06H04YCY58GVCD1MB7KG', 'billing', 'a@example.com', "
            "0, 2, 1293356558, 0, 'scheduled', 0, 'throttled', 0, 1, 0, 0, 0)"
        )
        spool.execute("INSERT INTO content VALUES (1, x'4869')")
        spool.execute(
            "INSERT INTO recipient VALUES "
            "(1, 'jane@example.net', 0, 'scheduled', 1, 0, 0, 'throttled', '', 1)"
        )
        spool.execute(
            "INSERT INTO outbox VALUES (1, '06H04YCY58GVCD1MB7KG', 'jane@example.net', 1, "
            "'deferred', 0, 'billing', 'a@example.com', 0, 2, '', 'slow down')"
        )
    with closing(schema.connect(tmp_path / "record.db")) as record:
        schema.migrate(record, schema.RECORD[:1])
    async with opened(tmp_path) as store:
        assert await store.facts_of("06H04YCY58GVCD1MB7KG") == ["deferred"]
        claim = await store.claim_one()
        assert (claim.content, claim.mail.message_id) == (b"Hi", "")
        assert await store.settle(claim, relayed()) is None
        assert await store.facts_of("06H04YCY58GVCD1MB7KG") == ["deferred", "relayed"]


def test_mail_of_a_spool_without_x_ses_fields_asks_for_nothing(
    connection: sqlite3.Connection,
) -> None:
    schema.migrate(connection, schema.SPOOL[:4])
    connection.execute(
        "INSERT INTO entry (queue_id, sender, reverse_path, arrived_at, size, crc32, in_file,"
        " state, reason, since, token, entered_up) "
        "VALUES ('06H04YCY58GVCD1MB7KG', 'app', '', 0, 1, 2, 0, 'ready', '', 0, 0, 0)"
    )
    schema.migrate(connection, schema.SPOOL)
    assert connection.execute("SELECT size, ses_headers FROM entry").fetchall() == [(1, "")]
