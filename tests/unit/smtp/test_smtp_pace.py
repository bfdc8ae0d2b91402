"""How long a client may take over a content."""

from __future__ import annotations

import pytest

from relay.smtp.pace import Pace
from relay.smtp.settings import Deadlines

DEADLINES = Deadlines(data_block=180, data=1800, data_grace=30, data_rate=500)


def test_a_piece_has_its_time_and_so_has_the_whole() -> None:
    pace = Pace(DEADLINES, 1000.0)
    assert pace.patience(1000.0) == 180
    assert pace.patience(2700.0) == 100
    assert pace.patience(2800.0) == 0


@pytest.mark.P6
def test_under_stress_a_client_has_what_it_earns_beside_its_grace() -> None:
    pace = Pace(DEADLINES, 0.0)
    assert pace.under_stress == 30
    # 400 octets a second are too few, in the long run.
    for _ in range(10):
        pace.took(4000, 10)
    assert pace.under_stress == pytest.approx(10)
    # 600 are enough for any time.
    for _ in range(10):
        pace.took(6000, 10)
    assert pace.under_stress == pytest.approx(30)


def test_time_in_which_we_did_not_wait_is_not_held_against_the_client() -> None:
    pace = Pace(DEADLINES, 0.0)
    pace.took(1, 0.0)
    assert pace.under_stress > 30
