"""systemd, where it is what started us: what it is told of us (sd_notify(3)).

Knows the words of the protocol. Does not know what the daemon is made of.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

_MICRO = 1_000_000
# How long a word to systemd may take, in seconds: mail does not wait for it.
_PATIENCE = 1.0
_DIGITS = 20


class Supervisor:
    """Tells systemd how we are; without it, nobody."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """`environ` is what systemd started us with; without it nobody supervises."""
        given = {} if environ is None else environ
        address = given.get("NOTIFY_SOCKET", "")
        # An abstract socket (unix(7)).
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog = _watchdog(given) if address else None
        """Seconds within which systemd wants a sign of life; None: it does not look."""

    def starting(self, seconds: float) -> None:
        """The start goes on, for so many seconds at most before the next word."""
        self._tell("STATUS=starting: the spool is put in order", _extension(seconds))

    def ready(self, status: str) -> None:
        """Mail is taken: after the start, and after a reload, whatever came of it."""
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """The configuration is being read again; `ready` ends it."""
        # By CLOCK_MONOTONIC: systemd tells by it which reload this is (Type=notify-reload).
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now}")

    def stopping(self) -> None:
        """The end has begun."""
        self._tell("STOPPING=1", "STATUS=draining")

    def draining(self, status: str, seconds: float) -> None:
        """The end goes on, for so many seconds at most before the next word."""
        self._tell(f"STATUS={status}", _extension(seconds))

    def alive(self) -> None:
        """All that mail cannot do without has answered."""
        if self.watchdog is not None:
            self._tell("WATCHDOG=1")

    def stuck(self, status: str) -> None:
        """Something has not answered for too long: only a new start helps."""
        if self.watchdog is not None:
            self._tell(f"STATUS={status}", "WATCHDOG=trigger")

    def _tell(self, *words: str) -> None:
        if not self._address:
            return
        with (
            # Whoever set the variable has gone, or there is no descriptor left: no reason not to
            # serve.
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifier,
        ):
            notifier.settimeout(_PATIENCE)
            notifier.connect(self._address)
            notifier.sendall("\n".join(words).encode())


def _extension(seconds: float) -> str:
    return f"EXTEND_TIMEOUT_USEC={int(seconds * _MICRO)}"


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Return the watchdog's interval, if it is our process that it watches."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    interval = environ.get("WATCHDOG_USEC", "")
    # A number of 64 bits; of many more digits Python makes none.
    is_number = interval.isdecimal() and len(interval) <= _DIGITS
    return int(interval) / _MICRO if is_number and int(interval) > 0 else None
