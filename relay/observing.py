"""What the daemon is watched by: its log, its metrics, the facts told to both, and their trend.

Part of the composition root. Does not know what is looked at for a status or a scrape:
relay.vitals does.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from relay.config.configuration import Configuration
from relay.config.words import LogAddresses, PerSender
from relay.mail.envelope import AccountName, SenderName
from relay.observe.logs import LEVELS, LogFormat, Logger, Render, make_logger
from relay.observe.maillog import MailLog
from relay.observe.masking import Mask
from relay.observe.metrics import Metrics
from relay.observe.recent import Recent
from relay.observe.sink import LogWriter
from relay.observe.tally import tally
from relay.policy.trend import Trend
from relay.ports import Clock
from relay.reloading import Step
from relay.store.disk import make_directory, open_to_write

MINUTE: Final = 60.0
"""Seconds; of what conditions are judged by. Tests have no time for sixty."""
TICK: Final = 1.0  # seconds
AUTO_SENDERS: Final = 50
"""So many senders have counters of their own unless the configuration says otherwise."""
_KEY_OCTETS: Final = 32


class Observing:
    """Log, metrics and facts of one daemon. Raises OSError where the key cannot be kept."""

    def __init__(self, configuration: Configuration, clock: Clock, render: Render | None) -> None:
        self._render = render
        self._clock = clock
        self._configuration = configuration
        self.writer = LogWriter(sys.stdout.buffer)
        self.recent = Recent()
        self.metrics = Metrics()
        self.minute = MINUTE
        self._level = str(configuration.settings.log.level)
        self._masked_by = _mask(configuration)
        self.facts = MailLog(self._logger(configuration, self._level), self.metrics)
        self.trend = Trend(clock.monotonic(), minute=self.minute)
        self.log_level_until: datetime | None = None
        """Until when another level is in force than the configured one."""
        self._falling_back: asyncio.TimerHandle | None = None
        self._told_dropped = 0
        self.metrics.usage.know_senders(_counted(configuration))

    async def prepare(self, found: Configuration) -> Step:
        """Make ready to go by another configuration; raises OSError. See relay.reloading."""
        mask = await asyncio.to_thread(_mask, found)

        def enact() -> None:
            if found.settings.log != self._configuration.settings.log:
                self._masked_by = mask
                if self.log_level_until is None:
                    self._level = str(found.settings.log.level)
                self.facts.logger = self._logger(found, self._level)
            self._configuration = found
            self.metrics.usage.know_senders(_counted(found))

        async def undo() -> None:
            """Nothing has been changed."""

        return Step(enact, undo)

    @property
    def log_level(self) -> str:
        """The least important lines that are written now."""
        return self._level

    def set_log_level(self, level: str, length: timedelta) -> datetime:
        """Log at another level for so long; return until when. Raises ValueError."""
        if level not in LEVELS:
            raise ValueError(f"the levels are {', '.join(LEVELS)}")
        self._cancel()
        self.log_level_until = until = self._clock.now() + length
        self._tell_level(level, length)
        loop = asyncio.get_running_loop()
        self._falling_back = loop.call_later(length.total_seconds(), self.reset_log_level)
        return until

    def reset_log_level(self) -> None:
        """Log at the configured level again."""
        self._cancel()
        if self.log_level_until is not None:
            self.log_level_until = None
            self._tell_level(self._configuration.settings.log.level, None)

    def _tell_level(self, level: str, length: timedelta | None) -> None:
        """Change the level, and say so in the louder of the two."""
        louder = LEVELS[level] < LEVELS[self._level]
        if not louder:
            self._say_level(level, length)
        self._level = str(level)
        self.facts.logger = self._logger(self._configuration, self._level)
        if louder:
            self._say_level(level, length)

    def _say_level(self, level: str, length: timedelta | None) -> None:
        seconds = 0.0 if length is None else length.total_seconds()
        self.facts.service("log_level", to=level, seconds=seconds)

    def _cancel(self) -> None:
        if self._falling_back is not None:
            self._falling_back.cancel()
            self._falling_back = None

    def _logger(self, configuration: Configuration, level: str) -> Logger:
        log = configuration.settings.log
        return make_logger(
            level,
            LogFormat(log.format),
            self.writer,
            is_terminal=sys.stdout.isatty(),
            render=self._render,
            recent=self.recent,
            mask=self._masked_by,
        )

    def count_dropped(self) -> None:
        """Count the lines that were never written."""
        dropped = self.writer.dropped
        self.metrics.log_dropped.inc(dropped - self._told_dropped)
        self._told_dropped = dropped

    def look(self, accounts: Iterable[AccountName]) -> None:
        """Take a sample of what conditions are judged by."""
        self.count_dropped()
        self.trend.sample(tally(self.metrics, accounts), self._clock.monotonic())

    async def run(self, accounts: Callable[[], Iterable[AccountName]]) -> None:
        """Take samples, and look how late the loop is; never ends."""
        loop = asyncio.get_running_loop()
        every = max(1, round(self.minute / 4 / TICK))
        ticks = 0
        while True:
            due = loop.time() + TICK
            await asyncio.sleep(TICK)
            self.metrics.loop_lag.observe(max(0.0, loop.time() - due))
            ticks += 1
            if ticks % every == 0:
                self.look(accounts())

    def close(self) -> None:
        """Write what of the log waits, and no more."""
        self._cancel()
        self.writer.close()


def _counted(configuration: Configuration) -> Collection[SenderName]:
    """Return the senders that have counters of their own."""
    names = [SenderName(sender.name) for sender in configuration.settings.senders]
    match configuration.settings.monitoring.per_sender:
        case PerSender.NEVER:
            return ()
        case PerSender.AUTO if len(names) > AUTO_SENDERS:
            return ()
    return names


def _mask(configuration: Configuration) -> Mask | None:
    """Return what hides addresses, where that is asked for."""
    if configuration.settings.log.addresses is not LogAddresses.HASHED:
        return None
    return Mask(_key(configuration.settings.spool.path))


def _key(spool: Path) -> bytes:
    """Return the key of the spool's log, which is made where there is none."""
    path = spool / "log-key"
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        make_directory(spool)
    else:
        # Else its disk was full, or its machine lost power, in the middle of it.
        if len(found) == _KEY_OCTETS:
            return found
    key = os.urandom(_KEY_OCTETS)
    with os.fdopen(open_to_write(path, os.O_WRONLY | os.O_TRUNC), "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    return key
