"""A start with a queue of a million: how long until the greeting, and until SES is called.

`make million`, or `python -m bench.million --messages 1000000`. The real daemon, the simulated SES,
a spool as bench.filled makes it. It is started three times: with the spool as an orderly stop left
it, after a `kill -9` amid sending, and after another. Exits 1 when a bound is not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from bench.filled import Filling, fill
from bench.stand_in import free_port
from bench.subjects import ROOT
from relay.simulator import DEMO_CREDENTIAL, Settings, Simulator

_STARTS: Final = ("after an orderly stop", "after kill -9", "after kill -9 again")
_BANNER: Final = 2.0  # seconds
_FIRST_CALL: Final = 5.0  # seconds
_MEMORY: Final = 150.0  # MiB
# How long mail goes out before the memory is looked at, and the process killed.
_SENDING: Final = 10.0  # seconds
_PATIENCE: Final = 120.0  # seconds

_CONFIGURATION: Final = """
hostname: bench.example
listeners:
  - {{name: legacy, address: "127.0.0.1:{smtp}", tls: off, auth: off}}
senders:
  - {{name: app, networks: [127.0.0.0/8], from: ["@example.com"]}}
  - {{name: newsletter, networks: [10.0.0.0/8], from: ["@example.com"], priority: bulk}}
ses:
  accounts: {{main: {{region: eu-west-1, endpoint_url: "{ses}"}}}}
spool: {{path: {spool}}}
http: {{metrics: "127.0.0.1:0", admin: {admin}}}
"""


class Start(NamedTuple):
    """One start, measured: seconds, seconds, MiB at the peak, and calls that SES took."""

    banner: float
    first_call: float
    memory: float
    sent: int

    def complaints(self) -> list[str]:
        """Return which bounds were not kept."""
        return [
            f"{name}: {value:.2f} is above {most:g}"
            for name, value, most in (
                ("seconds until the banner", self.banner, _BANNER),
                ("seconds until the first call to SES", self.first_call, _FIRST_CALL),
                ("MiB of memory", self.memory, _MEMORY),
            )
            if value > most
        ]


async def _greeting(port: int) -> None:
    """Return once a client is greeted."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            await asyncio.sleep(0.005)
            continue
        try:
            line = await reader.readline()
        finally:
            writer.close()
        if not line.startswith(b"220"):
            raise SystemExit(f"million: the greeting is {line!r}")
        return


@asynccontextmanager
async def _daemon(config: Path, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": DEMO_CREDENTIAL.access_key,
        "AWS_SECRET_ACCESS_KEY": DEMO_CREDENTIAL.secret_key,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "relay", "serve", "--config", str(config)),
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=out,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def _peak(pid: int) -> float:
    """Return the most memory the process ever had, in MiB (proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


async def _start(config: Path, log: Path, port: int, ses: Simulator) -> Start:
    """Start the daemon, let it send for a while, and end it with kill -9."""
    taken = ses.taken
    began = time.monotonic()
    async with asyncio.timeout(_PATIENCE), _daemon(config, log) as process:
        await _greeting(port)
        banner = time.monotonic() - began
        await ses.wait_for(lambda: ses.taken > taken)
        first_call = time.monotonic() - began
        await asyncio.sleep(_SENDING)
        memory, sent = _peak(process.pid), ses.taken - taken
        process.send_signal(signal.SIGKILL)
    return Start(banner, first_call, memory, sent)


async def measure(filling: Filling, directory: Path) -> dict[str, Start]:
    """Return what each kind of start took, of a spool made and used in that directory."""
    began = time.monotonic()
    spool = directory / "spool"
    if not spool.exists():
        fill(spool, filling, now=datetime.now(UTC))
    print(f"made in {time.monotonic() - began:.0f} s")
    settings = Settings(
        identities=frozenset({"example.com"}),
        max_send_rate=10_000.0,
        daily_quota=-1,
        control_rate=None,
    )
    starts = {}
    async with Simulator(settings) as ses:
        config, port = directory / "relay.yaml", free_port()
        config.write_text(
            _CONFIGURATION.format(
                smtp=port, ses=ses.url, spool=spool, admin=directory / "admin.sock"
            )
        )
        for kind in _STARTS:
            starts[kind] = await _start(config, directory / "log", port, ses)
    return starts


def main() -> None:
    """Make the spool, start the daemon, print the table; exit 1 when a bound is not kept."""
    parser = argparse.ArgumentParser(prog="python -m bench.million", description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=4096, help="octets of each message")
    parser.add_argument("--files", type=int, default=0, help="how many are in files of their own")
    parser.add_argument("--directory", type=Path, help="where the spool is made, and then kept")
    arguments = parser.parse_args()
    filling = Filling(arguments.messages, arguments.size, arguments.files)
    print(
        f"{filling.messages} queued messages of {filling.size} octets, {filling.files} of them "
        f"in files; each start followed by {_SENDING:g} s of sending"
    )
    with tempfile.TemporaryDirectory(dir=Path.home()) as temporary:
        directory = arguments.directory or Path(temporary)
        starts = asyncio.run(measure(filling, directory))
    print("| start | greeting, s | first call to SES, s | peak memory, MiB | sent meanwhile |")
    print("|---|---|---|---|---|")
    for kind, one in starts.items():
        print(
            f"| {kind} | {one.banner:.2f} | {one.first_call:.2f} | {one.memory:.0f} | {one.sent} |"
        )
    print(f"| bound | {_BANNER:.2f} | {_FIRST_CALL:.2f} | {_MEMORY:.0f} | |")
    complaints = [f"{kind}: {one}" for kind, start in starts.items() for one in start.complaints()]
    if complaints:
        sys.exit("\n".join(complaints))


if __name__ == "__main__":
    main()
