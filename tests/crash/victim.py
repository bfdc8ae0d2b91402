"""One relay after the other on one spool: started, watched by its log, killed or stopped.

Knows processes and log lines. Does not know clients, SES or what must be true afterwards.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.crash import launcher
from tests.system.house import ROOT, environment

_MOST: Final = 65536  # octets of one message
_PATIENCE: Final = 30.0
"""Seconds within which whatever is waited for has happened, or the machine is no good."""


@dataclass(frozen=True)
class Child:
    """A daemon that was started."""

    handle: int
    """A descriptor of it (pidfd_open(2))."""
    code: asyncio.Future[int]
    """Its exit code, once it has ended."""

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if not self.code.done():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.handle, number)


class Nursery:
    """The process that forks daemons, as its parent sees it. Started before any loop runs."""

    def __init__(self, *before: str, **changes: str) -> None:
        """Start it; what comes `before` its command runs it, with these changes of environment."""
        self._wire, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._wire.setblocking(False)
        with theirs:
            self._process = subprocess.Popen(
                [*before, sys.executable, "-m", "tests.crash.nursery", str(theirs.fileno())],
                cwd=ROOT,
                env=environment(**changes),
                pass_fds=[theirs.fileno()],
            )
        self._born: asyncio.Queue[Child] = asyncio.Queue()
        self._children: dict[int, Child] = {}

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hear of births and deaths in the loop that runs."""
        loop = asyncio.get_running_loop()
        self._born = asyncio.Queue()
        loop.add_reader(self._wire, self._heard)
        try:
            yield
        finally:
            loop.remove_reader(self._wire)

    def _heard(self) -> None:
        said, files, _, _ = socket.recv_fds(self._wire, _MOST, 1)
        if not said:
            raise RuntimeError("the nursery has died")
        told = json.loads(said)
        if "code" in told:
            child = self._children.pop(told["pid"])
            os.close(child.handle)
            child.code.set_result(told["code"])
        else:
            child = Child(files[0], asyncio.get_running_loop().create_future())
            self._children[told["pid"]] = child
            self._born.put_nowait(child)

    async def bear(self, words: list[str], changes: dict[str, str], files: list[int]) -> Child:
        """Start a daemon."""
        asked = json.dumps({"words": words, "environment": changes}).encode()
        socket.send_fds(self._wire, [asked], files)
        async with asyncio.timeout(_PATIENCE * 2):  # the first is waited for until all is imported
            return await self._born.get()

    def close(self) -> None:
        """End it; whatever still runs in it dies."""
        self._wire.close()
        self._process.wait()


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
    _child: Child | None = None
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
        out, its_out = os.pipe()
        err, its_err = os.pipe()
        words = ["serve", "--config", str(self.config)]
        self._child = child = await self.nursery.bear(words, changes, [its_out, its_err])
        os.close(its_out)
        os.close(its_err)
        self._reading = asyncio.gather(self._read(out), self._listen(err))
        started = asyncio.create_task(self._started.wait())
        child.code.add_done_callback(lambda _: started.cancel())
        async with asyncio.timeout(_PATIENCE):
            await asyncio.wait([started])
        if not child.code.done():
            self.up.set()

    async def _read(self, descriptor: int) -> None:
        async for raw in await _lines(descriptor):
            # The last line may have been cut off.
            if raw.endswith(b"\n"):
                self._heard(json.loads(raw))

    async def _listen(self, descriptor: int) -> None:
        async for raw in await _lines(descriptor):
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
        return self._child is None or self._child.code.done()

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
        if number is not signal.SIGHUP:
            self.up.clear()
        if self._child is not None:
            self._child.signal(number)

    async def end(self, within: float = _PATIENCE) -> int:
        """Return its exit code once it has ended and all it said was heard.

        Raises TimeoutError if it does not end; then it is as it was.
        """
        child, reading = self._child, self._reading
        assert child is not None
        assert reading is not None
        async with asyncio.timeout(within):
            await asyncio.wait([child.code])
        self.up.clear()
        await reading
        return child.code.result()


async def _lines(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=1 << 22)
    loop = asyncio.get_running_loop()
    file = os.fdopen(descriptor, "rb")
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    return reader
