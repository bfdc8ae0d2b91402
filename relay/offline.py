"""A stopped daemon's spool, opened for operators: the admin API over it, inside this process.

Part of the composition root. The spool's own lock keeps it apart from a daemon, and from another
operator.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from relay.clock import SystemClock
from relay.mail.envelope import SenderName
from relay.observe.logs import LogFormat, make_logger
from relay.observe.maillog import MailLog
from relay.observe.metrics import Metrics
from relay.observe.sink import LogWriter
from relay.policy.retry import AMBIGUOUS_WITHOUT_EVENTS
from relay.ports import SpoolError
from relay.store import Store
from relay.store.opening import RECORD_DATABASE, SPOOL_DATABASE
from relay.web.admin import queue_only
from relay.web.site import Site
from relay.wiring import node, queue_desk

Connect = Callable[[], socket.socket]
"""Returns a connection to the admin API."""


_UNSAID: Final = frozenset({"level", "timestamp"})


class NoSpoolError(SpoolError):
    """There is no spool in that place."""


@contextmanager
def stopped_spool(path: Path, senders: Collection[SenderName] | None) -> Iterator[Connect]:
    """Open a spool that no daemon has, and yield the way to its admin API; close it after.

    It is put in order first, as a daemon does at its start. Raises SpoolError in words for an
    operator: there is no spool, or somebody has it. What goes wrong with it later is on standard
    error.
    """
    for name in (SPOOL_DATABASE, RECORD_DATABASE):
        # To open it would make one, and whoever mistypes a path would see an empty queue.
        try:
            (path / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            raise NoSpoolError(f"{path} is no spool: it has no {name}") from None
        except OSError as error:
            raise SpoolError(f"spool {path} cannot be used: {error.strerror}") from error
    opened = _Opened(path, senders)
    thread = threading.Thread(target=opened.run, name="spool", daemon=True)
    thread.start()
    try:
        yield opened.wait()
    finally:
        opened.end()
        thread.join()


class _Opened:
    """An open spool with a loop of its own, for a caller that has none."""

    def __init__(self, path: Path, senders: Collection[SenderName] | None) -> None:
        self._path = path
        self._senders = senders
        self._ready = threading.Event()
        self._error: Exception | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._site: Site | None = None
        self._ending = asyncio.Event()
        self._is_ended = False

    def wait(self) -> Connect:
        self._ready.wait()
        if self._error is not None:
            raise self._error
        return self._connect

    def end(self) -> None:
        # Whoever is interrupted while it is opened has no loop to tell yet.
        self._is_ended = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._ending.set)

    def run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        log = LogWriter(sys.stderr.buffer)
        try:
            # What is news to a daemon's log is noise to somebody who has just asked for it.
            logger = make_logger("error", LogFormat.CONSOLE, log, render=_said)
            facts = MailLog(logger, Metrics())
            clock = SystemClock()
            store = await Store.open(
                self._path,
                clock=clock,
                facts=facts,
                node=node(),
                ambiguous_wait=AMBIGUOUS_WITHOUT_EVENTS,
                # Nothing is accepted here, and what is there already is wherever it is.
                unsafe=True,
                is_running=False,
            )
            async with store:
                # Nobody is waiting for mail that falls due.
                desk = queue_desk(store, facts, clock, lambda: self._senders, lambda _: None)
                self._site = site = Site(queue_only(desk), facts)
                await site.open()
                self._loop = asyncio.get_running_loop()
                self._ready.set()
                try:
                    if not self._is_ended:
                        await self._ending.wait()
                finally:
                    desk.orders.stop()
                    await site.close()
        finally:
            log.close()

    def _connect(self) -> socket.socket:
        """Return one end of a pair of sockets, whose other end is served. From another thread."""
        assert self._loop is not None  # noqa: S101 - it was waited for
        assert self._site is not None  # noqa: S101 - likewise
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        asyncio.run_coroutine_threadsafe(self._site.serve(theirs), self._loop).result()
        return ours


def _said(event: MutableMapping[str, Any]) -> str:
    """Say what goes wrong in a line. Only a fault of ours has a traceback: a sick disk is none."""
    error, name = event.pop("exc_info", None), event.pop("event")
    words = [f"{key}={value}" for key, value in event.items() if value and key not in _UNSAID]
    if isinstance(error, SpoolError):
        words.append(str(error))
    elif isinstance(error, BaseException):
        words.append("".join(traceback.format_exception(error)))
    return f"relay: {name}: {', '.join(words)}"
