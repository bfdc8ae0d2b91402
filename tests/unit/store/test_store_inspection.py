"""A look at a whole spool finds what is damaged, and nothing where nothing is."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from relay.ports import SpoolError
from relay.store import Inspection, inspection
from relay.store.inspection import TooBusyError
from relay.store.schema import connect_to_read
from tests.unit.store.stores import LARGE, SMALL, Opened, opened, relayed

pytestmark = pytest.mark.P5


def looked(path: Path) -> dict[str, str]:
    """Return the complaints by place."""
    return {damage.where: damage.complaint for damage in Inspection(path).damages()}


async def filled(spool: Opened) -> list[str]:
    """Return the queue ids of four mails, two of them in files."""
    mails = [await spool.accept(content=content) for content in (SMALL, LARGE, SMALL, LARGE)]
    return [mail.queue_id for mail in mails]


async def test_a_whole_spool_has_no_damage_running_or_stopped(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await filled(spool)
        looking = Inspection(tmp_path)
        assert not list(looking.damages())
        assert (looking.entries, looking.strays) == (4, 0)
        # It was looked at by somebody else, and goes on.
        assert await spool.settle(await spool.claim_one(), relayed()) is None
    assert not looked(tmp_path)


async def test_damaged_content_is_found_in_rows_and_files(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        in_row, missing, whole, changed = await filled(spool)
        short = (await spool.accept(content=LARGE)).queue_id
        lost = (await spool.accept()).queue_id
    content = tmp_path / "content"
    (content / missing).unlink()
    (content / changed).write_bytes(LARGE[:-1] + b"!")
    (content / short).write_bytes(LARGE[:-1])
    (content / "06H04YCY58GVCD1MB7KG").write_bytes(b"never acknowledged")
    with closing(sqlite3.connect(tmp_path / "spool.db", isolation_level=None)) as connection:
        update = (
            "UPDATE content SET octets = ? WHERE entry = (SELECT id FROM entry WHERE queue_id = ?)"
        )
        connection.execute(update, (SMALL[:-1] + b"!", in_row))
        connection.execute(
            "DELETE FROM content WHERE entry = (SELECT id FROM entry WHERE queue_id = ?)", (lost,)
        )
    looking = Inspection(tmp_path)
    damages = list(looking.damages())
    assert {damage.where: damage.complaint for damage in damages} == {
        in_row: "its content fails its checksum",
        missing: "its content file is missing",
        changed: "its content file fails its checksum",
        short: f"its content file has {len(LARGE) - 1} octets instead of {len(LARGE)}",
        lost: "its content is missing",
    }
    assert all(f"relay queue retry {damage.where}" in damage.remedy for damage in damages)
    assert (looking.entries, looking.strays) == (6, 1)
    assert whole not in str(damages)


async def test_what_was_set_aside_is_told_until_somebody_sees_to_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await spool.accept()
        claim = await spool.claim_one()
        await spool.store.queue.damaged(claim, "half", now=spool.clock.now())
        assert looked(tmp_path) == {claim.mail.queue_id: "it was set aside as corrupt"}


@pytest.mark.parametrize("name", ["spool.db", "record.db"])
async def test_a_damaged_database_is_told_with_what_to_do(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path) as spool:
        for _ in range(100):
            await spool.accept(content=b"x" * 3000)
        for claim in await spool.claim(50):
            await spool.settle(claim, relayed())
    path = tmp_path / name
    octets = bytearray(path.read_bytes())
    # Every page but the first two, which tell what tables there are.
    for at in range(8 * 4096, len(octets), 4096):
        octets[at : at + 64] = b"\xff" * 64
    path.write_bytes(octets)
    damages = list(Inspection(tmp_path).damages())
    assert any(damage.where == name for damage in damages)
    assert all(".recover" in damage.remedy for damage in damages if damage.where == name)


async def test_what_is_no_database_is_damage_too(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    (tmp_path / "record.db").write_bytes(b"not a database, but long enough to be one" * 100)
    assert looked(tmp_path) == {"record.db": "file is not a database"}


def test_where_there_is_no_spool_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match=r"has no spool\.db"):
        looked(tmp_path)


async def test_a_busy_relay_is_not_held_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as spool:
        for _ in range(20):
            await spool.accept(content=b"x" * 3000)
        monkeypatch.setattr(inspection, "_STEPS", 1)
        monkeypatch.setattr(inspection, "_HELD_UP", 0)
        with pytest.raises(TooBusyError, match="in a quiet hour"):
            looked(tmp_path)


async def test_mail_that_leaves_while_it_is_looked_at_is_no_damage(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await filled(spool)
        with closing(connect_to_read(tmp_path / "spool.db")) as connection:
            rows = connection.execute(inspection._ENTRIES, (0, 10)).fetchall()
            for claim in await spool.claim(4):
                await spool.settle(claim, relayed())
            await spool.store.spool._contents.close()
            assert not list((tmp_path / "content").iterdir())
            looking = Inspection(tmp_path)
            found = [damage for row in rows for damage in looking._entry(connection, *row)]
            assert (len(rows), found) == (4, [])
