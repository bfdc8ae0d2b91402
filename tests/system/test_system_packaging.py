"""What ships around the code: unit file, image, wheel, command line help, README."""

from __future__ import annotations

import asyncio
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from relay.config import load
from relay.daemon import DRAIN_GRACE
from relay.delivery.scheduler import DRAIN_LIMIT
from tests.system.house import CLI, ROOT, run

UNITS = ROOT / "systemd"
UNIT = UNITS / "ses-relay.service"
SOCKETS = sorted(UNITS.glob("*.socket"))


async def test_systemd_finds_no_fault_in_the_units(
    needs: Callable[[str], str], tmp_path: Path
) -> None:
    # The unit names the installed program; here stands one that exists.
    for unit in (UNIT, *SOCKETS):
        there = tmp_path / unit.name
        there.write_text(unit.read_text().replace("/opt/ses-relay/bin/relay", "/bin/true"))
    names = [str(tmp_path / unit.name) for unit in (UNIT, *SOCKETS)]
    code, said = await run(needs("systemd-analyze"), "verify", "--man=no", *names)
    assert (code, said) == (0, "")


async def test_the_unit_is_well_sandboxed(needs: Callable[[str], str]) -> None:
    # systemd's own scale: 0 is nothing exposed, 10 is everything; ours is 1.3.
    code, said = await run(
        needs("systemd-analyze"), "security", "--offline=true", "--threshold=15", str(UNIT)
    )
    assert code == 0, said[-400:]


