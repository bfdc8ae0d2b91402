"""An image put before the real daemon, which has to send what is in it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.crash.campaign import configure
from tests.crash.disk import Pair
from tests.crash.mails import Letter, mark_of, without_trace
from tests.crash.ses import Call, Ses
from tests.crash.victim import Victim
from tests.forked import Nursery
from tests.power.check import Observation
from tests.power.images import Image

_PATIENCE: Final = 30.0  # seconds


async def send(
    image: Image, seen: Observation, letters: Mapping[int, Letter], nursery: Nursery
) -> list[str]:
    """Start the relay on an image; return what is wrong with what SES gets of it."""
    with tempfile.TemporaryDirectory(prefix="relay-power-") as name:
        directory = Path(name)
        image.write(directory)
        return await _Revival(directory, letters, nursery).run(
            {(mail, one) for mail, found in seen.mails.items() for one in found.states}
        )


class _Revival:
    def __init__(self, directory: Path, letters: Mapping[int, Letter], nursery: Nursery) -> None:
        self._directory = directory
        self._letters = letters
        self._nursery = nursery
        self._news = asyncio.Event()
        self._taken: list[Pair] = []
        self._told: set[Pair] = set()
        self._complaints: list[str] = []

    async def run(self, owed: set[Pair]) -> list[str]:
        config = self._directory / "relay.yaml"
        async with Ses("fair", self._took) as ses:
            configure(config, ses.url, self._directory)
            victim = Victim(self._nursery, config, self._heard)
            await victim.start()
            async with asyncio.timeout(_PATIENCE):
                while not (owed <= self._told or victim.has_ended):
                    self._news.clear()
                    await self._news.wait()
            victim.stop()
            code = await victim.end()
        if code or sorted(self._taken) != sorted(owed):
            self._complaints.append(
                f"exit {code}, {victim.complaints!r}: it sent {self._taken} instead of {owed}"
            )
        return self._complaints

    def _took(self, call: Call) -> None:
        message = call.message
        assert message is not None
        letter = self._letters.get(mark_of(message.raw))
        name = dict(message.tags)["relay-id"]
        if letter is None or not letter.is_in(message.source, without_trace(message.raw)):
            self._complaints.append(f"{name}: what it sent is nothing anybody sent")
        self._taken += [(name, str(one)) for one in message.recipients]

    def _heard(self, line: dict[str, Any]) -> None:
        if line["event"] == "mail.relayed":
            self._told.add((line["queue_id"], line["recipient"]))
        self._news.set()
