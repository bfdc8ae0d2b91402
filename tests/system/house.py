"""A relay as its users run it: a process of its own, spoken to over sockets, watched by its log."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import signal
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from relay.simulator import DEMO_CREDENTIAL
from tests.forked import Forked, Nursery

ROOT = Path(__file__).parents[2]
CLI = [sys.executable, "-m", "relay"]
Process: TypeAlias = asyncio.subprocess.Process | Forked

CONFIGURATION = """\
hostname: relay.test
listeners:
  - {{name: legacy, address: "127.0.0.1:0", tls: off, auth: off}}
{listeners}
{tls}
senders:
  - name: app
    networks: [{networks}]
    from: ["@example.com"]
    {sender}
{senders}
ses:
  configuration_set: default
  accounts: {{main: {{region: eu-west-1, endpoint_url: "{ses}", max_send_rate: {rate}}}{accounts}}}
spool:
  path: {directory}/spool
  unsafe: true
  retry: {{first: {first_retry}, ceiling: 1h}}
{spool}
{feedback}
http: {{metrics: "127.0.0.1:0", admin: "{directory}/admin.sock"{webhook}}}
log: {{format: json, level: debug}}
"""


def configuration(directory: Path, ses: str, **parts: str) -> str:
    """Return a configuration for tests; `parts` fill in or replace its pieces."""
    defaults = {
        "listeners": "",
        "tls": "",
        "networks": "127.0.0.0/8",
        "sender": "",
        "senders": "",
        "rate": "auto",
        "accounts": "",
        "first_retry": "30s",
        "spool": "",
        "feedback": "",
        "webhook": "",
    }
    return CONFIGURATION.format(directory=directory, ses=ses, **{**defaults, **parts})


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of a machine whose only AWS credentials are the simulator's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {
        **kept,
        "AWS_ACCESS_KEY_ID": DEMO_CREDENTIAL.access_key,
        "AWS_SECRET_ACCESS_KEY": DEMO_CREDENTIAL.secret_key,
        "AWS_EC2_METADATA_DISABLED": "true",
        **changes,
    }


@dataclass
class Relay:
    """A running daemon. `lines` is its log so far."""

    config: Path
    command: list[str] = field(default_factory=lambda: CLI)
    is_alone: bool = False
    """Whether it shares no memory with others, as it does when it is forked: to be measured."""
    env: dict[str, str] = field(default_factory=environment)
    fds: tuple[int, ...] = ()
    """What the daemon is given of our open files (tests.system.activated)."""
    lines: list[dict[str, Any]] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)
    _process: Process | None = None
    _reading: asyncio.Task[None] | None = None
    _heard: asyncio.Condition = field(default_factory=asyncio.Condition)
    complaints: str = ""

    async def start(self) -> None:
        """Start the daemon; return when it says that it has started, or fail with its words."""
        self.lines.clear()
        words = [*self.command, "serve", "--config", str(self.config)]
        if self.is_alone or self.fds:
            self._process = await spawn(words, self.env, fds=self.fds)
        else:
            self._process = await begun(words, self.env)
        self._reading = asyncio.create_task(self._read())
        await self.logged("relay.started")
        for line in self.lines:
            if line["event"] == "relay.listening" and "port" in line:
                self.ports[line.get("smtp") or line["http"]] = line["port"]

    async def _read(self) -> None:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        assert process.stderr is not None
        async for raw in process.stdout:
            async with self._heard:
                self.lines.append(json.loads(raw))
                self._heard.notify_all()
        self.complaints = (await process.stderr.read()).decode()
        # It closes them before it has ended.
        await process.wait()
        async with self._heard:
            self._heard.notify_all()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The process id of the daemon."""
        assert self._process is not None
        return self._process.pid

    async def logged(self, event: str, count: int = 1, **fields: Any) -> dict[str, Any]:
        """Return the `count`-th log line of that event and fields, waiting for it."""

        def found() -> list[dict[str, Any]]:
            return [
                line
                for line in self.lines
                if line["event"] == event
                and all(line.get(name) == value for name, value in fields.items())
            ]

        await self._until(lambda: len(found()) >= count)
        return found()[count - 1]

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with self._heard:
            while not holds():
                assert self._reading is not None
                if self._reading.done():
                    raise AssertionError(f"the daemon ended: {self.complaints or self.lines}")
                await self._heard.wait()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        process, reading = self._process, self._reading
        assert process is not None
        assert reading is not None
        if process.returncode is None:
            process.send_signal(number)
        code = await process.wait()
        await reading
        return code

    async def end(self) -> None:
        """Stop if it runs; fail if it does not stop well. It is gone whatever happens."""
        try:
            async with asyncio.timeout(60):
                assert not self.is_running or await self.stop() == 0, self.complaints
        finally:
            # One that hangs would slow down all tests that follow.
            if self.is_running:
                await self.kill()

    async def kill(self) -> None:
        """Kill -9."""
        assert await self.stop(signal.SIGKILL) == -signal.SIGKILL

    async def cli(self, *words: str) -> tuple[int, str, str]:
        """Run a verb against the daemon's admin socket; return exit code, output and talk."""
        env = {**self.env, "RELAY_ADMIN": str(self.config.parent / "admin.sock")}
        process = await begun([*CLI, *words], env)
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


async def run(*words: str, **changes: str) -> tuple[int, str]:
    """Run a program; return its exit code and everything it printed."""
    process = await begun(list(words), environment(**changes), joined=True)
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(errors="replace")


@cache
def nursery() -> Nursery:
    """Return the one nursery of this process; it ends with it."""
    one = Nursery(environment=environment())
    atexit.register(one.close)
    return one


async def begun(words: list[str], env: Mapping[str, str], *, joined: bool = False) -> Process:
    """Begin a program; a module of Python's in a process that has imported the relay already.

    `joined`: what it says on standard error is among its output.
    """
    if words[:2] == [sys.executable, "-m"]:
        return await nursery().bear(*words[2:], environment=env, joined=joined)
    return await spawn(words, env, joined=joined)


async def spawn(
    words: list[str], env: Mapping[str, str], *, joined: bool = False, fds: Collection[int] = ()
) -> Process:
    """Begin a program, which is given these open files."""
    return await asyncio.create_subprocess_exec(
        *words,
        cwd=ROOT,
        env=dict(env),
        pass_fds=fds,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT if joined else asyncio.subprocess.PIPE,
    )
