"""The servers measured: how each is started, and how one knows that it has nothing left to do."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from bench.configuration import Places, relay_yaml
from bench.logs import RELAYED, Log
from bench.points import Point
from bench.stand_in import StandIn, free_port, wait_for_port
from tests.tls import certificate_files

ROOT: Final = Path(__file__).parents[1]
SBIN: Final = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
# Where it may be had: two for each of ten thousand connections, and some.
_DESCRIPTORS: Final = 65_536


@dataclass(frozen=True, slots=True)
class Running:
    """A started server: where it listens, whose CPU counts, what it finished."""

    port: int
    pid: int
    authority: Path
    """PEM: whom clients believe that it is this server."""
    log: Log | None = None
    """What it is done with; None where accepting is finishing."""


Subject = Callable[[Point, StandIn], AbstractContextManager[Running]]
"""Starts a server as a point wants it, that sends to the SES stand-in."""


@contextmanager
def relay(
    point: Point,
    ses: StandIn,
    *,
    launcher: tuple[str, ...] = ("relay", "serve"),
    spool: Path | None = None,
    connections: int = 1000,
    senders: str = "",
) -> Iterator[Running]:
    """This relay as configured for production: durable spool, policy, metrics and log on.

    `spool` is one that has mail in it already.
    """
    with directory_on_disk() as directory:
        certificate, key = certificate_files(directory)
        places = Places(
            free_port(),
            spool or directory / "spool",
            directory / "admin.sock",
            ses.url,
            certificate,
            key,
        )
        config = directory / "relay.yaml"
        config.write_text(relay_yaml(point, places, connections=connections, senders=senders))
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CA_BUNDLE": str(ses.authority),
        }
        module, *words = launcher
        command = [sys.executable, "-m", module, *words, "--config", str(config)]
        log = directory / "log"
        with log.open("wb") as out, _started(command, places.port, out, environment) as pid:
            yield Running(places.port, pid, certificate, Log(log, RELAYED))


@contextmanager
def aiosmtpd_boto3(_point: Point, ses: StandIn) -> Iterator[Running]:
    """The two libraries put together, nothing durable."""
    port = free_port()
    command = [sys.executable, "-m", "bench.baseline_boto3", str(port), ses.url]
    with _started(command, port, subprocess.DEVNULL) as pid:
        yield Running(port, pid, ses.authority)


def tool(name: str) -> str:
    """Return the path of one of the programs that come with Postfix."""
    path = shutil.which(name, path=SBIN)
    if path is None:
        raise SystemExit(f"bench: {name} is not installed (Debian: apt-get install postfix)")
    return path


def load_generator() -> str:
    """Return the path of smtp-source, Postfix's own load generator."""
    return tool("smtp-source")


@contextmanager
def directory_on_disk() -> Iterator[Path]:
    """Yield a directory on the disk of the tree, which unlike /tmp is never memory."""
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as name:
        yield Path(name)


def allow_descriptors() -> int:
    """Let this process, and those it starts, have all the files open they may; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        # Root may have more.
        resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, max(hard, _DESCRIPTORS)))
        return _DESCRIPTORS
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@contextmanager
def _started(
    command: list[str], port: int, out: IO[bytes] | int, environment: dict[str, str] | None = None
) -> Iterator[int]:
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=out,
        stderr=subprocess.STDOUT,
    )
    try:
        try:
            wait_for_port(port)
        except OSError as error:
            said = "" if isinstance(out, int) else Path(out.name).read_text(errors="replace")
            raise SystemExit(f"bench: {command} does not serve: {said[-2000:]}") from error
        # Let start-up work end before CPU is read.
        time.sleep(1.0)
        yield process.pid
    finally:
        process.terminate()
        process.wait()
