"""The time that sessions share in one round of the loop."""

from __future__ import annotations

import asyncio

import pytest

from relay.smtp import turns


@pytest.mark.P6
async def test_a_round_has_its_time_and_the_next_has_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(turns, "monotonic", lambda: now)
    loop, shared = asyncio.get_running_loop(), turns.Turns()
    assert not shared.is_over(loop), "whoever asks first begins the time"
    now += turns._ROUND * 0.9
    assert not shared.is_over(loop)
    now += turns._ROUND * 0.2
    assert shared.is_over(loop), "the time of the round is used up"
    await asyncio.sleep(0)
    assert not shared.is_over(loop), "a new round has time again"
