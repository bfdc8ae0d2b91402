"""Whether the parts still come round: who is stuck, who only waits, and what systemd is told."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from relay.pulse import STUCK, Pulse
from relay.supervisor import Supervisor
from tests.fakes import FrozenClock, RecordingFacts


class Going:
    """A part that comes round when it is asked, while it is well."""

    def __init__(self) -> None:
        self.rounds = 0
        self.is_well = True

    def ping(self) -> None:
        self.rounds += self.is_well


class House:
    def __init__(self, heard: socket.socket, path: Path) -> None:
        self._heard = heard
        self.clock = FrozenClock()
        self.facts = RecordingFacts()
        self.writer, self.scheduler = Going(), Going()
        environ = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "60000000"}
        self.pulse = Pulse(
            {"writer": self.writer, "scheduler": self.scheduler},
            Supervisor(environ),
            facts=self.facts,
            clock=self.clock,
        )

    def look(self, seconds: float) -> list[str]:
        """Let so much time pass, look, and return what systemd was told."""
        self.clock.advance(timedelta(seconds=seconds))
        self.pulse.look()
        told = []
        try:
            while True:
                told.append(self._heard.recv(1000).decode())
        except BlockingIOError:
            return told


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.setblocking(False)
        yield House(heard, tmp_path / "notify")


def test_a_sign_of_life_needs_one_of_every_part(house: House) -> None:
    for _ in range(20):
        assert house.look(10) == ["WATCHDOG=1"]
    assert house.pulse.stuck == ()
    assert house.facts.told == []


@pytest.mark.parametrize("name", ["writer", "scheduler"])
def test_a_part_is_stuck_after_a_minute_and_not_before(house: House, name: str) -> None:
    house.look(10)
    getattr(house, name).is_well = False
    house.look(10)
    for _ in range(int(STUCK / 10) - 1):
        assert house.look(10) == ["WATCHDOG=1"]
    assert house.look(10) == [f"STATUS=stuck: no sign of {name} for 60 seconds\nWATCHDOG=trigger"]
    assert house.pulse.stuck == (name,)
    # Told once; and no sign of life any more.
    assert house.look(10) == []
    assert house.facts.names() == ["service"]


def test_a_part_that_came_round_late_goes_on(house: House) -> None:
    house.writer.is_well = False
    for _ in range(5):
        house.look(10)
    house.writer.is_well = True
    for _ in range(20):
        assert house.look(10) == ["WATCHDOG=1"]


def test_no_part_is_to_blame_for_a_process_that_was_stopped(house: House) -> None:
    house.look(10)
    house.writer.is_well = False
    house.look(10)
    assert house.look(3600) == ["WATCHDOG=1"]


def test_without_systemd_nobody_is_told() -> None:
    supervisor = Supervisor({})
    supervisor.ready("well")
    supervisor.alive()
    assert supervisor.watchdog is None


@pytest.mark.parametrize(
    ("pid", "interval", "watchdog"),
    [
        (None, "30000000", 30.0),
        ("ours", "500000", 0.5),
        ("1", "30000000", None),
        (None, "0", None),
        (None, "soon", None),
        (None, "", None),
    ],
)
def test_the_watchdog_is_that_of_this_process(
    pid: str | None, interval: str, watchdog: float | None
) -> None:
    environ = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": interval}
    pid = str(os.getpid()) if pid == "ours" else pid
    assert Supervisor(environ | ({} if pid is None else {"WATCHDOG_PID": pid})).watchdog == watchdog


def test_an_abstract_socket_is_spoken_to() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        name = f"relay-test-{os.getpid()}"
        heard.bind(f"\0{name}")
        Supervisor({"NOTIFY_SOCKET": f"@{name}"}).stopping()
        assert heard.recv(100) == b"STOPPING=1\nSTATUS=draining"


def test_without_a_descriptor_left_the_look_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many connections are no reason for systemd to end those there are."""

    def exhausted(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", exhausted)
        assert house.look(10) == []
    assert house.look(10) == ["WATCHDOG=1"]


@pytest.mark.parametrize("interval", ["", "0", "-5", "soon", "9" * 5000])
def test_a_watchdog_interval_that_is_none_is_none(interval: str) -> None:
    assert Supervisor({"NOTIFY_SOCKET": "@none", "WATCHDOG_USEC": interval}).watchdog is None
