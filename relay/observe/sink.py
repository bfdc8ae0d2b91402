"""Where log lines go: a thread of their own, so that a log nobody reads never stops mail.

Knows bytes and one file. Does not know what the lines say.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import Final, Protocol

CAPACITY: Final = 20_000
"""Lines that may wait: some seconds of heavy traffic. More are dropped, and counted."""
OCTETS: Final = 32 * 1024 * 1024
"""What they may weigh: a line that names a thousand recipients has a quarter of a megabyte."""

# What a stop waits for a reader that is slow; a reader that is stuck must not hold it up.
CLOSE_WAIT: Final = 2.0  # seconds
GATHER: Final = 0.005  # seconds
_AT_ONCE: Final = 1000


class Sink(Protocol):
    """What a line is given to."""

    def write(self, line: bytes) -> None:
        """Take a line, line end included. Never blocks, never raises."""
        ...


class ByteStream(Protocol):
    """The file written to."""

    def write(self, octets: bytes, /) -> object:
        """Write all of the octets; may block, may raise OSError or ValueError."""
        ...

    def flush(self) -> None:
        """Hand over what is buffered."""
        ...


class LogWriter:
    """Writes lines in the order given; drops them when the file takes none."""

    def __init__(self, stream: ByteStream, capacity: int = CAPACITY) -> None:
        self._stream = stream
        self._capacity = capacity
        self._lines: deque[bytes] = deque()
        self._arrived = threading.Event()
        self._closed = False
        # Octets, each counted by one thread only.
        self._taken = 0
        self._written = 0
        self.dropped = 0
        """Lines that were never written: there were too many, or the file failed."""
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Take a line. Never blocks, never raises."""
        if len(self._lines) >= self._capacity or self._taken - self._written > OCTETS:
            self.dropped += 1
            return
        self._taken += len(line)
        self._lines.append(line)
        if not self._arrived.is_set():
            self._arrived.set()

    def close(self) -> None:
        """Write what waits, as far as the file takes it within a moment."""
        self._closed = True
        self._arrived.set()
        self._thread.join(CLOSE_WAIT)

    def _run(self) -> None:
        while not self._closed or self._lines:
            self._arrived.wait()
            if not self._closed:
                # To wake up for every single line would cost more than the line.
                time.sleep(GATHER)
            self._arrived.clear()
            while self._lines:
                self._write_some()

    def _write_some(self) -> None:
        count = min(len(self._lines), _AT_ONCE)
        # Lines stay in the queue until they are written, so that the bound holds meanwhile.
        octets = b"".join([self._lines[n] for n in range(count)])
        try:
            self._stream.write(octets)
            self._stream.flush()
        except (OSError, ValueError):
            # A full disk, a reader that has gone, a closed file: mail goes on without a log.
            self.dropped += count
        self._written += len(octets)
        for _ in range(count):
            with contextlib.suppress(IndexError):
                self._lines.popleft()
