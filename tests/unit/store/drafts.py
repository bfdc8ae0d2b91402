"""Drafts with what they share, and no store around them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from relay.mail.envelope import QueueId
from relay.store.content import Contents
from relay.store.draft import StoredDraft
from relay.store.window import Window

QUEUE_ID = QueueId("06H04YCY58GVCD1MB7KG")


@dataclass
class Desk:
    """Where drafts are made, and what they share."""

    contents: Contents
    failures: list[BaseException]
    window: Window = field(default_factory=Window)
    room: int = 1 << 60
    """Octets that files may still grow by."""

    def draft(self, number: int = 0) -> StoredDraft:
        queue_id = QueueId(f"{number:04}{QUEUE_ID[4:]}") if number else QUEUE_ID
        return StoredDraft(queue_id, self.contents, self.window, self.may_grow)

    def may_grow(self, octets: int) -> bool:
        if octets > self.room:
            return False
        self.room -= octets
        return True

    async def come_round(self) -> None:
        """Return once the threads have done all they were asked for, and the loop knows."""
        await self.contents.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def is_clear(self) -> bool:
        window = self.window
        return (window.kept, window.writing, window._freeing, len(window._waiting)) == (0, 0, 0, 0)


@asynccontextmanager
async def desk_in(path: Path) -> AsyncIterator[Desk]:
    """Yield a desk whose files are under that path."""
    for name in ("content", "corrupt"):
        (path / name).mkdir()
    failures: list[BaseException] = []
    desk = Desk(Contents(path, failures.append), failures)
    yield desk
    await desk.contents.close()
