"""Digests in place of addresses: always found, small, and told apart where two are the same."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.store.digests import Digests


def addresses() -> Iterator[str]:
    number = 0
    while True:
        yield f"somebody.{number}@mailbox{number % 97}.example.net"
        number += 1


def test_nothing_is_in_an_empty_set() -> None:
    assert "jane@example.net" not in Digests()
    assert not Digests()


@given(
    there=st.sets(st.text(max_size=5)),
    steps=st.lists(st.tuples(st.booleans(), st.text(max_size=2))),
)
def test_it_holds_what_a_set_holds(there: set[str], steps: list[tuple[bool, str]]) -> None:
    digests = Digests()
    digests.fill(text.encode() for text in there)
    asked = [*there, *(text for _, text in steps)]
    for adds, text in steps:
        if adds and text not in there:
            there.add(text)
            digests.add(text)
        elif not adds and text in there:
            there.remove(text)
            digests.remove(text)
        assert len(digests) == len(there)
        assert [one in digests for one in asked] == [one in there for one in asked]


def test_of_two_texts_with_one_digest_each_can_go_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Digests, "_digest", lambda _, text: len(text))
    digests = Digests()
    digests.fill([b"jane", b"john"])
    digests.add("jack")
    for left, text in ((2, "john"), (1, "jack")):
        digests.remove(text)
        assert len(digests) == left
        assert "jane" in digests
    digests.remove("jane")
    assert "jane" not in digests


def test_what_is_not_there_takes_nothing_with_it_when_it_goes() -> None:
    digests = Digests()
    digests.add("jane")
    digests.remove("john")
    assert "jane" in digests
    assert len(digests) == 1


def test_digests_cannot_be_told_from_outside() -> None:
    assert Digests()._digest(b"jane") != Digests()._digest(b"jane")


@pytest.mark.P6
def test_a_million_addresses_would_cost_no_more_than_sixteen_mebibytes() -> None:
    """A tenth of them, filled and then added: what is above the empty set grows with the number."""
    tracemalloc.start()
    try:
        (empty, _) = tracemalloc.get_traced_memory()
        digests = Digests()
        (base, _) = tracemalloc.get_traced_memory()
        texts = addresses()
        digests.fill(text.encode() for text in islice(texts, 50_000))
        for text in islice(texts, 50_000):
            digests.add(text)
        (full, peak) = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert base - empty + 10 * (full - base) <= 16 * 1024 * 1024
    assert peak - full <= 256 * 1024
