"""What one account lets through: never nothing to wait for, never more than its share."""

from __future__ import annotations

from math import inf, isinf

import pytest

from relay.delivery.gate import LANES, Gate
from relay.mail.envelope import AccountName, SenderName
from relay.mail.outcome import Deferred
from relay.policy.sender import Priority
from relay.policy.verdict import Refused, verdict
from relay.ports import Carrier, SendQuota
from tests.fakes import FrozenClock, RecordingFacts

BULK, OTP = SenderName("bulk"), SenderName("otp")


class Account:
    carrier: Carrier

    def __init__(self, rate: float | None) -> None:
        self.name = AccountName("main")
        self.quota = None if rate is None else SendQuota(rate, inf, 0)


class RestlessClock(FrozenClock):
    """A clock that goes on between any two readings, as real ones do."""

    def monotonic(self) -> float:
        self._monotonic += 0.0007
        return self._monotonic


def a_gate(rate: float | None = 1e9, clock: FrozenClock | None = None) -> Gate:
    return Gate(Account(rate), facts=RecordingFacts(), clock=clock or FrozenClock())


@pytest.mark.P6
@pytest.mark.parametrize("rate", [0.5, 1, 7, 14, 50, 333])
def test_there_is_always_something_to_do_or_a_time_to_wait_for(rate: float) -> None:
    """A wait that ends between two readings of the clock once put delivery to sleep for an hour."""
    gate = a_gate(rate, RestlessClock())
    for _ in range(5000):
        room = gate.room()
        if room.attempts:
            gate.spend(OTP, Priority.TRANSACTIONAL, room.recipients)
        else:
            assert 0 < room.wait < 10


def test_an_account_without_bound_is_bounded_by_its_lanes() -> None:
    gate = a_gate(inf)
    gate.spend(OTP, Priority.TRANSACTIONAL, 10**9)
    assert gate.room().attempts == LANES


def test_an_account_that_may_send_nothing_is_waited_for() -> None:
    gate = a_gate(0.0)
    gate.spend(OTP, Priority.TRANSACTIONAL, 1)
    assert gate.room().attempts == 0
    assert isinf(gate.room().wait)


def test_a_rate_learned_later_is_heeded() -> None:
    clock = FrozenClock()
    account = Account(None)
    gate = Gate(account, facts=RecordingFacts(), clock=clock)
    gate.spend(OTP, Priority.TRANSACTIONAL, 100)
    slow = gate.room().wait
    account.quota = SendQuota(1000, inf, 0)
    assert gate.room().wait < slow / 50


@pytest.mark.P6
def test_a_quarter_of_the_lanes_is_kept_from_bulk() -> None:
    gate = a_gate()
    lanes = [gate.enter(BULK, Priority.BULK) for _ in range(LANES * 3 // 4)]
    room = gate.room()
    assert (room.bulk, room.attempts) == (0, LANES - LANES * 3 // 4)
    gate.enter(OTP, Priority.TRANSACTIONAL)
    gate.leave(lanes[0])
    assert gate.room().bulk == 1


def test_a_throttled_account_is_quiet_for_a_moment_and_not_suspended() -> None:
    gate = a_gate()
    outcome = verdict(Refused(400, "Throttling", "Maximum sending rate exceeded."))
    assert isinstance(outcome, Deferred)
    gate.learn(outcome, 1)
    assert 0 < gate.room().wait <= 1
    assert gate.passes()
    assert gate.condition().is_slowed


def test_a_closed_gate_lets_nothing_through() -> None:
    gate = a_gate()
    gate.close()
    assert gate.room().attempts == 0
    assert not gate.passes()


def test_others_wait_or_nobody_does() -> None:
    gate = a_gate()
    assert not gate.is_awaited(BULK)
    gate.note_waiting([BULK])
    assert not gate.is_awaited(BULK)
    assert gate.is_awaited(OTP)
    gate.note_waiting([BULK, OTP])
    assert gate.is_awaited(BULK)
    # Who has all lanes one sender may have waits for its own calls to end.
    for _ in range(LANES // 2):
        gate.enter(OTP, Priority.TRANSACTIONAL)
    gate.note_waiting([BULK, OTP])
    assert not gate.is_awaited(BULK)


@pytest.mark.P6
def test_what_was_dealt_is_nobody_elses_while_it_is_claimed() -> None:
    gate = a_gate(100)
    room = gate.room()
    assert room.recipients == 3
    with gate.keep(room.recipients):
        assert gate.pace(Priority.BULK) > 0
        assert gate.room().attempts == 0
    assert gate.room() == room
    with pytest.raises(KeyError), gate.keep(room.recipients):
        raise KeyError
    assert gate.room() == room
