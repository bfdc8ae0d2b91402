"""Fixtures of the system tests: a simulated SES, and relays started against it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from relay.simulator import Settings, Simulator
from tests.system.house import CLI, Relay, configuration

# Daemons and clients start in a second or two each, and in ten where the machine is busy.
PATIENCE = 180

StartRelay = Callable[..., Awaitable[Relay]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give system tests the time they need on a busy machine."""
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(PATIENCE))


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    settings = Settings(
        identities=frozenset({"example.com"}),
        max_send_rate=10_000.0,
        daily_quota=-1,
        control_rate=None,
    )
    async with Simulator(settings) as running:
        yield running


@pytest.fixture
async def start_relay(tmp_path: Path, simulator: Simulator) -> AsyncIterator[StartRelay]:
    """Start a relay against the simulator; keywords are parts of its configuration.

    `command` starts another program than the relay's own; an `alone` one shares no memory.
    """
    relays: list[Relay] = []

    async def start(
        command: list[str] | None = None, *, alone: bool = False, **parts: str
    ) -> Relay:
        config = tmp_path / "relay.yaml"
        config.write_text(configuration(tmp_path, parts.pop("ses", simulator.url), **parts))
        relay = Relay(config, command or CLI, alone)
        relays.append(relay)
        await relay.start()
        return relay

    yield start
    async with AsyncExitStack() as ends:
        for relay in relays:
            ends.push_async_callback(relay.end)
    # pytest keeps the directory of a test for long, and this takes 64 MiB of it.
    (tmp_path / "spool" / "reserve").unlink(missing_ok=True)


@pytest.fixture
def needs(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Return the path of a program, or skip saying which is missing; CI allows no skip."""

    def find(name: str) -> str:
        path = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin")
        if path is None:
            pytest.skip(f"{name} is not installed")
        return path

    return find
