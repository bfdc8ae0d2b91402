"""The process around the daemon: its loop, its signals, and what systemd is told.

Does not know what the daemon is made of.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from relay.daemon import Daemon

# EX_SOFTWARE: a part of ours died; the supervisor starts us again.
BROKEN: Final = 70


def run(main: Callable[[], Awaitable[int]]) -> int:
    """Run a coroutine on the fastest loop there is; return its exit code."""
    try:
        import uvloop  # noqa: PLC0415 - not everywhere
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:

        async def body() -> int:
            return await main()

        return runner.run(body())


async def serve(path: Path) -> int:
    """Run the daemon until SIGTERM or SIGINT; SIGHUP reloads. Returns an exit code."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    # Before anything else: a SIGHUP that comes while we start must not end us.
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    daemon = Daemon(path)
    reloads: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        try:
            await daemon.reload()
        except Exception as error:  # noqa: BLE001 - nobody waits for what a signal began
            daemon.facts.fault("reload", error)

    def begin_reload() -> None:
        task = loop.create_task(reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    async with daemon:
        _spare_what_stays()
        loop.add_signal_handler(signal.SIGHUP, begin_reload)
        notify("READY=1")
        was_told = await daemon.wait(stop)
        notify("STOPPING=1")
    return 0 if was_told else BROKEN


def _spare_what_stays() -> None:
    """Have garbage looked for among new objects only.

    A look through all the modules of a daemon stops the loop for 70 ms and finds nothing.
    """
    gc.freeze()
    gc.enable()


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)); nothing happens without it."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        # An abstract socket (unix(7)).
        address = "\0" + address[1:]
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifier,
        # Whoever set the variable has gone: no reason not to serve.
        contextlib.suppress(OSError),
    ):
        notifier.connect(address)
        notifier.sendall(state.encode())
