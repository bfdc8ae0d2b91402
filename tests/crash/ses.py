"""SES in bad weather: slow, throttling, at times without an answer after it took the mail.

The simulator of the relay with a weather of its own. A call that was read whole goes on to its end
whatever becomes of its client, as it would in a service that is far away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Final

from aiohttp import web

from relay.simulator import ApiError, Fault, ResetUnread, Settings, Simulator
from relay.simulator.query_api import QueryApi, _cut, _reset
from relay.simulator.service import Account, Request
from relay.simulator.shelf import Message, Shelf
from relay.simulator.watch import Watch


@dataclass(frozen=True)
class Weather:
    """What the next calls may meet, in parts of a thousand; most are answered as they should be."""

    late: int = 0
    """Taken only after a while, not at once."""
    throttled: int = 0
    unanswered: int = 0
    """Reset behind the request, and not taken."""
    lost: int = 0
    """Reset behind the request, and taken."""
    cut: int = 0
    """Answered by half, and taken."""
    broken: int = 0
    """503, and not taken."""
    unread: int = 0
    """The connection reset before the request of the next one is read."""


FAIR: Final = Weather()
FOUL: Final = Weather(late=150, throttled=40, unanswered=8, lost=12, cut=6, broken=4, unread=15)

LATENCY: Final = 0.025
"""Seconds an answer takes at most."""


@dataclass(eq=False)
class Call:
    """One request that SES has read whole, and what became of it."""

    request: Request
    message: Message | None = None
    """What was taken, once it was."""
    loses_answer: bool = False
    """Whether the relay will get no answer for it, by the weather."""


@dataclass
class _Noting(Shelf):
    """A shelf that keeps nothing but the last message."""

    last: Message | None = None

    def __post_init__(self) -> None:
        super().__init__(keep_messages=1, keep_bytes=1)

    def add(self, message: Message) -> None:
        self.last = message
        self.taken += 1


class Ses(Simulator):
    """The simulator; `took` is called with each call the moment its mail is taken."""

    def __init__(self, seed: str, took: Callable[[Call], None]) -> None:
        super().__init__(
            Settings(
                identities=frozenset({"example.com"}),
                max_send_rate=10_000.0,
                daily_quota=-1,
                control_rate=None,
            )
        )
        self._account.shelf = shelf = _Noting()
        self._api = self._foul = _Api(self._account, self._watch, shelf, seed, took)

    @property
    def weather(self) -> Weather:
        """What calls meet now."""
        return self._foul.weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        self._foul.weather = weather

    @property
    def open_calls(self) -> int:
        """Calls read whole whose answer has not been given to the network."""
        return len(self._foul.open)

    async def quiet(self) -> None:
        """Return once everything that came from a client that is gone has been dealt with."""
        assert self._runner is not None
        assert self._runner.server is not None
        # aiohttp tells nobody when a connection is gone.
        while self._runner.server.connections or self._foul.open:  # noqa: ASYNC110
            await asyncio.sleep(0.002)

    async def __aexit__(self, *error: object) -> None:
        for task in self._foul.tasks:
            task.cancel()
        await super().__aexit__(*error)  # type: ignore[arg-type]


class _Api(QueryApi):
    def __init__(
        self,
        account: Account,
        watch: Watch,
        shelf: _Noting,
        seed: str,
        took: Callable[[Call], None],
    ) -> None:
        super().__init__(account, watch)
        self.weather = FAIR
        self.open: set[Call] = set()
        self.tasks: set[asyncio.Task[web.StreamResponse]] = set()
        self._shelf = shelf
        self._dice = Random(seed)  # noqa: S311 - to be drawn again
        self._took = took

    async def _act(self, act: object, http: web.Request, request: Request) -> web.StreamResponse:
        if request.action != "SendRawEmail":
            return self._perform(request)
        call = Call(request)
        self.open.add(call)
        task = asyncio.create_task(self._answer(call, http))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        task.add_done_callback(lambda _: self.open.discard(call))
        return await asyncio.shield(task)

    async def _answer(self, call: Call, http: web.Request) -> web.StreamResponse:
        weather, request, dice = self.weather, call.request, self._dice
        fates = ("late", "throttled", "unanswered", "lost", "cut", "broken")
        weights = [getattr(weather, fate) for fate in fates]
        if dice.randrange(1000) < weather.unread:
            self._account.faults.clear()
            self._account.faults.add(Fault(act=ResetUnread()))
        (fate,) = dice.choices(("fair", *fates), (1000 - sum(weights), *weights))
        pause = dice.random() * LATENCY
        match fate:
            case "throttled":
                refusal = ApiError("Throttling", "Maximum sending rate exceeded.")
                return self._refuse(request.api, request, refusal)
            case "unanswered":
                call.loses_answer = True
                await asyncio.sleep(pause)
                return _reset(http)
            case "broken":
                call.loses_answer = True
                return web.Response(status=503, text="<html>down</html>")
            case "lost":
                call.loses_answer = True
                self._take(call)
                await asyncio.sleep(pause)
                return _reset(http)
            case "cut":
                call.loses_answer = True
                answer = self._take(call)
                with suppress(ConnectionError):
                    return await _cut(answer, http, 20)
                return answer
            case "late":
                await asyncio.sleep(pause)
                return self._take(call)
            case _:
                answer = self._take(call)
                await asyncio.sleep(pause)
                return answer

    def _take(self, call: Call) -> web.Response:
        self._shelf.last = None
        answer = self._perform(call.request)
        call.message = self._shelf.last
        if call.message is not None:
            self._took(call)
        return answer
