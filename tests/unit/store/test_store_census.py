"""Very many files: those that belong to no row, and rows that miss theirs, found by sums."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.mail.entry import State
from relay.store import recovery
from relay.store.census import Suspects, sums_of
from relay.store.recovery import Recovered
from tests.unit.store.stores import LARGE, opened

STRAY = "06H04YCY58GVCD1MB7KG"


def names(*numbers: int) -> list[list[bytes]]:
    found = [b"%020d" % number for number in numbers]
    return [found[at : at + 3] for at in range(0, len(found), 3)]


def test_the_same_names_are_no_suspects_however_they_are_paged_and_ordered() -> None:
    one = sums_of(names(*range(10_000)))
    other = sums_of([[name] for page in names(*reversed(range(10_000))) for name in page])
    assert not Suspects(one, other)


@pytest.mark.parametrize("other", [[*range(9999)], [*range(10_000), 77_777], [*range(1, 10_001)]])
def test_names_on_one_side_only_are_suspects_and_few_others_with_them(other: list[int]) -> None:
    suspects = Suspects(sums_of(names(*range(10_000))), sums_of(names(*other)))
    different = {b"%020d" % number for number in {*range(10_000)} ^ {*other}}
    assert all(name in suspects for name in different)
    known = [(b"%020d" % number, number) for number in range(10_000)]
    assert len(suspects.among(known)) < 50, "the search is not narrowed down"


@pytest.fixture(autouse=True)
def _any_is_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "_FEW", 2)
    monkeypatch.setattr(recovery, "_NAMED_AT_ONCE", 2)


async def test_where_all_is_in_order_no_file_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as spool:
        for _ in range(7):
            await spool.accept(content=LARGE)

    def look(*_: object) -> str:
        raise AssertionError("a file was looked at by itself")

    monkeypatch.setattr(recovery, "complaint_of_file", look)
    async with opened(tmp_path) as spool:
        assert spool.store.recovered == Recovered(7, 0, 0, 0)


async def test_a_stray_is_found_among_them_and_removed(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        kept = {(await spool.accept(content=LARGE)).queue_id for _ in range(7)}
    content = tmp_path / "content"
    (content / STRAY).write_bytes(b"never acknowledged")
    (content / "README").write_bytes(b"an operator's")
    async with opened(tmp_path) as spool:
        assert spool.store.recovered == Recovered(7, 0, strays=1, corrupt=0)
        assert len(await spool.claim(10)) == 7
    assert {path.name for path in content.iterdir()} == kept | {"README"}


@pytest.mark.P5
async def test_a_row_that_misses_its_file_is_set_aside_and_no_stray_is_thrown_away(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as spool:
        mails = [await spool.accept(content=LARGE) for _ in range(7)]
    content = tmp_path / "content"
    (content / mails[3].queue_id).rename(content / STRAY)
    for corrupt, strays in ((1, 1), (0, 0)):
        async with opened(tmp_path) as spool:
            assert spool.store.recovered == Recovered(7, 0, strays, corrupt)
            assert (await spool.show(mails[3])).state is State.CORRUPT
            claims = await spool.claim(10)
            assert {claim.mail for claim in claims} == {*mails} - {mails[3]}
            now = spool.clock.now()
            for claim in claims:
                await spool.store.queue.release(claim, now=now, due_at=now)
        assert (tmp_path / "corrupt" / STRAY).read_bytes() == LARGE


@pytest.mark.P5
async def test_a_file_cut_short_is_found_before_it_is_sent(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        mails = [await spool.accept(content=LARGE) for _ in range(4)]
    (tmp_path / "content" / mails[2].queue_id).write_bytes(b"half")
    async with opened(tmp_path) as spool:
        claims = await spool.claim(10)
        assert {claim.mail for claim in claims} == {*mails} - {mails[2]}
        assert (await spool.show(mails[2])).state is State.CORRUPT
