"""Rates of senders that are refused above them."""

from __future__ import annotations

from relay.policy.sender import OverLimit, Rate
from relay.smtp.rates import SenderRates
from tests.builders import a_sender

STRICT = a_sender(rate=Rate(10, 1.0), burst=3, over_limit=OverLimit.REFUSE)


def test_a_burst_is_admitted_and_then_the_rate() -> None:
    rates = SenderRates()
    assert [rates.admit(STRICT, 0.0) for _ in range(4)] == [True, True, True, False]
    assert not rates.admit(STRICT, 0.05)
    assert rates.admit(STRICT, 0.11)
    assert not rates.admit(STRICT, 0.12)


def test_one_sender_does_not_use_up_anothers() -> None:
    rates = SenderRates()
    other = a_sender("other", rate=Rate(10, 1.0), burst=1, over_limit=OverLimit.REFUSE)
    for _ in range(5):
        rates.admit(STRICT, 0.0)
    assert rates.admit(other, 0.0)


def test_a_paced_sender_is_never_refused() -> None:
    rates = SenderRates()
    paced = a_sender(rate=Rate(1, 60.0))
    assert all(rates.admit(paced, 0.0) for _ in range(100))
    assert all(rates.admit(a_sender(), 0.0) for _ in range(100))


def test_new_limits_take_effect_and_old_ones_are_kept() -> None:
    rates = SenderRates()
    for _ in range(4):
        rates.admit(STRICT, 0.0)
    same = a_sender(rate=Rate(10, 1.0), burst=3, over_limit=OverLimit.REFUSE)
    assert not rates.admit(same, 0.0)
    more = a_sender(rate=Rate(10, 1.0), burst=9, over_limit=OverLimit.REFUSE)
    assert rates.admit(more, 0.0)
