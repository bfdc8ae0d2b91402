"""Whose turn it is: all equal, transactional mail first, bulk never starved, no one has it all."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.mail.envelope import SenderName
from relay.policy.sender import Priority
from relay.policy.shares import Shares

pytestmark = pytest.mark.P6

A, B, C, D = (SenderName(name) for name in "abcd")
TRANSACTIONAL, BULK = Priority.TRANSACTIONAL, Priority.BULK
LANES = 50


def deal(
    shares: Shares,
    waiting: dict[SenderName, Priority],
    *,
    free: int = 1,
    free_for_bulk: int = 1000,
    busy: dict[SenderName, int] | None = None,
    lanes: int = LANES,
    ceilings: dict[SenderName, int] | None = None,
) -> dict[SenderName, int]:
    return shares.deal(
        waiting,
        free=free,
        free_for_bulk=free_for_bulk,
        busy=busy or {},
        lanes=lanes,
        ceilings=ceilings or {},
    )


def served(
    shares: Shares,
    waiting: dict[SenderName, Priority],
    costs: dict[SenderName, int],
    *,
    recipients: int,
    free: int = 1,
) -> Counter[SenderName]:
    """Deal again and again, each sender's calls with that many recipients; return what each got."""
    got: Counter[SenderName] = Counter()
    while got.total() < recipients:
        for name, calls in deal(shares, waiting, free=free).items():
            for _ in range(calls):
                shares.charge(name, waiting[name], costs.get(name, 1))
                got[name] += costs.get(name, 1)
    return got


def test_bulk_senders_leave_lanes_for_the_others() -> None:
    waiting = {A: BULK, B: BULK, C: TRANSACTIONAL}
    dealt = deal(Shares(), waiting, free=50, free_for_bulk=4)
    assert dealt == {A: 2, B: 2, C: 25}
    assert deal(Shares(), {A: BULK, B: BULK}, free=50, free_for_bulk=0) == {}


def test_no_sender_gets_more_than_half_the_lanes() -> None:
    waiting = {A: TRANSACTIONAL}
    assert deal(Shares(), waiting, free=50) == {A: 25}
    assert deal(Shares(), waiting, free=30, busy={A: 20}) == {A: 5}
    assert deal(Shares(), waiting, free=30, busy={A: 25}) == {}
    assert deal(Shares(), waiting, free=1, lanes=1) == {A: 1}


def test_free_lanes_are_dealt_evenly_and_within_each_senders_ceiling() -> None:
    waiting = dict.fromkeys((A, B, C), TRANSACTIONAL)
    assert deal(Shares(), waiting, free=7) == {A: 3, B: 2, C: 2}
    waiting = dict.fromkeys((A, B), TRANSACTIONAL)
    assert deal(Shares(), waiting, free=10, ceilings={A: 2}) == {A: 2, B: 8}
    assert deal(Shares(), waiting, free=10, ceilings={A: 0}) == {B: 10}
    assert deal(Shares(), {}, free=10) == {}


@pytest.mark.parametrize("free", [1, 3, 25])
def test_while_both_wait_bulk_gets_a_tenth_of_the_recipients(free: int) -> None:
    waiting = {A: BULK, B: TRANSACTIONAL, C: TRANSACTIONAL}
    # Counted in recipients: a mail to fifty is fifty, whoever sends it.
    for costs in ({}, {B: 50, C: 50}, {A: 50}, {A: 7, B: 20}):
        got = served(Shares(), waiting, costs, recipients=30_000, free=free)
        assert 0.095 < got[A] / got.total() < 0.105
        assert got[B] == pytest.approx(got[C], abs=50 * free)


@given(
    bulk=st.integers(1, 10),
    transactional=st.integers(0, 10),
    costs=st.lists(st.integers(1, 50), min_size=20, max_size=20),
    free=st.integers(1, 25),
)
@settings(deadline=None)
def test_senders_of_a_kind_get_as_many_recipients_each_however_many_they_are(
    bulk: int, transactional: int, costs: list[int], free: int
) -> None:
    """One of two bulk senders starved once, because only every tenth turn was theirs."""
    names = [SenderName(f"s{n}") for n in range(bulk + transactional)]
    waiting = {name: BULK if n < bulk else TRANSACTIONAL for n, name in enumerate(names)}
    cost = dict(zip(names, costs, strict=False))
    got = served(Shares(), waiting, cost, recipients=5_000, free=free)
    # Nobody is ahead of another by more than the calls of a deal.
    for kind in Priority:
        counts = [got[name] for name in names if waiting[name] is kind]
        assert max(counts, default=0) - min(counts, default=0) <= free * max(costs)


def test_what_transactional_mail_does_not_need_is_bulks() -> None:
    shares = Shares()
    assert served(shares, {A: BULK}, {}, recipients=1000)[A] == 1000
    # And it owes nothing for that, nor is anything owed to who was not there.
    got = served(shares, {A: BULK, B: TRANSACTIONAL}, {}, recipients=1000)
    assert 95 <= got[A] <= 105


def test_who_comes_is_next_whatever_the_others_have_waiting() -> None:
    shares = Shares()
    served(shares, {A: BULK, B: TRANSACTIONAL}, {}, recipients=12_345)
    for _ in range(200):
        served(shares, {A: BULK, B: TRANSACTIONAL}, {A: 50}, recipients=137)
        assert deal(shares, {A: BULK, B: TRANSACTIONAL, C: TRANSACTIONAL}) == {C: 1}


def test_a_bulk_sender_that_comes_waits_for_one_call_of_the_other_at_most() -> None:
    shares = Shares()
    served(shares, {A: BULK}, {A: 50}, recipients=5000)
    assert deal(shares, {A: BULK, D: BULK}) == {D: 1}


def test_dealing_charges_nobody() -> None:
    """A sender may turn out to have nothing due."""
    shares = Shares()
    for _ in range(100):
        assert deal(shares, {A: TRANSACTIONAL, B: TRANSACTIONAL}) == {A: 1}
