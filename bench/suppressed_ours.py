"""A list of a million suppressed addresses: how long to start, how much memory, how fast asked.

`python -m bench.suppressed_ours DIRECTORY COUNT` fills record.db and prints JSON: seconds from
opening the store until it is open, MiB that the list adds to the process, microseconds of a lookup.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from relay.clock import SystemClock
from relay.mail.address import Address
from relay.observe.logs import LogFormat, make_logger
from relay.observe.maillog import MailLog
from relay.observe.metrics import Metrics
from relay.observe.sink import LogWriter
from relay.store import Store, schema

_LOOKUPS = 200_000


def _address(number: int) -> str:
    return f"somebody.{number}@mailbox{number % 9973}.example.net"


def _rows(count: int) -> Iterator[tuple[str, str]]:
    for number in range(count):
        yield _address(number), _address(number)


def _fill(path: Path, count: int) -> None:
    with closing(schema.connect(path)) as connection:
        schema.migrate(connection, schema.RECORD)
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO suppression VALUES "
            "(?, '', 'bounce', 'hard bounce', 0, 0, NULL, 'f', ?, 0)",
            _rows(count),
        )
        connection.execute("COMMIT")


def _resident() -> int:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096


async def _measure(directory: Path, count: int) -> dict[str, float]:
    with (directory / "log").open("wb") as out:
        writer = LogWriter(out)
        facts = MailLog(make_logger("error", LogFormat.JSON, writer, is_terminal=False), Metrics())

        async def opened(path: Path) -> Store:
            return await Store.open(
                path,
                clock=SystemClock(),
                facts=facts,
                node="bench",
                ambiguous_wait=timedelta(minutes=30),
                unsafe=True,
            )

        async with await opened(directory / "empty"):
            pass
        before, began = _resident(), time.perf_counter()
        async with await opened(directory / "full") as store:
            start = time.perf_counter() - began
            # The copy on disk has just been written; what it took meanwhile is none of the list's.
            gc.collect()
            added = _resident() - before
            asked = [Address.parse(_address(n * 7)) for n in range(_LOOKUPS)]
            taken = []
            listed = 0
            for address in asked:
                at = time.perf_counter_ns()
                listed += store.suppressions.may_hold(address)
                taken.append(time.perf_counter_ns() - at)
            if listed != sum(n * 7 < count for n in range(_LOOKUPS)):
                raise SystemExit("bench: somebody who is listed was not found")
        writer.close()
    taken.sort()
    return {
        "start_seconds": start,
        "memory_mib": added / 2**20,
        "p50_us": taken[len(taken) // 2] / 1000,
        "p99_us": taken[len(taken) * 99 // 100] / 1000,
    }


def main() -> None:
    """Fill, measure, print."""
    directory, count = Path(sys.argv[1]), int(sys.argv[2])
    (directory / "full").mkdir()
    _fill(directory / "full" / "record.db", count)
    print(json.dumps(asyncio.run(_measure(directory, count))))


if __name__ == "__main__":
    main()
