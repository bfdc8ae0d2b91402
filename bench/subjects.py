"""The servers measured: how each is started, and how one knows that it has nothing left to do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from bench.stand_in import free_port, wait_for_port

ROOT: Final = Path(__file__).parents[1]
SBIN: Final = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"


@dataclass(frozen=True, slots=True)
class Running:
    """A started server: where it listens, whose CPU counts, how many messages it finished."""

    port: int
    pid: int
    finished: Callable[[], int | None]
    """Messages done with so far; None where accepting is finishing."""


Subject = Callable[[str], AbstractContextManager[Running]]
"""Starts a server that sends to the SES stand-in at the given URL."""

_RELAY_YAML: Final = """
hostname: bench.example
listeners:
  - {{name: legacy, address: "127.0.0.1:{smtp}", tls: off, auth: off}}
senders:
  - name: bench
    networks: [127.0.0.0/8]
    from: ["@example.com"]
ses:
  accounts: {{main: {{region: eu-west-1, endpoint_url: "{ses}", max_send_rate: 1000000/s}}}}
spool: {{path: {spool}}}
http: {{metrics: "127.0.0.1:{metrics}", admin: {spool}/admin.sock}}
log: {{format: json}}
"""


@contextmanager
def relay(ses_url: str) -> Iterator[Running]:
    """This relay as configured for production: durable spool, policy, metrics and logging on."""
    with _directory() as directory:
        smtp, metrics = free_port(), free_port()
        config = directory / "relay.yaml"
        config.write_text(
            _RELAY_YAML.format(smtp=smtp, metrics=metrics, ses=ses_url, spool=directory / "spool")
        )
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        command = [sys.executable, "-m", "relay", "serve", "--config", str(config)]
        log = directory / "log"
        with log.open("wb") as out, _started(command, smtp, out, environment) as pid:

            def finished() -> int:
                url = f"http://127.0.0.1:{metrics}/metrics"
                with urllib.request.urlopen(url, timeout=10) as answer:
                    text = answer.read().decode()
                counts = re.findall(
                    r"^relay_recipients_relayed_total\{.*\} ([0-9.e+]+)$", text, re.MULTILINE
                )
                return int(sum(float(count) for count in counts))

            yield Running(smtp, pid, finished)


@contextmanager
def aiosmtpd_boto3(ses_url: str) -> Iterator[Running]:
    """The two libraries put together, nothing durable."""
    port = free_port()
    command = [sys.executable, "-m", "bench.baseline_boto3", str(port), ses_url]
    with _started(command, port, subprocess.DEVNULL) as pid:
        yield Running(port, pid, lambda: None)


@contextmanager
def aiosmtpd_fsync(_ses_url: str) -> Iterator[Running]:
    """A file and its fsyncs per message, nothing sent."""
    with _directory() as directory:
        port = free_port()
        command = [sys.executable, "-m", "bench.baseline_fsync", str(port), str(directory)]
        with _started(command, port, subprocess.DEVNULL) as pid:
            yield Running(port, pid, lambda: None)


_MAIN_CF: Final = """
compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
maillog_file = {root}/log
maillog_file_prefixes = {root}
mail_owner = postfix
setgid_group = postdrop
myhostname = bench.example
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = [127.0.0.1]:{sink}
smtp_tls_security_level = none
smtpd_tls_security_level = none
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
disable_dns_lookups = yes
default_destination_concurrency_limit = 20
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
alias_maps =
alias_database =
"""
_MASTER_CF: Final = """
{port}     inet  n - n - - smtpd
pickup     unix  n - n 60 1 pickup
cleanup    unix  n - n - 0 cleanup
qmgr       unix  n - n 300 1 qmgr
rewrite    unix  - - n - - trivial-rewrite
bounce     unix  - - n - 0 bounce
defer      unix  - - n - 0 bounce
trace      unix  - - n - 0 bounce
verify     unix  - - n - 1 verify
proxymap   unix  - - n - - proxymap
smtp       unix  - - n - - smtp
relay      unix  - - n - - smtp
showq      unix  n - n - - showq
error      unix  - - n - - error
retry      unix  - - n - - error
discard    unix  - - n - - discard
anvil      unix  - - n - 1 anvil
scache     unix  - - n - 1 scache
postlog    unix-dgram n - n - 1 postlogd
"""


@contextmanager
def postfix(_ses_url: str) -> Iterator[Running]:
    """Postfix from Debian, durable, relaying to smtp-sink (its CPU is not counted)."""
    with _directory() as root:
        port, sink_port = free_port(), free_port()
        root.chmod(0o755)
        config, queue, data = root / "etc", root / "queue", root / "data"
        for path in (config, queue, data):
            path.mkdir()
        shutil.chown(data, "postfix")
        (config / "main.cf").write_text(_MAIN_CF.format(root=root, sink=sink_port))
        (config / "master.cf").write_text(_MASTER_CF.format(port=port))
        sink = subprocess.Popen(
            [_tool("smtp-sink"), "-u", "nobody", f"127.0.0.1:{sink_port}", "1000"]
        )
        run = [_tool("postfix"), "-c", str(config)]
        try:
            subprocess.run([*run, "start"], check=True, capture_output=True)
            wait_for_port(port)
            pid = int((queue / "pid" / "master.pid").read_text())
            yield Running(port, pid, lambda: _postfix_finished(root / "log"))
        finally:
            subprocess.run([*run, "stop"], check=False, capture_output=True)
            sink.terminate()
            sink.wait()


def _postfix_finished(log: Path) -> int:
    return len(re.findall(r"status=sent", log.read_text(errors="replace"))) if log.exists() else 0


def can_run_postfix() -> bool:
    """Whether a private Postfix can be started here."""
    return os.geteuid() == 0 and shutil.which("postfix", path=SBIN) is not None


def load_generator() -> str:
    """Return the path of smtp-source, Postfix's own load generator."""
    return _tool("smtp-source")


def _tool(name: str) -> str:
    path = shutil.which(name, path=SBIN)
    if path is None:
        raise SystemExit(f"bench: {name} is not installed (Debian: apt-get install postfix)")
    return path


@contextmanager
def _directory() -> Iterator[Path]:
    """Yield a directory on the disk of the tree, which unlike /tmp is never memory."""
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as name:
        yield Path(name)


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
        wait_for_port(port)
        # Let start-up work end before CPU is read.
        time.sleep(1.0)
        yield process.pid
    finally:
        process.terminate()
        process.wait()
