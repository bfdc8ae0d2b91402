"""`python -m tests.system.watched`: the relay with minutes of less than a second; else as it is.

The words behind it are the relay's own. What conditions are judged by is no configuration, and a
test cannot wait for a quarter of an hour. Its SNS is the simulator at RELAY_TEST_SIMULATOR, whose
certificate nobody else could fetch. RELAY_TEST_LOG_LINES is how many lines of the log may wait.
"""

from __future__ import annotations

import asyncio
import os
import urllib.request
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from relay import daemon, observing
from relay.cli import main
from relay.delivery import sweeper
from relay.observe import sink
from relay.policy import breaker, conditions

MINUTE: Final = 0.4  # seconds
LONGEST: Final = 15
"""Minutes: what is looked at for longer is looked at for so long here."""
VOLUME: Final = 20
"""Where hundreds of recipients are needed for a share to say something, so many are here."""


class _Gateway:
    """The simulator's certificate, and confirmation by asking the simulator."""

    def __init__(self, *_: object) -> None:
        self._simulator = os.environ.get("RELAY_TEST_SIMULATOR", "")

    async def certificate(self, _url: str) -> bytes:
        return await asyncio.to_thread(self._get, "/_simulator/certificate")

    async def confirm(self, url: str) -> None:
        (token,) = parse_qs(urlsplit(url).query)["Token"]
        await asyncio.to_thread(self._get, f"/_simulator/confirm?token={token}")

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self._simulator + path) as answer:
            return bytes(answer.read())


if __name__ == "__main__":
    modules: dict[Any, dict[str, Any]] = {
        daemon: {"HttpsSnsGateway": _Gateway},
        observing: {"MINUTE": MINUTE, "TICK": MINUTE / 4},
        conditions: {
            **dict.fromkeys(("FEEDBACK_SILENCE", "FAILED_WINDOW", "DAY", "PROBE_SILENCE"), LONGEST),
            **dict.fromkeys(("REPUTATION_VOLUME", "FEEDBACK_VOLUME", "FAILED_VOLUME"), VOLUME),
        },
        breaker: {"FIRST_PAUSE": 0.1, "LONGEST_PAUSE": 0.4},
        sweeper: {"TICK": 0.05, "REST": 0.1},
    }
    for module, changes in modules.items():
        vars(module).update(changes)
    if lines := os.environ.get("RELAY_TEST_LOG_LINES"):
        vars(sink.LogWriter)["__init__"].__defaults__ = (int(lines),)
    main()
