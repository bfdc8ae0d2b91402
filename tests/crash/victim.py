"""One relay after the other on one spool: started, watched by its log, killed or stopped.

Knows processes and log lines. Does not know clients, SES or what must be true afterwards.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.crash import launcher
from tests.forked import Forked, Nursery

_PATIENCE: Final = 30.0
"""Seconds within which whatever is waited for has happened, or the machine is no good."""


@dataclass
class Victim:
    """A relay that is started again and again. `hears` is called with every line of its log."""

    nursery: Nursery
    config: Path
    hears: Callable[[dict[str, Any]], None]
    up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while clients may connect, as far as anybody knows."""
    port: int = 0
    complaints: str = ""
    """What it said on standard error since it was started last."""
    _child: Forked | None = None
    _reading: asyncio.Future[tuple[None, None]] | None = None
    _started: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(
        self, *, point: str = "", passage: int = 1, sabotage: str = "", migrations: int = 0
    ) -> None:
        """Start it; return once it says that it has started, or has ended."""
        changes = {launcher.MIGRATIONS: str(migrations)}
        if point:
            changes |= {launcher.POINT: point, launcher.PASSAGE: str(passage)}
        if sabotage:
            changes[launcher.SABOTAGE] = sabotage
        self.complaints = ""
        self._started.clear()
        words = ["tests.crash.launcher", "serve", "--config", str(self.config)]
        environment = self.nursery.environment | changes
        self._child = child = await self.nursery.bear(*words, environment=environment)
        assert child.stdout is not None
        assert child.stderr is not None
        self._reading = asyncio.gather(self._read(child.stdout), self._listen(child.stderr))
        started = asyncio.create_task(self._started.wait())
        ended = asyncio.create_task(child.wait())
        async with asyncio.timeout(_PATIENCE):
            await asyncio.wait([started, ended], return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        if not ended.done():
            self.up.set()

    async def _read(self, said: AsyncIterable[bytes]) -> None:
        async for raw in said:
            # The last line may have been cut off.
            if raw.endswith(b"\n"):
                self._heard(json.loads(raw))

    async def _listen(self, said: AsyncIterable[bytes]) -> None:
        async for raw in said:
            self.complaints += raw.decode(errors="replace")

    def _heard(self, line: dict[str, Any]) -> None:
        match line["event"]:
            case "relay.listening" if "smtp" in line:
                self.port = line["port"]
            case "relay.started":
                self._started.set()
        self.hears(line)

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self._child is None or self._child.returncode is not None

    def kill(self) -> None:
        """Kill -9, now."""
        self.signal(signal.SIGKILL)

    def stop(self) -> None:
        """Have it stop in an orderly way."""
        self.signal(signal.SIGTERM)

    def reload(self) -> None:
        """Have it read its configuration again; it goes on meanwhile."""
        self.signal(signal.SIGHUP)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        # One that stops serves until it waits for nothing but its clients.
        if number is signal.SIGKILL:
            self.up.clear()
        if self._child is not None:
            self._child.send_signal(number)

    async def end(self, within: float = _PATIENCE) -> int:
        """Return its exit code once it has ended and all it said was heard.

        Raises TimeoutError if it does not end; then it is as it was.
        """
        child, reading = self._child, self._reading
        assert child is not None
        assert reading is not None
        async with asyncio.timeout(within):
            code = await child.wait()
        self.up.clear()
        await reading
        return code
