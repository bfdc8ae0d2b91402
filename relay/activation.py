"""Sockets that systemd listens on for us (sd_listen_fds(3)): found, named, and kept.

While nobody has them open but systemd, connections wait in them; so one process after the other
serves them, and no client is refused. Does not know what is served on which.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence
from typing import Final

_FIRST: Final = 3  # the descriptor after those of input, output and errors
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
HTTP: Final = "http."
"""What the names of the sockets of `http.*` begin with; no listener's name has a dot."""


class Inherited:
    """The sockets by name. They stay open for as long as we run, whoever listens to them or not."""

    def __init__(self, sockets: Mapping[str, Sequence[socket.socket]] | None = None) -> None:
        self._sockets = {} if sockets is None else {name: tuple(s) for name, s in sockets.items()}

    @classmethod
    def found(cls, environ: MutableMapping[str, str]) -> Inherited:
        """Take what systemd handed to this process; what we start ourselves gets none of it."""
        pid, count, names = (environ.pop(name, "") for name in _VARIABLES)
        if pid != str(os.getpid()) or not count.isdecimal():
            return cls()
        known = names.split(":") if names else []
        sockets: dict[str, list[socket.socket]] = {}
        for index in range(int(count)):
            os.set_inheritable(_FIRST + index, False)
            name = known[index] if index < len(known) else "unknown"
            sockets.setdefault(name, []).append(socket.socket(fileno=_FIRST + index))
        return cls(sockets)

    def of(self, name: str) -> tuple[socket.socket, ...]:
        """Return the sockets of that name; none where we are to listen ourselves."""
        return self._sockets.get(name, ())

    def complaints(self, listeners: Collection[str], *, has_webhook: bool) -> Iterator[str]:
        """Yield what is wrong with them, where these are the listeners."""
        served = {*listeners, f"{HTTP}metrics"}
        if has_webhook:
            served.add(f"{HTTP}webhook")
        for name, sockets in self._sockets.items():
            if name not in served:
                yield (
                    f"systemd listens for '{name}', which is no listener: clients would wait there "
                    "for ever; FileDescriptorName= in the socket unit must be a listener's name, "
                    "http.metrics, or http.webhook where that is configured"
                )
            elif any(not _is_fit(one) for one in sockets):
                yield f"the socket systemd listens on for '{name}' is no listening TCP socket"


def _is_fit(one: socket.socket) -> bool:
    return (
        one.family in (socket.AF_INET, socket.AF_INET6)
        and one.type == socket.SOCK_STREAM
        and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    )
