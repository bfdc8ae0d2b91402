"""`relay demo`: the real daemon against the simulated SES, on this machine, told in sentences.

The one thing that differs from production is where SNS's certificate comes from: it is handed in
here, at the composition root, because no setting may loosen that rule.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from relay.cli.complaints import complain
from relay.cli.exits import OK, TRY_LATER
from relay.cli.story import sentence
from relay.cli.words import say, show
from relay.config.complaint import ConfigurationError
from relay.daemon import Daemon
from relay.ports import SpoolError
from relay.service import run
from relay.simulator import DEMO_CREDENTIAL, Settings, Simulator
from relay.wiring import UnusableError

_MARK: Final = "# Made by `relay demo`.\n"
_CONFIGURATION: Final = (
    _MARK
    + """\
hostname: localhost
listeners:
  - {{name: demo, address: "127.0.0.1:{smtp}", tls: off, auth: off}}
senders:
  - name: demo
    networks: [127.0.0.0/8]
    from: ["@example.com"]
ses:
  configuration_set: default
  accounts: {{main: {{region: eu-west-1, endpoint_url: "{ses}"}}}}
spool: {{path: {spool}, unsafe: true}}
feedback: {{sns: {{topics: ["{topic}"]}}}}
http: {{metrics: "127.0.0.1:0", webhook: "127.0.0.1:0", admin: {admin}}}
"""
)

_FIRST_MAIL: Final = (
    '{python} -c \'import smtplib; smtplib.SMTP("127.0.0.1", {port})'
    '.sendmail("app@example.com", ["{to}"], "From: app@example.com\\nSubject: Hello\\n\\nHi!\\n")\''
)


class _SimulatedSns:
    """The simulator's certificate, and confirmation by asking the simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def certificate(self, _url: str) -> bytes:
        return self._simulator.certificate_pem

    async def confirm(self, url: str) -> None:
        (token,) = parse_qs(urlsplit(url).query)["Token"]
        self._simulator.confirm(token)


def demo(smtp_port: int, data: Path | None) -> int:
    """Run until Ctrl-C; return an exit code."""
    # The simulator knows one key; nobody's own AWS settings are touched or needed.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": DEMO_CREDENTIAL.access_key,
        "AWS_SECRET_ACCESS_KEY": DEMO_CREDENTIAL.secret_key,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    with ExitStack() as stack:
        try:
            directory = data or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            _check_directory(directory)
            return run(lambda: _demo(smtp_port, directory.absolute(), is_kept=data is not None))
        except (ConfigurationError, UnusableError) as error:
            return complain(error)
        except (SpoolError, OSError) as error:
            say(f"relay demo: cannot start: {error}")
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                say("Another port: relay demo --smtp-port 0 takes any that is free.")
            return TRY_LATER
        except asyncio.CancelledError:
            say("relay demo: stopped at once")
            return TRY_LATER


def _check_directory(directory: Path) -> None:
    """Make the directory; refuse one that holds anything but an earlier demo."""
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "relay.yaml"
    if not any(directory.iterdir()) or (
        config.is_file() and config.read_text(errors="replace").startswith(_MARK)
    ):
        return
    raise FileExistsError(f"{directory} holds something else than an earlier demo")


async def _demo(smtp_port: int, directory: Path, *, is_kept: bool) -> int:
    stop = _stopped_by_signals()
    settings = Settings(identities=frozenset({"example.com"}))
    colour = sys.stdout.isatty()
    async with Simulator(settings) as simulator:
        config = directory / "relay.yaml"
        config.write_text(
            _CONFIGURATION.format(
                smtp=smtp_port,
                ses=simulator.url,
                # JSON is YAML, and quotes whatever a path may hold.
                spool=json.dumps(str(directory / "spool")),
                admin=json.dumps(str(directory / "admin.sock")),
                topic=settings.topic_arn,
            )
        )
        daemon = Daemon(
            config,
            gateway=_SimulatedSns(simulator),
            render=lambda event: sentence(event, colour=colour),
        )
        async with daemon:
            simulator.subscribe(f"http://127.0.0.1:{daemon.webhook_port}/sns")
            await simulator.settled()
            _introduce(daemon.front_door.ports["demo"], daemon.metrics_port, config, simulator.url)
            await daemon.wait(stop)
            show("")
    if not is_kept:
        show("The spool of this demo was a temporary one; --data DIRECTORY keeps one.")
    return OK


def _stopped_by_signals() -> asyncio.Event:
    """Return an event that the first Ctrl-C sets; a second one ends everything at once."""
    loop, stop, main = asyncio.get_running_loop(), asyncio.Event(), asyncio.current_task()

    def on_signal() -> None:
        if stop.is_set() and main is not None:
            main.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stop


def _introduce(port: int, metrics_port: int, config: Path, ses_url: str) -> None:
    """Say where the relay is and how to send a first mail."""
    python = sys.executable
    send = _FIRST_MAIL.format(python=python, port=port, to="success@simulator.amazonses.com")
    lines = [
        "",
        f"The relay listens on 127.0.0.1:{port} and sends to a simulated Amazon SES at {ses_url}.",
        f"Its configuration: {config}   Its metrics: http://127.0.0.1:{metrics_port}/metrics",
        f"Ask it: {python} -m relay status --admin {config.parent / 'admin.sock'}",
        "",
        "Send a first mail from another terminal (as anyone @example.com):",
        "",
        f"  {send}",
    ]
    if shutil.which("swaks"):
        swaks = f"swaks --server 127.0.0.1 --port {port} --from app@example.com --to"
        lines.append(f"  {swaks} bounce@simulator.amazonses.com")
    lines += [
        "",
        "Recipients behave as at SES's mailbox simulator: success@, bounce@ and complaint@",
        "simulator.amazonses.com; anyone else gets the mail. Send to bounce@ twice, and the second",
        "time the relay refuses it at once. Ctrl-C drains and stops.",
        "",
    ]
    show("\n".join(lines))
    sys.stdout.flush()
