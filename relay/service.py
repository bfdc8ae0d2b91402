"""The process around the daemon: its loop, its signals, and what systemd is told.

Does not know what the daemon is made of.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from relay.activation import Inherited
from relay.daemon import Daemon
from relay.supervisor import Supervisor

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
    # The watchdog ends us by SIGABRT: where each thread was is all that is left to learn from.
    faulthandler.enable()
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    # Before anything else: a SIGHUP that comes while we start must not end us, nor be forgotten,
    # for the file may have changed since it was read.
    asked_early = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, asked_early.set)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    supervisor = Supervisor(os.environ)
    daemon = Daemon(path, inherited=Inherited.found(os.environ), supervisor=supervisor)
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
        supervisor.ready("configuration 1 is in force")
        if asked_early.is_set():
            begin_reload()
        was_told = await daemon.wait(stop)
        supervisor.stopping()
    return 0 if was_told else BROKEN


def _spare_what_stays() -> None:
    """Have garbage looked for among new objects only.

    A look through all the modules of a daemon stops the loop for 70 ms and finds nothing.
    """
    gc.freeze()
    gc.enable()
