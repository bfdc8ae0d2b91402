"""Damage stays with the damaged: others are claimed, listed, counted and recovered all the same."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from operator import methodcaller
from pathlib import Path

import pytest

from relay.mail.entry import QueuedMail, State
from relay.mail.envelope import QUEUE_ID, Mail, QueueId, SenderName
from relay.operators import Selection
from relay.store.claiming import AGAIN, Claiming, Found
from relay.store.recovery import Recovered
from tests.unit.store.stores import JANE, JOHN, LARGE, LEASE, PATIENCE, Opened, failed, opened

# What is wrong with the first entry, and the complaint.
ROWS = [
    ("UPDATE entry SET reverse_path = CAST(x'6aff40' AS TEXT) WHERE id = 1", "UTF-8"),
    ("UPDATE entry SET reverse_path = 'nobody' WHERE id = 1", "not a mailbox"),
    ("UPDATE recipient SET address = 'jane doe' WHERE entry = 1", "not a mailbox"),
    ("UPDATE recipient SET address = '' WHERE entry = 1", "not a mailbox"),
    ("UPDATE recipient SET address = CAST(x'ff40ff' AS TEXT) WHERE entry = 1", "UTF-8"),
    ("DELETE FROM recipient WHERE entry = 1", "no recipients"),
    ("UPDATE recipient SET due_at = NULL WHERE entry = 1", "none of its recipients"),
    ("UPDATE entry SET arrived_at = 1 << 60 WHERE id = 1", "out of range"),
    ("UPDATE entry SET arrived_at = -(1 << 60) WHERE id = 1", "out of range"),
    ("UPDATE entry SET waited = 1 << 62 WHERE id = 1", "it cannot be read"),
    ("UPDATE entry SET state = 'lost' WHERE id = 1", "it is due although it is lost"),
    ("INSERT INTO attempt VALUES (1, 7, 'n', 0, 0, '')", "an attempt is under way"),
]
# The name of its content file.
NAMES = ["../spool.db", "/etc/passwd", "", "06H04YCY58GVCD1MB7K"]


@pytest.fixture(name="spool")
async def _spool(tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(tmp_path / "spool") as spool:
        yield spool


async def spoil(spool: Opened, statement: str) -> None:
    await spool.writer.run(methodcaller("execute", statement))


def spoilt(path: Path, octets: bytes) -> None:
    """Make the first page that is full of these octets lead nowhere, in a closed spool."""
    database = path / "spool.db"
    content = bytearray(database.read_bytes())
    page = content.index(octets * 4000) // 4096 * 4096
    # An overflow page begins with the number of the next one (sqlite.org/fileformat2.html 1.6).
    content[page : page + 4] = b"\x7f\xff\xff\xff"
    database.write_bytes(content)


@pytest.mark.P5
@pytest.mark.parametrize(("statement", "complaint"), ROWS)
async def test_a_damaged_row_is_set_aside_and_the_others_are_claimed(
    spool: Opened, statement: str, complaint: str
) -> None:
    bad = await spool.accept()
    good = [await spool.accept(JOHN) for _ in range(3)]
    await spoil(spool, statement)
    claims = await spool.claim(4)
    assert [claim.mail for claim in claims] == good
    (damaged,) = [fact[1] for fact in spool.facts.told if fact[0] == "damaged"]
    assert damaged[0].queue_id == bad.queue_id
    assert complaint in damaged[1]
    shown = await spool.show(bad)
    assert (shown.state, shown.due_at) == (State.CORRUPT, None)
    assert complaint in shown.reason
    assert (await spool.store.queue.counts())[State.CORRUPT] == 1
    # Nobody else notices.
    assert not await spool.claim(4)
    assert spool.store.spool.has_room_for(1)


@pytest.mark.P5
@pytest.mark.parametrize(("statement", "complaint"), ROWS[:9])
async def test_a_damaged_row_is_shown_and_keeps_no_other_from_being_shown(
    spool: Opened, statement: str, complaint: str
) -> None:
    mails = [await spool.accept(JANE), await spool.accept(JOHN)]
    await spoil(spool, statement)
    entries = await spool.entries()
    assert [entry.mail.queue_id for entry in entries] == sorted(m.queue_id for m in mails)
    assert (await spool.show(mails[0])).mail.queue_id == mails[0].queue_id
    assert sum((await spool.store.queue.counts()).values()) == 2
    assert len(await spool.entries(recipient=str(JOHN))) == 1


@pytest.mark.P5
async def test_a_state_nobody_knows_is_shown_and_counted_as_corrupt(spool: Opened) -> None:
    mail = await spool.accept()
    await spoil(spool, "UPDATE entry SET state = 'lost'")
    shown = await spool.show(mail)
    assert (shown.state, shown.reason) == (State.CORRUPT, "its state is unknown: lost")
    assert (await spool.store.queue.counts())[State.CORRUPT] == 1
    await spoil(spool, "UPDATE recipient SET state = 'lost'")
    assert (await spool.show(mail)).recipients[0].state is State.CORRUPT


@pytest.mark.P5
async def test_a_listing_comes_to_an_end_whatever_the_ids_are(spool: Opened) -> None:
    good = await spool.accept()
    await spool.accept()
    await spoil(spool, "UPDATE entry SET queue_id = CAST(x'ffff' AS TEXT) WHERE id = 2")
    after: str | None = ""
    seen = list[QueuedMail]()
    while after is not None:
        page, after = await spool.store.queue.find(Selection(), after, 1)
        seen += page
    assert [entry.mail.queue_id for entry in seen] == [good.queue_id, "\ufffd\ufffd"]


@pytest.mark.P5
@pytest.mark.parametrize("name", NAMES)
async def test_a_damaged_queue_id_leads_to_no_file(spool: Opened, name: str) -> None:
    mail = await spool.accept(content=LARGE)
    good = await spool.accept(content=LARGE)
    await spoil(spool, f"UPDATE entry SET queue_id = '{name}' WHERE id = 1")  # noqa: S608
    (claim,) = await spool.claim(2)
    assert claim.mail == good
    retried = await spool.retry(QueueId(name))
    assert retried is State.CORRUPT
    await spool.store.spool._contents.close()
    assert (spool.path / "content" / mail.queue_id).exists()
    assert not list((spool.path / "corrupt").iterdir())


@pytest.mark.P5
async def test_a_retry_of_a_damaged_row_tells_what_is_wrong_until_it_is_mended(
    spool: Opened,
) -> None:
    mail = await spool.accept()
    await spoil(spool, "UPDATE recipient SET address = 'nobody'")
    for _ in range(2):
        assert not await spool.claim()
        state = await spool.retry(mail)
        assert state is State.CORRUPT
    assert "not a mailbox" in (await spool.show(mail)).reason
    await spoil(spool, f"UPDATE recipient SET address = '{JANE}'")  # noqa: S608 - ours
    assert await spool.retry(mail) is State.READY
    assert (await spool.claim_one()).mail == mail


@pytest.mark.P5
@pytest.mark.parametrize("how", ["settle", "release", "hold", "retry"])
async def test_a_recipient_in_no_known_state_makes_its_entry_corrupt_at_last(
    spool: Opened, how: str
) -> None:
    mail = await spool.accept(JANE, JOHN)
    claim = await spool.claim_one()
    await spool.settle(claim, failed())
    queue, now = spool.store.queue, spool.clock.now()
    await spoil(spool, "UPDATE recipient SET state = 'lost' WHERE address LIKE 'jane%'")
    match how:
        case "settle":
            await queue.settle(claim, {JOHN: spool.deferred()}, now=now)
        case "release":
            await queue.release(claim, now=now, due_at=now)
        case "hold":
            await queue.hold(claim, "sender-removed", now=now)
        case _:
            await queue.release(claim, now=now, due_at=now)
            await spool.retry(mail)
    shown = await spool.show(mail)
    assert (shown.state, shown.reason) == (State.CORRUPT, "the state of a recipient is unknown")


# --- pages ----------------------------------------------------------------------------------------


@pytest.mark.P5
async def test_content_on_a_page_that_leads_nowhere_is_set_aside(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        bad = await spool.accept(content=b"b" * 50_000)
        good = [await spool.accept(content=b"g" * 50_000) for _ in range(3)]
    spoilt(tmp_path, b"b")
    async with opened(tmp_path) as spool:
        claims = await spool.claim(3)
        assert [claim.mail for claim in claims] == good
        assert "malformed" in (await spool.show(bad)).reason
        assert await spool.retry(bad) is State.CORRUPT
        assert spool.store.spool.has_room_for(1)
        await spool.accept()


def leaf_with(path: Path, mail: Mail) -> set[str]:
    """Spoil the page of the entry table that holds this row; return the ids on it."""
    database = path / "spool.db"
    with closing(sqlite3.connect(database)) as connection:
        # What rows have left behind on other pages would be found first.
        connection.execute("VACUUM")
    content = bytearray(database.read_bytes())
    # The id stands in its index too; beside the sender it is in the table.
    at = content.index((mail.queue_id + mail.sender).encode())
    page = slice(at // 4096 * 4096, at // 4096 * 4096 + 4096)
    names = set(re.findall(QUEUE_ID.pattern + mail.sender, content[page].decode("latin-1")))
    content[page.start] = 0xFF
    database.write_bytes(content)
    return {name[: len(mail.queue_id)] for name in names}


@pytest.mark.P5
async def test_rows_that_cannot_even_be_set_aside_keep_no_other_from_being_claimed(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as spool:
        # Each page of the table holds some tens of entries.
        mails = [await spool.accept() for _ in range(200)]
        spool.clock.advance(LEASE)
    lost = leaf_with(tmp_path, mails[3])
    async with opened(tmp_path) as spool:
        claims = await spool.claims({mails[0].sender: 300})
        taken = {claim.mail.queue_id for claim in claims.taken}
        assert taken == {mail.queue_id for mail in mails} - lost
        assert claims.next_due == {mails[0].sender: spool.clock.now() + AGAIN}
        assert "spool_failed" in spool.facts.names()
        assert spool.store.spool.has_room_for(1)
        entries = await spool.entries()
        assert [e.mail.queue_id for e in entries] == sorted(mail.queue_id for mail in mails)
        unreadable = {e.mail.queue_id for e in entries if "malformed" in e.reason}
        assert unreadable == lost


@pytest.mark.P5
@pytest.mark.P6
async def test_a_damaged_index_does_not_stop_the_senders_beside_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        for sender in ("aaaaaaaa", "zzzzzzzz"):
            for _ in range(300):
                await spool.accept(sender=SenderName(sender))
    database = tmp_path / "spool.db"
    content = bytearray(database.read_bytes())
    for at in range(0, len(content), 4096):
        page = content[at : at + 4096]
        # A leaf of an index (sqlite.org/fileformat2.html 1.6) that names this sender alone.
        if page[0] == 0x0A and page.count(b"zzzzzzzz") > 20 and b"aaaaaaaa" not in page:
            content[at] = 0xFF
    database.write_bytes(content)
    async with opened(tmp_path) as spool:
        wants = {SenderName("zzzzzzzz"): 300, SenderName("aaaaaaaa"): 300}
        claims = await spool.claims(wants)
        # Those whose own entries of the index lie beside the damage wait as well.
        assert sum(claim.mail.sender == "aaaaaaaa" for claim in claims.taken) > 100
        assert claims.next_due[SenderName("zzzzzzzz")] == spool.clock.now() + AGAIN
        assert spool.store.spool.has_room_for(1)


@pytest.mark.P5
async def test_around_what_cannot_be_read_a_claim_keeps_to_its_wants_and_its_room(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as spool:
        mails = [await spool.accept(JANE, JOHN) for _ in range(100)]
    leaf_with(tmp_path, mails[3])
    async with opened(tmp_path) as spool:
        wants = {mails[0].sender: 3, SenderName("nobody"): 1}
        assert len((await spool.claims(wants)).taken) == 3
        assert len((await spool.claims(wants, room=3)).taken) == 2


@pytest.mark.P5
async def test_claims_made_around_damage_are_given_back_when_nobody_waits_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as spool:
        mails = [await spool.accept() for _ in range(100)]
    leaf_with(tmp_path, mails[3])
    async with opened(tmp_path) as spool:
        claim, made = spool.store.queue._claim, list[Found]()

        async def until_the_second(claiming: Claiming) -> Found:
            found = await claim(claiming)
            made.append(found)
            if len(made) == 2:
                raise asyncio.CancelledError
            return found

        monkeypatch.setattr(spool.store.queue, "_claim", until_the_second)
        with pytest.raises(asyncio.CancelledError):
            await spool.claims({mails[0].sender: 5})
        await spool.come_round()
        assert (await spool.store.queue.counts())[State.IN_FLIGHT] == 1
        assert len(made[0].leases) == 1


# --- at the start ---------------------------------------------------------------------------------


@pytest.mark.P5
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET state = 'lost'",
        "UPDATE recipient SET state = 'lost'",
        "UPDATE entry SET reverse_path = CAST(x'ff' AS TEXT)",
        "UPDATE entry SET arrived_at = 1 << 60",
        "UPDATE recipient SET address = CAST(x'ff' AS TEXT)",
        "UPDATE attempt SET recipients = CAST(x'ff' AS TEXT)",
        "UPDATE attempt SET recipients = 'stranger@example.net'",
        "DELETE FROM recipient",
        "DELETE FROM attempt",
    ],
)
async def test_no_damage_to_rows_keeps_the_relay_from_starting(
    tmp_path: Path, statement: str
) -> None:
    async with opened(tmp_path / "a") as spool:
        await spool.accept()
        await spool.accept(content=LARGE)
        assert len(await spool.claim(2)) == 2
        await spoil(spool, statement)
        shutil.copytree(tmp_path / "a", tmp_path / "b")
    async with opened(tmp_path / "b") as spool:
        good = await spool.accept(JOHN)
        spool.clock.advance(LEASE)
        assert good in [claim.mail for claim in await spool.claim(5)]


@pytest.mark.P5
@pytest.mark.parametrize("content", [b"small", LARGE])
async def test_rows_that_cannot_be_read_keep_the_relay_from_neither_starting_nor_recovering(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "b"
    async with opened(tmp_path / "a") as spool:
        mails = [await spool.accept(content=content) for _ in range(100)]
        assert len(await spool.claim(100)) == 100
        shutil.copytree(tmp_path / "a", path)
    with closing(sqlite3.connect(path / "spool.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    lost = leaf_with(path, mails[3])
    stray = path / "content" / "06H04YCY58GVCD1MB7KG"
    stray.write_bytes(b"whose this is nobody can tell")
    async with opened(path) as spool:
        entries, ambiguous, strays, corrupt = spool.store.recovered
        assert (entries, strays, corrupt) == (100, 1, 0)
        assert (path / "corrupt" / stray.name).exists()
        # Rows beside the damaged page may not be writable either: they stay as they are, and no
        # attempt that may have gone out is taken for one that has not.
        assert 0 < ambiguous <= 100 - len(lost)
        counts = await spool.store.queue.counts()
        assert counts[State.AMBIGUOUS] == ambiguous
        assert counts[State.IN_FLIGHT] == 100 - ambiguous
        spool.clock.advance(PATIENCE)
        assert await spool.claim(1)


@pytest.mark.P5
async def test_a_file_whose_row_lost_its_name_is_not_thrown_away(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        mail = await spool.accept(content=LARGE)
        await spoil(spool, "UPDATE entry SET queue_id = '06H04YCY58GVCD1MB7KG'")
    for _ in range(2):
        async with opened(tmp_path) as spool:
            assert spool.store.recovered.entries == 1
            shown = await spool.store.queue.show(QueueId("06H04YCY58GVCD1MB7KG"))
            assert shown is not None
            assert shown.state is State.CORRUPT
        assert (tmp_path / "corrupt" / mail.queue_id).read_bytes() == LARGE


@pytest.mark.P5
async def test_a_file_that_cannot_be_looked_at_at_the_start_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as spool:
        mail = await spool.accept(content=LARGE)

    def refuse(path: Path, size: int) -> str:
        raise PermissionError(13, os.strerror(13), str(path))

    with monkeypatch.context() as patched:
        patched.setattr("relay.store.recovery.complaint_of_file", refuse)
        async with opened(tmp_path) as spool:
            assert spool.store.recovered == Recovered(1, 0, 0, 0)
            assert "spool_failed" in spool.facts.names()
            assert (await spool.show(mail)).state is State.READY
            assert (await spool.claim_one()).mail == mail
