"""What every store under measurement is given, and what is told of it. Knows no store."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

_HEADER = b"From: bench@example.com\r\nTo: someone@example.net\r\nSubject: bench\r\n\r\n"


def content_of(size: int) -> bytes:
    """Return content of so many octets."""
    return _HEADER + b"x" * (size - len(_HEADER))


@dataclass
class Lap:
    """One measured stretch: what it cost this process, its threads and the system on its behalf."""

    _cpu: float
    _wall: float
    seconds: float = 0.0
    cpu: float = 0.0
    messages: int = 0
    took: list[float] = field(default_factory=list)

    @classmethod
    def begin(cls) -> Lap:
        """Begin to measure."""
        return cls(time.process_time(), time.perf_counter())

    def end(self, messages: int, took: list[float]) -> Lap:
        """Stop measuring; `took` are the seconds of each accept."""
        self.cpu = time.process_time() - self._cpu
        self.seconds = time.perf_counter() - self._wall
        self.messages, self.took = messages, took
        return self

    def told(self) -> dict[str, Any]:
        """Return CPU of a message, messages of a second, and what 99 of 100 accepts kept to."""
        ordered = sorted(self.took)
        return {
            "cpu_us": self.cpu / self.messages * 1e6,
            "rate": self.messages / self.seconds,
            "p99_ms": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1e3,
        }
