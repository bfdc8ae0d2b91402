"""The relay as feedback meets it: the daemon, with a signing certificate from a file.

`python -m bench.feedback_ours CONFIG CERTIFICATE`. Everything is the relay's own but where SNS's
certificate comes from: nobody can sign for the real one.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from relay.daemon import Daemon
from relay.service import run


class _Certificate:
    def __init__(self, path: Path) -> None:
        self._pem = path.read_bytes()

    async def certificate(self, _url: str) -> bytes:
        return self._pem

    async def confirm(self, _url: str) -> None:
        raise AssertionError("nobody subscribes in a benchmark")


async def _serve(config: Path, certificate: Path) -> int:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Daemon(config, gateway=_Certificate(certificate)) as daemon:
        await daemon.wait(stop)
    return 0


if __name__ == "__main__":
    sys.exit(run(lambda: _serve(Path(sys.argv[1]), Path(sys.argv[2]))))
