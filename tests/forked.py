"""Processes of the relay that are forked from one that has imported it: the side of who asks.

Knows the nursery's messages. Does not know what the processes are for.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[1]
_LINE: Final = 1 << 22  # octets of the longest line of a log


class _Pipe(asyncio.StreamReaderProtocol):
    """What comes through a pipe, and when its other end was closed."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader(limit=_LINE)
        self.closed = asyncio.get_running_loop().create_future()
        super().__init__(self.reader)

    @classmethod
    async def of(cls, descriptor: int) -> _Pipe:
        """Return the pipe of which this is the end to be read."""
        file = os.fdopen(descriptor, "rb")
        _, pipe = await asyncio.get_running_loop().connect_read_pipe(cls, file)
        return pipe

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that nothing more will come."""
        super().connection_lost(exc)
        if not self.closed.done():
            self.closed.set_result(None)


class Forked:
    """A process, as asyncio.subprocess.Process has it: what it says is read from its streams."""

    def __init__(self, pid: int, told: _Pipe, out: _Pipe, err: _Pipe | None) -> None:
        self.pid = pid
        self.stdout = out.reader
        self.stderr = None if err is None else err.reader
        self._pipes = [one for one in (told, out, err) if one is not None]
        self.returncode: int | None = None
        # Its own and no other's, should its number be given to another once it has ended.
        self._handle: int | None = None
        with suppress(ProcessLookupError):
            self._handle = os.pidfd_open(pid)
        self._end = asyncio.get_running_loop().create_task(self._hear())

    async def _hear(self) -> int:
        code = await self._pipes[0].reader.readline()
        if not code:
            raise RuntimeError("the nursery has died")
        self.returncode = int(code)
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        for pipe in self._pipes:
            await pipe.closed
        return self.returncode

    async def wait(self) -> int:
        """Return its exit code once it has ended; a signal's number is negative."""
        return await asyncio.shield(self._end)

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self._handle is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    async def communicate(self) -> tuple[bytes, bytes]:
        """Return all that it says, once it has ended."""
        out = await self.stdout.read()
        err = b"" if self.stderr is None else await self.stderr.read()
        await self.wait()
        return out, err


class Nursery:
    """The process that forks."""

    def __init__(self, *before: str, environment: Mapping[str, str]) -> None:
        """Start it; what comes `before` its command runs it."""
        self.environment = dict(environment)
        self._wire, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [*before, sys.executable, "-m", "tests.nursery", str(theirs.fileno())],
                cwd=_ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    async def bear(
        self, *words: str, environment: Mapping[str, str], joined: bool = False
    ) -> Forked:
        """Start a module with its arguments; `joined`: standard error goes where output goes.

        The first is waited for until all is imported.
        """
        pipes = [os.pipe() for _ in range(2 if joined else 3)]
        (out, *_), (told, *_) = pipes[0], pipes[-1]
        theirs = [write for _, write in pipes]
        if joined:
            theirs.insert(0, theirs[0])
        asked = {"words": words, "environment": dict(environment)}
        socket.send_fds(self._wire, [json.dumps(asked).encode()], theirs)
        for _, write in pipes:
            os.close(write)
        birth = await _Pipe.of(told)
        said = await _Pipe.of(out), None if joined else await _Pipe.of(pipes[1][0])
        return Forked(int(await birth.reader.readline()), birth, *said)

    def close(self) -> None:
        """End it; whatever still runs in it dies."""
        self._wire.close()
        self._process.wait()
