"""The one timer of a connection, on a loop whose time is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from relay.smtp.timer import Timer


class Alarm:
    """A handle of call_at."""

    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self.when = when
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """As much of a loop as a timer needs; its time moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.alarms: list[Alarm] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object]) -> Alarm:
        self.alarms.append(Alarm(when, callback))
        return self.alarms[-1]

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [alarm for alarm in self.alarms if alarm.when <= self.now]
        self.alarms = [alarm for alarm in self.alarms if alarm.when > self.now]
        for alarm in due:
            if not alarm.is_cancelled:
                alarm.callback()


def a_timer(loop: Loop) -> Timer:
    return Timer(cast("asyncio.AbstractEventLoop", loop))


@pytest.fixture(name="loop")
def _loop() -> Loop:
    return Loop()


@pytest.fixture(name="rung")
def _rung() -> list[str]:
    return []


def test_a_wait_that_takes_too_long_is_ended_once(loop: Loop, rung: list[str]) -> None:
    timer = a_timer(loop)
    timer.within(10, lambda: rung.append("a"))
    loop.advance(9)
    assert not rung
    loop.advance(1)
    loop.advance(100)
    assert rung == ["a"]


def test_each_wait_has_its_own_time_and_the_timer_is_not_moved_for_each(
    loop: Loop, rung: list[str]
) -> None:
    timer = a_timer(loop)
    for _ in range(1000):
        timer.within(10, lambda: rung.append("a"))
        timer.busy()
        loop.now += 0.005
    assert len(loop.alarms) == 1
    timer.within(10, lambda: rung.append("b"))
    loop.advance(6)
    assert not rung
    loop.advance(4)
    assert rung == ["b"]


def test_a_shorter_wait_rings_earlier(loop: Loop, rung: list[str]) -> None:
    timer = a_timer(loop)
    timer.within(100, lambda: rung.append("long"))
    timer.within(1, lambda: rung.append("short"))
    loop.advance(1)
    assert rung == ["short"]


@pytest.mark.P6
def test_no_wait_goes_on_beyond_the_latest(loop: Loop, rung: list[str]) -> None:
    timer = a_timer(loop)
    timer.latest = loop.time() + 60
    for _ in range(5):
        timer.within(300, lambda: rung.append("a"))
        loop.advance(11)
    assert not rung
    loop.advance(5)
    assert rung == ["a"]


@pytest.mark.P6
def test_under_stress_a_wait_is_shorter(loop: Loop, rung: list[str]) -> None:
    timer = a_timer(loop)
    timer.is_stressed = lambda: True
    timer.within(300, lambda: rung.append("a"), under_stress=60)
    loop.advance(59)
    assert not rung
    loop.advance(1)
    assert rung == ["a"]


@pytest.mark.P6
def test_stress_that_begins_ends_the_waits_that_have_lasted(loop: Loop, rung: list[str]) -> None:
    timer, stress = a_timer(loop), list[str]()
    timer.is_stressed = lambda: bool(stress)
    timer.within(300, lambda: rung.append("a"), under_stress=60)
    for _ in range(40):
        loop.advance(5)
    assert not rung
    stress.append("all places are taken")
    loop.advance(5)
    assert rung == ["a"]


def test_without_stress_a_wait_is_as_long_as_ever(loop: Loop, rung: list[str]) -> None:
    timer = a_timer(loop)
    timer.within(300, lambda: rung.append("a"), under_stress=60)
    for _ in range(299):
        loop.advance(1)
    assert not rung
    loop.advance(1)
    assert rung == ["a"]


def test_a_stopped_timer_is_silent(loop: Loop, rung: list[str]) -> None:
    timer = a_timer(loop)
    timer.within(1, lambda: rung.append("a"))
    timer.stop()
    loop.advance(10)
    timer.within(1, lambda: rung.append("b"))
    timer.busy()
    loop.advance(10)
    assert not rung
