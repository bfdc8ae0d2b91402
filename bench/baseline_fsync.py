"""Durability the plain way: one file and its fsyncs per message, with aiosmtpd in front.

Run as `python -m bench.baseline_fsync SMTP_PORT DIRECTORY`. Nothing is sent onward: this is what
keeping alone costs when every message pays for its own fsync.
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import uvloop
from aiosmtpd.smtp import SMTP

LANES = 10


class Handler:
    """Keeps each message in a file of its own before the 250."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lanes = ThreadPoolExecutor(LANES)
        self._numbers = count()

    async def handle_DATA(self, _server: SMTP, _session: Any, envelope: Any) -> str:  # noqa: N802
        """Write, sync, rename, sync the directory."""
        name = f"{next(self._numbers):09d}"
        content = envelope.content

        def keep() -> None:
            draft = self._directory / f".{name}"
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(self._directory / name)
            directory = os.open(self._directory, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

        await asyncio.get_running_loop().run_in_executor(self._lanes, keep)
        return f"250 Ok queued as {name}"


async def main(port: int, directory: Path) -> None:
    """Serve until killed."""
    handler = Handler(directory)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, hostname="bench", data_size_limit=64 << 20), "127.0.0.1", port
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), Path(sys.argv[2])))
