"""docs/operations.md, carried out: every command it gives, in its order, on a relay that sends.

What would change the machine goes to a directory; systemctl, journalctl, docker and the commands
for users are stand-ins that do to a relay there what they would do here.
"""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relay.simulator import Simulator
from tests.system.house import ROOT, configuration, environment
from tests.system.offline_pip import quick, tame
from tests.system.test_system_check import aws as aws  # noqa: PLC0414 - a fixture

PAGE = ROOT / "docs" / "operations.md"
# What the page names of the machine; each is in the test's directory instead.
PLACES = (
    "/opt/ses-relay",
    "/etc/ses-relay",
    "/etc/systemd/system",
    "/var/lib/ses-relay",
    "/usr/local/bin",
    "/srv/backup",
)
STAND_INS = {
    "systemctl": """\
case "$1" in enable) shift; test "$1" = --now && shift; set -- start "$@" ;; esac
verb=$1; shift
for unit in "$@"; do
  test "$unit" = ses-relay || test -e "$HOME/etc/systemd/system/$unit" || exit 5
done
begin() {
  test -e "$HOME/pid" && return
  relay serve >>"$HOME/log" 2>&1 &
  echo $! > "$HOME/pid"
  until relay health >/dev/null 2>&1; do kill -0 $! || exit 1; done
}
finish() {
  test -e "$HOME/pid" || return 0
  pid=$(cat "$HOME/pid"); kill "$pid"
  while kill -0 "$pid" 2>/dev/null; do :; done
  rm "$HOME/pid"
}
case "$verb" in
daemon-reload) ;;
start) begin ;;
stop) finish ;;
restart) finish; begin ;;
reload) relay reload ;;
*) exit 2 ;;
esac
""",
    "journalctl": 'cat "$HOME/log"\n',
    "sudo": 'test "$1 $2" = "-u ses-relay" || exit 2; shift 2; exec "$@"\n',
    "useradd": 'for name in "$@"; do :; done; test "$name" = ses-relay\n',
    "chown": 'test "$2" = ses-relay: && test -d "$3"\n',
    "docker": 'test "$1 $2" = "compose -f" && test -e "$3"\n',
}
# Whoever is asked may have nothing to show.
MAY_END_WITH = {"relay queue hold": {0, 1}, "relay queue release": {0, 1}}


def commands() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.fixture(name="port")
def _port() -> int:
    """A port that was free a moment ago: the page names it before anybody listens there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture(name="machine")
def _machine(tmp_path: Path) -> Iterator[Path]:
    """A directory with the places and the stand-ins."""
    for place in ("opt", "etc/systemd/system", "var/lib", "usr/local/bin", "srv/backup", "run"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
    shims = tmp_path / "shims"
    shims.mkdir()
    for name, text in STAND_INS.items():
        (shims / name).write_text(f"#!/bin/sh\n{text}")
        (shims / name).chmod(0o755)
    yield tmp_path
    # pytest keeps the directory of a test for long, and this takes 64 MiB of it, twice.
    for reserve in tmp_path.glob("var/lib/*/reserve"):
        reserve.unlink()


async def test_every_command_of_the_page_does_what_it_says(
    simulator: Simulator, machine: Path, port: int, aws: str, needs: Callable[[str], str]
) -> None:
    needs("swaks")
    given = commands()
    assert len(given) > 40

    def here(command: str) -> str:
        for place in PLACES:
            command = command.replace(place, f"{machine}{place}")
        return command.replace("127.0.0.1:25 ", f"127.0.0.1:{port} ")

    path = (machine / "shims", machine / "usr/local/bin", Path(sys.executable).parent)
    env = environment(
        HOME=str(machine),
        PATH=":".join([*map(str, path), "/usr/local/bin", "/usr/bin", "/bin"]),
        RELAY_CONFIG=str(machine / "etc/ses-relay/relay.yaml"),
        RELAY_ADMIN=str(machine / "admin.sock"),
        AWS_ENDPOINT_URL_STS=aws,
    )
    env.pop("PYTHONPATH", None)
    try:
        for command in given:
            ended = await _run(quick(here(command)), env)
            allowed = next(
                (codes for words, codes in MAY_END_WITH.items() if command.startswith(words)), {0}
            )
            assert ended.returncode in allowed, f"{command}: {ended.stdout}"
            if " -m venv " in command:
                tame(machine / "opt/ses-relay")
            elif "/etc/ses-relay/relay.yaml" in command:
                # "Write your own": one that sends to the simulator.
                text = configuration(machine, simulator.url)
                text = text.replace('"127.0.0.1:0", tls', f'"127.0.0.1:{port}", tls')
                text = text.replace(f"{machine}/spool", f"{machine}/var/lib/ses-relay")
                (machine / "etc/ses-relay/relay.yaml").write_text(text)
            elif command.startswith("swaks"):
                await simulator.received(1)
            elif command.startswith("relay trace"):
                assert "relayed" in ended.stdout
            elif command.startswith("relay config show"):
                assert "senders[app].from: [@example.com]" in ended.stdout
    finally:
        await _run("systemctl stop", env)
    # Nothing that was restored has gone out again.
    assert len(simulator.messages) == 1


async def _run(command: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run one command as a shell does."""

    def run() -> subprocess.CompletedProcess[str]:
        with (Path(env["HOME"]) / "said").open("w+") as said:
            # To a file: a daemon that is left behind would keep a pipe open.
            ended = subprocess.run(
                ("sh", "-c", command),
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                check=False,
            )
            said.seek(0)
            return subprocess.CompletedProcess(command, ended.returncode, said.read(), "")

    return await asyncio.to_thread(run)


def test_the_page_names_metrics_and_events_that_exist() -> None:
    text = PAGE.read_text()
    source = "\n".join(path.read_text() for path in (ROOT / "relay").rglob("*.py"))
    metrics = set(re.findall(r"\brelay_[a-z_]+", text))
    assert len(metrics) > 6
    for name in metrics:
        assert f'"{name.removesuffix("_total")}' in source, name
    for event in ("relay.stuck", "relay.draining", "relay.reloaded"):
        assert event in text
        assert f'"{event.removeprefix("relay.")}"' in source, event
