"""`relay serve` with somebody who looks how long its loop is held up.

Run as `python -m bench.watched STALLS --config FILE`; what bench.stalls finds is written to STALLS.
For that one figure only: looking costs CPU, so everything else is measured without.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

from bench.stalls import watch
from relay.service import run, serve


def main() -> int:
    """Serve until SIGTERM; return the exit code of the relay."""
    parser = argparse.ArgumentParser(prog="python -m bench.watched", description=__doc__)
    parser.add_argument("stalls", type=Path)
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args()
    with arguments.stalls.open("w") as out:

        async def watched() -> int:
            watch(asyncio.get_running_loop(), time.thread_time, out)
            return await serve(arguments.config)

        return run(watched)


if __name__ == "__main__":
    sys.exit(main())