def words_of(unit: Path, key: str) -> list[str]:
    """Return what a unit says of a key, once for each time."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def test_the_unit_has_what_the_relay_counts_on() -> None:
    assert words_of(UNIT, "Type") == ["notify"]
    assert words_of(UNIT, "RestartPreventExitStatus") == ["78"]
    assert words_of(UNIT, "ExecReload") == ["/opt/ses-relay/bin/relay reload"]
    assert words_of(UNIT, "StateDirectory") == ["ses-relay"]
    assert words_of(UNIT, "CapabilityBoundingSet") == [""]
    (patience,) = words_of(UNIT, "TimeoutStopSec")
    # The calls to SES first, then the clients, then what is written down at the end.
    assert int(patience) >= DRAIN_LIMIT + DRAIN_GRACE + 30


def test_each_socket_is_that_of_a_listener() -> None:
    settings = load(ROOT / "config" / "relay.yaml", environ={}).settings
    addresses = {one.name: str(one.address) for one in settings.listeners}
    assert len(SOCKETS) == 2
    for unit in SOCKETS:
        (name,), (address,) = words_of(unit, "FileDescriptorName"), words_of(unit, "ListenStream")
        assert addresses[name] == address, unit.name
        assert words_of(unit, "Service") == [UNIT.name]
        assert unit.name in words_of(UNIT, "Also")[0].split()


def test_the_credentials_of_the_unit_are_those_the_sample_names() -> None:
    tls = load(ROOT / "config" / "relay.yaml", environ={}).settings.tls
    assert tls is not None
    given = {words.partition(":")[0] for words in words_of(UNIT, "LoadCredential")}
    assert given == {str(path) for path in (*tls.certificate, *tls.key)}


def sources() -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / "relay").rglob("*")
        if path.suffix in (".py", ".typed")
    }


async def test_the_wheel_of_the_image_holds_the_whole_package(tmp_path: Path) -> None:
    # As the Dockerfile builds it.
    code, said = await run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
        *("--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT)),
    )
    assert code == 0, said
    (wheel,) = await asyncio.to_thread(lambda: list(tmp_path.glob("*.whl")))
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("relay/")}
    assert names == sources()


def test_the_image_installs_only_what_is_pinned_by_hash() -> None:
    text = (ROOT / "Dockerfile").read_text()
    installs = re.findall(r"pip (?:install|wheel) (.*?)(?: \\\n| *\n)", text)
    assert len(installs) == 4
    for words in installs:
        assert "--require-hashes" in words or "--no-deps" in words, words
    for name in ("requirements.lock", "requirements-build.lock", "requirements-dev.lock"):
        lock = (ROOT / name).read_text()
        pinned = re.findall(r"^[a-z0-9-]+(?:\[.*\])?==", lock, re.MULTILINE)
        assert len(pinned) == len(re.findall(r"^[a-z0-9]", lock, re.MULTILINE))
        assert lock.count("--hash=sha256:") >= len(pinned)


VERBS = (
    "serve",
    "check",
    "demo",
    "reload",
    "status",
    "health",
    "trace",
    "explain",
    "version",
    "queue list",
    "queue show",
    "queue shape",
    "queue hold",
    "queue release",
    "queue retry",
    "queue drop",
    "suppression list",
    "suppression show",
    "suppression add",
    "suppression remove",
    "suppression import",
    "suppression export",
    "suppression sync",
    "callback list",
    "callback replay",
    "sender show",
    "sender pause",
    "sender resume",
    "account show",
    "config show",
    "config schema",
    "secret hash",
    "secret token",
    "selftest",
    "log-level",
    "trace-smtp",
    "secret callback",
)


@pytest.mark.parametrize("verb", VERBS)
async def test_every_verb_explains_itself_with_an_example(verb: str) -> None:
    code, said = await run(*CLI, *verb.split(), "--help")
    assert code == 0
    assert "Examples:" in said


async def test_the_help_and_the_readme_name_the_same_verbs() -> None:
    _, said = await run(*CLI, "--help")
    top = set(re.findall(r"^  ([a-z][a-z-]*)  ", said, re.MULTILINE))
    assert top == {verb.partition(" ")[0] for verb in VERBS}
    readme = (ROOT / "README.md").read_text()
    # Commands stand in code, sentences do not.
    code = " ".join(re.findall(r"`[^`\n]+`|^\$ [^#\n]*", readme, re.MULTILINE))
    named = set(re.findall(r"relay ([a-z][a-z-]*)", code))
    assert len(named) >= 8
    assert named <= top, f"the README names verbs that do not exist: {named - top}"


def test_the_configuration_in_the_readme_is_the_minimal_one() -> None:
    readme = (ROOT / "README.md").read_text()
    (sample,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    assert yaml.safe_load(sample) == yaml.safe_load((ROOT / "config/minimal.yaml").read_text())


def test_make_names_only_targets_that_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    named = set(re.findall(r"(?:\$ |`)make ([a-z]+)", readme))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert len(named) >= 6
    assert named <= targets, named - targets


async def test_help_is_quick_because_it_loads_no_more_than_it_shows() -> None:
    """What takes longest to load is left out: pydantic, 0.2 s, and what draws tables."""
    for words in ("--help", "queue --help"):
        code, said = await run(sys.executable, "-X", "importtime", "-m", "relay", *words.split())
        assert code == 0
        loaded = set(re.findall(r"\| +([a-z_]+)", said))
        assert "typer" in loaded
        slow = {"pydantic", "pydantic_core", "rich", "aiohttp", "botocore", "sqlite3", "asyncio"}
        assert not loaded & slow, f"relay {words} loads {loaded & slow}"


async def test_health_loads_next_to_nothing() -> None:
    """It is run every few seconds, for as long as the container is there."""
    program = (
        "import sys, relay.cli\n"
        "sys.argv = ['relay', 'health']\n"
        "try: relay.cli.main()\n"
        "except SystemExit as end: print(end.code, *sys.modules)"
    )
    code, said = await run(sys.executable, "-c", program, RELAY_ADMIN="/nonexistent")
    assert code == 0, said
    exit_code, *loaded = said.splitlines()[-1].split()
    assert exit_code == "69"
    parts = {name.partition(".")[0] for name in loaded}
    slow = {"typer", "click", "pydantic", "rich", "aiohttp", "botocore", "sqlite3", "asyncio"}
    assert not parts & slow


async def test_the_command_line_prints_the_schema_that_is_shipped() -> None:
    code, said = await run(*CLI, "config", "schema")
    assert code == 0
    assert said == (ROOT / "config" / "relay.schema.json").read_text()


async def test_usage_errors_exit_2() -> None:
    code, _ = await run(*CLI, "queue", "nonsense")
    assert code == 2


async def test_the_daemon_imports_nothing_that_only_the_command_line_needs() -> None:
    program = (
        "import sys, relay.cli\n"
        "sys.argv = ['relay', 'serve', '--config', '/nonexistent']\n"
        "try: relay.cli.main()\n"
        "except SystemExit as end: print(end.code, *sys.modules)"
    )
    code, said = await run(sys.executable, "-c", program)
    assert code == 0, said
    exit_code, *loaded = said.splitlines()[-1].split()
    assert exit_code == "78"
    assert "relay.daemon" in loaded
    parts = {name.partition(".")[0] for name in loaded}
    assert not parts & {"typer", "click", "boto3", "moto"}
    assert not {name for name in loaded if name.startswith(("rich.", "relay.simulator"))}


async def test_a_daemon_looks_for_garbage_among_new_objects_only() -> None:
    """Its modules are many, and a look through them all would stop its loop for long."""
    program = (
        "import asyncio, gc, pathlib, sys, relay.cli, relay.service\n"
        "class Daemon:\n"
        "    def __init__(self, path, **_): print('while it starts', gc.isenabled())\n"
        "    async def __aenter__(self): pass\n"
        "    async def __aexit__(self, *_): pass\n"
        "    async def wait(self, stop):\n"
        "        print('then', gc.isenabled(), gc.get_freeze_count() // (len(gc.get_objects()) + 1))\n"
        "        return True\n"
        "relay.service.Daemon = Daemon\n"
        "sys.argv = ['relay', 'serve', '--config', '/nonexistent']\n"
        "relay.cli.main()\n"
    )
    code, said = await run(sys.executable, "-c", program)
    assert code == 0, said
    while_it_starts, then = said.splitlines()[-2:]
    assert while_it_starts == "while it starts False"
    *words, times_as_many = then.split()
    assert words == ["then", "True"]
    assert int(times_as_many) > 100
