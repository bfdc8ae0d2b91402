"""record.db cannot be used: mail flows, the outbox grows, and nobody is mailed who should not be."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from relay.mail.feedback import Suppression, SuppressionReason
from relay.ports import SpoolError
from relay.store import thread
from relay.store.digests import Digests
from relay.store.disk import replace_file
from tests.unit.store.stores import JANE, JOE, JOHN, Opened, opened, relayed

NO_DATABASE = b"not a database, but long enough to be one" * 100


async def suppress(spool: Opened, address: str) -> None:
    since = spool.clock.now()
    entry = Suppression(address, SuppressionReason.COMPLAINT, "spam", since, "event-1")
    await spool.store.record.suppress(entry, actor="test")


async def flow(spool: Opened) -> None:
    """Have a mail come and go."""
    mail = await spool.accept(JANE)
    claim = await spool.claim_one()
    assert claim.mail == mail
    assert await spool.settle(claim, relayed()) is None


def turns(spool: Opened) -> list[tuple[str, bool]]:
    return [
        (args[0], words["is_well"])
        for (name, args), (_, words) in zip(spool.facts.told, spool.facts.words, strict=True)
        if name == "database_turned"
    ]


@pytest.mark.P5
async def test_mail_flows_at_a_start_without_it_and_the_outbox_grows(tmp_path: Path) -> None:
    (tmp_path / "record.db").write_bytes(NO_DATABASE)
    async with opened(tmp_path) as spool:
        for count in range(1, 4):
            await flow(spool)
            assert (await spool.store.measure()).backlog.outbox == count
        assert turns(spool) == [("record.db", False)]
        found = await spool.store.measure()
        assert (found.spool_is_well, found.record_is_well) == (True, False)
        assert spool.store.spool.has_room_for(1)
        with pytest.raises(SpoolError, match=r"record\.db cannot be opened"):
            await suppress(spool, str(JANE))
        with pytest.raises(SpoolError, match=r"record\.db"):
            await spool.store.record.list_suppressed("", 10)
    assert (tmp_path / "record.db").read_bytes() == NO_DATABASE, "the evidence is gone"


@pytest.mark.P5
async def test_it_is_taken_up_again_without_a_restart_once_it_can_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as spool:
        await suppress(spool, str(JOHN))
    record = tmp_path / "record.db"
    good = record.read_bytes()
    record.write_bytes(NO_DATABASE)
    monkeypatch.setattr(thread, "REOPEN", 0.01)
    async with opened(tmp_path) as spool:
        await flow(spool)
        well = asyncio.Event()
        spool.facts.__dict__["database_turned"] = lambda *_, **__: well.set()
        replace_file(record, good)
        await well.wait()
        assert await spool.facts_of(str(JANE)) == ["relayed"]
        assert (await spool.store.measure()).backlog.outbox == 0
        assert (await spool.store.measure()).record_is_well
        assert spool.store.suppressions.counts()[SuppressionReason.COMPLAINT] == 1
        await suppress(spool, str(JOE))


async def test_who_was_listed_is_still_known_from_the_copy_and_is_not_mailed(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as spool:
        await suppress(spool, str(JOHN))
        await suppress(spool, str(JOE))
        await spool.store.record.unsuppress(
            str(JOE), actor="test", reason="mended", now=spool.clock.now()
        )
    (tmp_path / "record.db").write_bytes(NO_DATABASE)
    for _ in range(2):
        async with opened(tmp_path) as spool:
            told = [words for name, words in spool.facts.words if name == "suppressions_recalled"]
            assert told == [{"is_whole": True}]
            listed = spool.store.suppressions
            assert listed.may_hold(JOHN)
            with pytest.raises(SpoolError):
                await listed.find(JOHN)
            assert not listed.may_hold(JANE)
            assert not listed.may_hold(JOE)


@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
async def test_without_a_whole_copy_nobody_is_known_to_be_listed_and_that_is_told(
    tmp_path: Path, damage: str
) -> None:
    async with opened(tmp_path) as spool:
        await suppress(spool, str(JOHN))
    (tmp_path / "record.db").write_bytes(NO_DATABASE)
    copy = tmp_path / "suppressed"
    octets = copy.read_bytes()
    if damage == "gone":
        copy.unlink()
    else:
        copy.write_bytes(octets[:-8] if damage == "cut" else octets[:-1] + b"\0" * 1)
    async with opened(tmp_path) as spool:
        told = [words for name, words in spool.facts.words if name == "suppressions_recalled"]
        assert told == [{"is_whole": False}]
        assert not spool.store.suppressions.may_hold(JOHN)
        await flow(spool)


async def test_the_copy_follows_while_the_relay_runs_and_not_with_every_event(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as spool:
        contents = spool.store.spool._contents
        await contents.do(lambda: None)
        await suppress(spool, str(JOHN))
        await suppress(spool, str(JOE))
        await contents.close()
        copy = Digests.loaded((tmp_path / "suppressed").read_bytes())
        assert str(JOHN) in copy
        assert str(JOE) not in copy, "each event costs a copy"


def test_a_dumped_set_is_loaded_as_it_was() -> None:
    digests = Digests()
    digests.fill([b"a@example.net", b"b@example.net"])
    digests.add("c@example.net")
    again = Digests.loaded(digests.dump()[:])
    assert len(again) == 3
    assert all(f"{name}@example.net" in again for name in "abc")
    assert "d@example.net" not in again
    again.add("d@example.net")
    again.remove("a@example.net")
    assert ("a@example.net" in again, "d@example.net" in again) == (False, True)
    assert len(Digests.loaded(Digests().dump()[:])) == 0
