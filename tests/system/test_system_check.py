"""`relay check`, stage by stage: the file, this machine, AWS (moto's STS and SES)."""

from __future__ import annotations

import asyncio
import os
import socket
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.session import Session
from moto.server import ThreadedMotoServer

from relay.config import load
from relay.inspecting import Found, inspect
from tests.system.conftest import StartRelay
from tests.system.house import CLI, configuration, environment, run
from tests.tls import certificate_files


def written(directory: Path, *, ses: str = "http://127.0.0.1:1", **parts: str) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / "relay.yaml"
    path.write_text(configuration(directory, ses, **parts))
    return path


def looked(path: Path, *, days: int = 0) -> list[Found]:
    """Return what is found of this machine, as of so many days from now."""
    now = datetime.now(UTC) + timedelta(days=days)
    return list(inspect(load(path, environ={}), now))


def failed(found: list[Found]) -> list[str]:
    return [one.words for one in found if one.is_fine is False]


def test_a_sound_machine_has_no_faults(tmp_path: Path) -> None:
    certificate, key = certificate_files(tmp_path)
    found = looked(
        written(
            tmp_path,
            listeners='  - {name: smtps, address: "127.0.0.1:0", tls: implicit, auth: off}',
            tls=f"tls: {{certificate: {certificate}, key: {key}}}",
        )
    )
    assert failed(found) == []
    said = "\n".join(one.words for one in found)
    for words in ("smtps: its certificate ends", "is free", "spool can be made", "http.admin"):
        assert words in said


def test_a_certificate_that_ends_is_told_before_and_after(tmp_path: Path) -> None:
    certificate, key = certificate_files(tmp_path)
    path = written(
        tmp_path,
        listeners='  - {name: smtps, address: "127.0.0.1:0", tls: implicit, auth: off}',
        tls=f"tls: {{certificate: {certificate}, key: {key}}}",
    )
    ends = next(one.words for one in looked(path) if "certificate ends" in one.words)
    at = datetime.fromisoformat(ends.rpartition(" ")[2]).replace(tzinfo=UTC)
    days = (at - datetime.now(UTC)).days
    assert looked(path, days=days - 2)[0].is_fine is None
    (complaint,) = failed(looked(path, days=days + 2))
    assert complaint.endswith(": clients refuse it")


def test_a_port_that_another_program_has_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listener = f'  - {{name: taken, address: "127.0.0.1:{port}", tls: off, auth: off}}'
        (complaint,) = failed(looked(written(tmp_path, listeners=listener)))
    assert complaint.startswith(f"listener taken: 127.0.0.1:{port} is in use: by whom?")


def test_what_may_not_be_entered_is_told_and_no_traceback(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    path = written(closed)
    configured = load(path, environ={})
    closed.chmod(0)
    mine, nobody = os.getuid(), 65534
    # Root may enter anything.
    os.setresuid(mine or nobody, mine or nobody, mine)
    try:
        found = list(inspect(configured, datetime.now(UTC)))
    finally:
        os.setresuid(mine, mine, mine)
        closed.chmod(0o700)
    spool, admin = failed(found)
    assert spool.startswith("spool.path: ")
    assert "cannot be written by user" in spool
    assert admin.startswith("http.admin: ")


def test_a_spool_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    path = written(tmp_path)
    text = path.read_text()
    in_memory = text.replace(f"{tmp_path}/spool", "/dev/shm/spool")  # noqa: S108 - only looked at
    path.write_text(in_memory.replace("unsafe: true", ""))
    assert ["which lives in memory" in one for one in failed(looked(path))] == [True]
    path.write_text(text.replace(f"{tmp_path}/spool", f"{path}/spool"))
    assert [f"{path} cannot be written" in one for one in failed(looked(path))] == [True]


async def test_a_machine_with_the_relay_running_is_sound(start_relay: StartRelay) -> None:
    relay = await start_relay()
    text = await asyncio.to_thread(relay.config.read_text)
    port = relay.ports["legacy"]
    await asyncio.to_thread(
        relay.config.write_text, text.replace('"127.0.0.1:0", tls', f'"127.0.0.1:{port}", tls')
    )
    code, said = await run(*CLI, "check", "--host", "--config", str(relay.config))
    assert code == 0, said
    assert f"127.0.0.1:{port} is in use, and a relay is running" in said


@pytest.fixture
def aws() -> Iterator[str]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    host, port = moto.get_host_and_port()
    url = f"http://{host}:{port}"
    urllib.request.urlopen(f"{url}/moto-api/reset", b"").close()
    yield url
    moto.stop()


async def test_aws_is_asked_who_we_are_and_whom_we_may_write_as(tmp_path: Path, aws: str) -> None:
    path = written(
        tmp_path,
        ses=aws,
        senders='  - {name: b, login: b, token_hash: "sha256:'
        + "0" * 64
        + '", from: [jane@mail.example.com, "@example.org"]}',
    )
    env = environment(AWS_ENDPOINT_URL_STS=aws)
    words = [*CLI, "check", "--live", "--config", str(path)]

    def verify(*domains: str) -> None:
        client = Session().create_client(
            "ses",
            "eu-west-1",
            endpoint_url=aws,
            aws_access_key_id="x",
            aws_secret_access_key="x",
        )
        for domain in domains:
            client.verify_domain_identity(Domain=domain)
        client.close()

    await asyncio.to_thread(verify, "example.com")
    code, said = await run(*words, **env)
    assert code == 1
    assert "ok: account main: AWS knows us as arn:aws:" in said
    assert "recipients a second" in said
    # A domain stands for its addresses and its subdomains.
    assert "ok: account main: jane@mail.example.com is verified" in said
    assert "FAILED: account main: @example.org is not verified in this region" in said
    await asyncio.to_thread(verify, "example.org")
    code, said = await run(*words, **env)
    assert code == 0, said


async def test_aws_that_does_not_answer_is_told(tmp_path: Path) -> None:
    nowhere = environment(AWS_ENDPOINT_URL_STS="http://127.0.0.1:1")
    code, said = await run(*CLI, "check", "--live", "--config", str(written(tmp_path)), **nowhere)
    assert code == 1
    assert "FAILED: account main: Could not connect to the endpoint URL" in said
    assert "Traceback" not in said
