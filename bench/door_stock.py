"""aiosmtpd as it comes, with a handler that throws content away. Nothing is stored or sent.

Run as `python -m bench.door_stock PORT [asyncio]`. On uvloop, as ours is, unless asyncio's own loop
is asked for; its log of every command is off. What is compared is the protocol.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import Any

import uvloop
from aiosmtpd.smtp import SMTP

from bench.stalls import watch


class Handler:
    """Accepts everything."""

    async def handle_DATA(self, _server: SMTP, _session: Any, _envelope: Any) -> str:  # noqa: N802
        """Throw the content away."""
        return "250 Ok"


async def main(port: int) -> None:
    """Serve until killed."""
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(Handler(), hostname="bench", data_size_limit=64 << 20), "127.0.0.1", port
    )
    watch(loop, time.thread_time)
    await server.serve_forever()


if __name__ == "__main__":
    (asyncio.run if "asyncio" in sys.argv else uvloop.run)(main(int(sys.argv[1])))
