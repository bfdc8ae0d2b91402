"""What operators watch a running daemon with: its log, a client's dialogue, a mail of its own.

Part of the composition root: gathers what relay.web.watching shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final, TypeAlias

from relay.config.configuration import Configuration
from relay.mail.envelope import SenderName
from relay.observing import Observing
from relay.ports import Clock, Rules
from relay.probe import Probe, ProbeError, Way
from relay.smtp.session import Session
from relay.smtp.tracing import Said, Tracing
from relay.store import Store
from relay.web.watching import WatchDesk

Line: TypeAlias = Mapping[str, Any]

# Lines that may wait for whoever watches; a busy client says more than a terminal takes.
_WAITING: Final = 5000
# So often a line is written though nothing is said: who has gone is noticed no sooner.
_BEAT: Final = 5.0  # seconds


class Watching:
    """Tracing, probe and log level of one daemon."""

    def __init__(
        self,
        observing: Observing,
        store: Store,
        rules: Rules,
        clock: Clock,
        *,
        is_paused: Callable[[SenderName], bool],
        configuration: Callable[[], Configuration],
        sessions: Callable[[], Iterable[Session]],
    ) -> None:
        """`sessions` are those open now."""
        self.tracing = Tracing()
        self.probed_at: float | None = None
        """When a probe last came back, in Unix time; the start until then, None without one."""
        self._observing = observing
        self._configuration = configuration
        self._clock = clock
        self._sessions = sessions
        self._stopped = asyncio.Event()
        way = Way(
            spool=store.spool,
            record=store.record,
            rules=rules,
            clock=clock,
            returns=lambda: _has_feedback(configuration()),
            is_paused=is_paused,
        )
        self._probe = Probe(way, observing.facts, self._came_back)

    def start(self, watch: Callable[[Awaitable[None], str], None]) -> None:
        """Begin to probe, where the configuration asks for it; `watch` runs it."""
        probe = self._configuration().settings.probe
        if probe is not None:
            self._observing.metrics.know_probe()
            self._came_back(self._clock.now())
            address = "" if probe.address is None else str(probe.address)
            watch(self._probe.run(probe.every, probe.sender or "", address), "probe")

    def stop(self) -> None:
        """Have nobody watch any more."""
        self._stopped.set()

    def desk(self) -> WatchDesk:
        """Return what the admin API works on."""
        observing = self._observing
        return WatchDesk(
            facts=observing.facts,
            log_level=lambda: (observing.log_level, observing.log_level_until),
            set_log_level=observing.set_log_level,
            reset_log_level=observing.reset_log_level,
            dialogues=self.dialogues,
            selftest=self.selftest,
        )

    def _came_back(self, at: datetime) -> None:
        metrics = self._observing.metrics
        if metrics.probed_at is not None:
            self.probed_at = at.timestamp()
            metrics.probed_at.set(self.probed_at)

    async def selftest(
        self, sender: str, address: str, length: timedelta
    ) -> AsyncGenerator[Line, None]:
        """Send a mail of our own; yield its steps, and last how it ended."""
        try:
            async with aclosing(self._probe.once(sender, address, length)) as steps:
                async for step in _with_beats(steps, self._stopped):
                    yield step
        except ProbeError as error:
            yield {"ended": False, "complaint": str(error)}
            return
        note = "" if _has_feedback(self._configuration()) else "no feedback is configured: SES took"
        note = note and f"{note} the mail, and what became of it nobody will tell"
        yield {"ended": True, "complaint": note}

    async def dialogues(
        self, network: IPv4Network | IPv6Network, length: timedelta
    ) -> AsyncGenerator[Line, None]:
        """Yield what the clients of a network say and hear, for so long, and empty beats."""
        said: asyncio.Queue[Said] = asyncio.Queue(_WAITING)
        missed = 0

        def tell(one: Said) -> None:
            nonlocal missed
            if said.full():
                missed += 1
            else:
                said.put_nowait(one)

        async def lines() -> AsyncGenerator[Line, None]:
            nonlocal missed
            # At once, so that whoever asked knows that we watch.
            yield {}
            while True:
                if missed:
                    yield {"missed": missed}
                    missed = 0
                yield (await said.get())._asdict()

        watch = self.tracing.begin(network, tell, self._sessions())
        over = asyncio.Event()
        ending = asyncio.get_running_loop().call_later(length.total_seconds(), over.set)
        try:
            async with aclosing(_with_beats(lines(), self._stopped, over)) as beaten:
                async for line in beaten:
                    yield line
        finally:
            ending.cancel()
            self.tracing.end(watch)


async def _with_beats(
    lines: AsyncGenerator[Line, None], *ends: asyncio.Event
) -> AsyncGenerator[Line, None]:
    """Yield lines until one of the ends, and an empty one where the next is long in coming."""
    ending: list[asyncio.Future[Any]] = [asyncio.ensure_future(end.wait()) for end in ends]
    following: asyncio.Future[Line] | None = None
    try:
        while True:
            following = asyncio.ensure_future(anext(lines))
            while not following.done():
                waits = [*ending, following]
                await asyncio.wait(waits, timeout=_BEAT, return_when=asyncio.FIRST_COMPLETED)
                if any(one.done() for one in ending):
                    return
                if not following.done():
                    yield {}
            try:
                line = following.result()
            except StopAsyncIteration:
                return
            yield line
    finally:
        waits = [*ending, *([following] if following is not None else [])]
        for one in waits:
            one.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        # Only once nobody is in it any more.
        await lines.aclose()


def _has_feedback(configuration: Configuration) -> bool:
    return configuration.settings.feedback.is_on
