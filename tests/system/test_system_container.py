"""The image and the composition around it. No engine runs here: what they say is carried out."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from relay.config import load
from relay.simulator import DEMO_CREDENTIAL
from relay.simulator.__main__ import parse_settings
from tests.system.house import ROOT, run
from tests.system.offline_pip import quick, tame

COMPOSE = ROOT / "config" / "compose.yaml"


def instructions() -> Iterator[tuple[str, str]]:
    """Yield each instruction of the Dockerfile and its words, stage by stage."""
    lines = [
        line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")
    ]
    text = "\n".join(lines).replace("\\\n", "")
    for line in filter(None, text.splitlines()):
        name, _, words = line.partition(" ")
        yield name, words.strip()


def words_of(instruction: str) -> list[str]:
    return [words for name, words in instructions() if name == instruction]


def built(directory: Path) -> Path:
    """Carry out the first stage in a clean directory; return where the relay is then."""

    def here(words: str) -> str:
        return re.sub(r"(?<![\w.])/(opt|src|dist)(?=[/\s]|$)", rf"{directory}/\1", words)

    stage, place = 0, directory
    (directory / "opt").mkdir()
    environ = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(directory)}
    for name, words in instructions():
        stage += name == "FROM"
        if stage != 1:
            continue
        if name == "WORKDIR":
            place = Path(here(words))
            place.mkdir()
        elif name == "COPY":
            *sources, target = words.split()
            for source in sources:
                copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                copy(ROOT / source, place / target)
        elif name == "RUN":
            for command in words.split(" && "):
                ended = subprocess.run(
                    ("sh", "-c", quick(here(command))),
                    cwd=place,
                    env=environ,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    check=False,
                )
                assert ended.returncode == 0, f"{command}: {ended.stdout}"
                if command.strip().startswith("python -m venv"):
                    tame(Path(here(command).split()[-1]))
    return directory / "opt" / "relay"


async def test_the_commands_of_the_image_build_a_relay_that_runs(tmp_path: Path) -> None:
    home = await asyncio.to_thread(built, tmp_path)
    (entrypoint,), (health,), (command,) = map(words_of, ("ENTRYPOINT", "HEALTHCHECK", "CMD"))
    program = str(home / "bin" / yaml.safe_load(entrypoint)[0])
    _, *arguments = yaml.safe_load(health[health.index("[") :])
    # There is no daemon to be well.
    code, said = await run(program, *arguments, RELAY_ADMIN=str(tmp_path / "none"))
    assert code == 69, said
    code, said = await run(program, *yaml.safe_load(command))
    assert (code, "/etc/ses-relay/relay.yaml" in said) == (78, True), said


def test_the_image_is_what_it_claims_to_be() -> None:
    bases = [words.split()[0] for words in words_of("FROM")]
    assert len(bases) == 2
    assert len(set(bases)) == 1
    name, _, digest = bases[0].partition("@")
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", name)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    labels = dict(word.split("=", 1) for words in words_of("LABEL") for word in shlex.split(words))
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}base.digest"] == digest
    assert labels[f"{prefix}base.name"] == f"docker.io/library/{name}"
    for label in ("title", "description", "version", "revision", "created", "licenses"):
        assert labels[prefix + label]
    assert (ROOT / labels[f"{prefix}documentation"]).exists()
    assert words_of("USER") == ["65532:65532"]
    # In exec form, PID 1 is the relay, and hears SIGTERM.
    for name in ("ENTRYPOINT", "CMD"):
        assert all(isinstance(yaml.safe_load(words), list) for words in words_of(name))


@pytest.fixture(name="compose", scope="module")
def _compose() -> dict[str, Any]:
    composed: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return composed


def mounts(service: dict[str, Any]) -> dict[str, str]:
    """Return what is mounted from where, by its place in the container."""
    found = [words.split(":")[:2] for words in service.get("volumes", ())]
    return {target: source for source, target in found}


def test_all_that_is_composed_is_there(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert set(service.get("depends_on", ())) <= set(compose["services"]), name
        for source in mounts(service).values():
            if source.startswith("."):
                assert (COMPOSE.parent / source).is_file(), f"{name}: {source}"
            else:
                assert source in compose["volumes"], f"{name}: {source}"
    context = COMPOSE.parent / compose["services"]["relay"]["build"]["context"]
    assert (context / "Dockerfile").is_file()
    assert compose["services"]["simulator"]["image"] == compose["services"]["relay"]["image"]


def test_the_composed_relay_has_a_sound_configuration(compose: dict[str, Any]) -> None:
    service = compose["services"]["relay"]
    file = COMPOSE.parent / mounts(service)["/etc/ses-relay/relay.yaml"]
    configuration = load(file, environ={})
    settings = configuration.settings
    # Both come of its being a demonstration, and its comments say so.
    assert [one.path for one in configuration.warnings] == [
        "senders[0].networks[0]",
        "ses.accounts.main.endpoint_url",
    ]
    published = {int(words.split(":")[-1]) for words in service["ports"]}
    assert published == {one.address.port for one in settings.listeners}
    assert all(words.startswith("127.0.0.1:") for words in service["ports"])
    assert str(settings.spool.path) in mounts(service)
    assert any(words.startswith(f"{settings.http.admin.parent}:") for words in service["tmpfs"])
    assert service["read_only"] is True

    simulated = parse_settings([str(word) for word in compose["services"]["simulator"]["command"]])
    assert settings.ses.accounts["main"].endpoint_url == f"http://simulator:{simulated.port}"
    assert simulated.region == settings.ses.accounts["main"].region
    assert settings.ses.configuration_set in simulated.configuration_sets
    for allowed in settings.senders[0].allowed_from:
        assert str(allowed).removeprefix("@") in simulated.identities
    environ = service["environment"]
    assert environ["AWS_ACCESS_KEY_ID"] == DEMO_CREDENTIAL.access_key
    assert environ["AWS_SECRET_ACCESS_KEY"] == DEMO_CREDENTIAL.secret_key


async def test_the_composed_prometheus_finds_the_relay(
    compose: dict[str, Any], needs: Callable[[str], str]
) -> None:
    services = compose["services"]
    file = COMPOSE.parent / mounts(services["prometheus"])["/etc/prometheus/prometheus.yml"]
    code, said = await run(needs("promtool"), "check", "config", str(file))
    assert code == 0, said
    (job,) = yaml.safe_load(file.read_text())["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    relay = COMPOSE.parent / mounts(services["relay"])["/etc/ses-relay/relay.yaml"]
    assert target == f"relay:{load(relay, environ={}).settings.http.metrics.port}"
    sources = mounts(services["grafana"])
    provisioned = sources["/etc/grafana/provisioning/datasources/prometheus.yaml"]
    (source,) = yaml.safe_load((COMPOSE.parent / provisioned).read_text())["datasources"]
    (port,) = services["prometheus"]["ports"]
    assert source["url"] == f"http://prometheus:{port.rpartition(':')[2]}"


async def test_hadolint_finds_no_fault() -> None:
    code, said = await run(str(Path(sys.executable).parent / "hadolint"), str(ROOT / "Dockerfile"))
    assert (code, said) == (0, "")
