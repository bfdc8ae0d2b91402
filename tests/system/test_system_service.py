"""The relay as systemd runs it: what it is told, the sockets it keeps, the watchdog it looks with.

Systemd is played by the test, with real sockets: a datagram socket hears what it would be told, and
listening sockets outlive the process they are handed to.
"""

from __future__ import annotations

import asyncio
import os
import signal
import smtplib
import socket
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from relay.simulator import Hang, Simulator
from tests.system.conftest import StartRelay
from tests.system.house import CLI, Relay, configuration, environment

MAIL = b"From: app@example.com\r\nSubject: Hi\r\n\r\nHi\r\n"
PYTHON = CLI[0]
ACTIVATED = [PYTHON, "-m", "tests.system.activated"]
WEDGED = [PYTHON, "-m", "tests.system.wedged"]


class Systemd:
    """What hears sd_notify(3)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._heard.bind(str(path))
        self._heard.setblocking(False)

    async def told(self, *words: str) -> list[str]:
        """Return the next message that has one of these lines, or begins one with it."""
        loop = asyncio.get_running_loop()
        while True:
            lines = (await loop.sock_recv(self._heard, 4096)).decode().split("\n")
            if any(line.startswith(words) for line in lines):
                return lines

    def close(self) -> None:
        self._heard.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    systemd = Systemd(tmp_path / "notify")
    yield systemd
    systemd.close()


@contextmanager
def listening(*, port: int = 0) -> Iterator[socket.socket]:
    """A socket that outlives whoever serves it, as systemd keeps it."""
    with socket.create_server(("127.0.0.1", port), backlog=1024) as kept:
        yield kept


@asynccontextmanager
async def activated(
    directory: Path, ses: str, sockets: dict[str, socket.socket], **parts: str
) -> AsyncIterator[Relay]:
    """A relay, not started yet, that is handed these sockets by name."""
    config = directory / "relay.yaml"
    config.write_text(configuration(directory, ses, **parts))
    fds = tuple(one.fileno() for one in sockets.values())
    env = environment(RELAY_TEST_FDS=",".join(map(str, fds)), LISTEN_FDNAMES=":".join(sockets))
    relay = Relay(config, ACTIVATED, env=env, fds=fds)
    try:
        yield relay
    finally:
        if relay.is_running:
            await relay.end()
        (directory / "spool" / "reserve").unlink(missing_ok=True)


async def test_systemd_is_told_of_every_turn(
    simulator: Simulator, systemd: Systemd, tmp_path: Path
) -> None:
    config = tmp_path / "relay.yaml"
    config.write_text(configuration(tmp_path, simulator.url))
    env = environment(NOTIFY_SOCKET=str(systemd.path), WATCHDOG_USEC="600000")
    relay = Relay(config, env=env)
    await relay.start()
    started = await systemd.told("STATUS=starting")
    assert "EXTEND_TIMEOUT_USEC=30000000" in started
    assert await systemd.told("READY") == ["READY=1", "STATUS=configuration 1 is in force"]
    for _ in range(3):
        await systemd.told("WATCHDOG=1")

    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert (await relay.cli("reload"))[0] == 0
    reloading = await systemd.told("RELOADING=1")
    (at,) = [line.partition("=")[2] for line in reloading if line.startswith("MONOTONIC_USEC=")]
    assert before <= int(at) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert await systemd.told("READY") == ["READY=1", "STATUS=configuration 2 is in force"]

    config.write_text("nonsense")
    assert (await relay.cli("reload"))[0] == 78
    await systemd.told("RELOADING=1")
    refused = "STATUS=configuration 2 is in force; the reload was refused"
    assert await systemd.told("READY") == ["READY=1", refused]

    assert await relay.stop() == 0
    assert await systemd.told("STOPPING=1") == ["STOPPING=1", "STATUS=draining"]
    draining = await systemd.told("STATUS=draining:")
    assert "EXTEND_TIMEOUT_USEC=30000000" in draining


async def test_the_watchdog_of_another_process_is_not_fed(
    simulator: Simulator, systemd: Systemd, tmp_path: Path
) -> None:
    config = tmp_path / "relay.yaml"
    config.write_text(configuration(tmp_path, simulator.url))
    names = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    relay = Relay(config, env=environment(**names))
    await relay.start()
    assert await relay.stop() == 0
    assert "WATCHDOG=1" not in await systemd.told("WATCHDOG=1", "STATUS=draining:")


async def test_a_stop_says_what_it_waits_for_and_clients_are_served_meanwhile(
    simulator: Simulator, tmp_path: Path
) -> None:
    """A call that SES does not answer yet is waited for; mail is safe in the spool meanwhile."""
    simulator.fail(Hang(accepted=True), action="SendRawEmail")
    with listening() as kept:
        async with activated(tmp_path, simulator.url, {"legacy": kept}) as relay:
            await relay.start()
            port = kept.getsockname()[1]
            await asyncio.to_thread(send, port)
            await simulator.wait_for(lambda: simulator.hung == 1)
            stopping = asyncio.create_task(relay.stop())
            told = await relay.logged("relay.draining")
            assert (told["in_flight"], told["sessions"]) == (1, 0)
            await asyncio.to_thread(send, port)
            await relay.logged("relay.draining", count=2)
            simulator.release()
            assert await stopping == 0
            assert (await relay.logged("relay.stopped"))["queued"] == 1
            await relay.start()
            await simulator.received(2)


async def test_a_stop_does_not_wait_for_credentials(simulator: Simulator, tmp_path: Path) -> None:
    """Nothing of a mail depends on that answer any more, and clients wait for the next process."""
    with listening() as silent:
        role = 'endpoint_url: "{}", role_arn: "arn:aws:iam::123456789012:role/relay"'
        config = tmp_path / "relay.yaml"
        text = configuration(tmp_path, simulator.url)
        old = f'endpoint_url: "{simulator.url}"'
        config.write_text(text.replace(old, role.format(simulator.url)))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        relay = Relay(config, env=environment(AWS_ENDPOINT_URL_STS=url), is_alone=True)
        await relay.start()
        asked, _ = await asyncio.to_thread(silent.accept)
        with asked:
            began = time.monotonic()
            assert await relay.stop() == 0
            # STS would have had ten seconds.
            assert time.monotonic() - began < 8
        assert relay.complaints == ""


async def test_what_is_being_stopped_is_not_opened_again_by_a_reload(
    simulator: Simulator, tmp_path: Path
) -> None:
    """Who waits in the socket is for the next process, whatever an operator does meanwhile."""
    with listening() as kept:
        async with activated(tmp_path, simulator.url, {"legacy": kept}) as relay:
            await relay.start()
            address = "127.0.0.1", kept.getsockname()[1]
            reader, writer = await asyncio.open_connection(*address)
            for line in (
                b"EHLO app",
                b"MAIL FROM:<app@example.com>",
                b"RCPT TO:<jane@example.net>",
            ):
                writer.write(line + b"\r\n")
            writer.write(b"DATA\r\n")
            await reader.readuntil(b"354 ")
            stopping = asyncio.create_task(relay.stop())
            await relay.logged("relay.draining")
            code, _, complaint = await relay.cli("reload")
            assert (code, "is being stopped" in complaint) == (78, True), complaint
            next_reader, next_writer = await asyncio.open_connection(*address)
            writer.write(MAIL + b".\r\n")
            assert (await reader.readuntil(b"250 2.0.0 ")).endswith(b"250 2.0.0 ")
            writer.close()
            assert await stopping == 0
            await relay.start()
            assert (await next_reader.readline()).startswith(b"220 ")
            next_writer.close()


async def test_what_a_signal_asked_for_during_the_start_is_done_after_it(
    simulator: Simulator, systemd: Systemd, tmp_path: Path
) -> None:
    config = tmp_path / "relay.yaml"
    text = configuration(tmp_path, simulator.url)
    config.write_text(text)
    relay = Relay(config, env=environment(NOTIFY_SOCKET=str(systemd.path)))
    starting = asyncio.create_task(relay.start())
    # It has read the file.
    await systemd.told("STATUS=starting")
    config.write_text(text.replace("@example.com", "@example.org"))
    os.kill(relay.pid, signal.SIGHUP)
    await starting
    async with asyncio.timeout(20):
        told = await relay.logged("relay.reloaded")
    assert "@example.com" in told["changes"]
    await relay.end()


def send(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.sendmail("app@example.com", ["jane@example.net"], MAIL)


async def test_sockets_are_found_by_name_and_outlive_the_process(
    simulator: Simulator, tmp_path: Path
) -> None:
    parts = {"listeners": '  - {name: other, address: "127.0.0.1:0", tls: off, auth: off}'}
    with listening() as kept, listening() as metrics:
        sockets = {"other": kept, "http.metrics": metrics}
        async with activated(tmp_path, simulator.url, sockets, **parts) as relay:
            await relay.start()
            assert relay.ports["other"] == kept.getsockname()[1]
            assert relay.ports["metrics"] == metrics.getsockname()[1]
            assert relay.ports["legacy"] != relay.ports["other"]
            await asyncio.to_thread(send, relay.ports["other"])
            url = f"http://127.0.0.1:{relay.ports['metrics']}/livez"
            with await asyncio.to_thread(urllib.request.urlopen, url) as answer:
                assert answer.read() == b"ok\n"
            assert await relay.stop() == 0
            # Nobody serves it now, and nobody is refused.
            with socket.create_connection(kept.getsockname()[:2]) as waiting:
                await relay.start()
                waiting.settimeout(25)
                assert (await asyncio.to_thread(waiting.recv, 100)).startswith(b"220 ")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("smtps", "systemd listens for 'smtps', which is no listener"),
        ("unknown", "'unknown'"),
        ("http.webhook", "http.webhook where that is configured"),
    ],
)
async def test_a_socket_for_nobody_is_an_error_of_the_configuration(
    simulator: Simulator, tmp_path: Path, name: str, complaint: str
) -> None:
    with listening() as kept:
        async with activated(tmp_path, simulator.url, {name: kept}) as relay:
            with pytest.raises(AssertionError, match=complaint):
                await relay.start()
            assert await relay.stop() == 78


async def test_a_socket_that_does_not_listen_is_told(simulator: Simulator, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kept:
        async with activated(tmp_path, simulator.url, {"legacy": kept}) as relay:
            with pytest.raises(AssertionError, match="is no listening TCP socket"):
                await relay.start()


async def test_a_wedged_writer_trips_the_watchdog_and_a_slow_disk_does_not(
    simulator: Simulator, systemd: Systemd, tmp_path: Path
) -> None:
    wedge = tmp_path / "wedge"
    config = tmp_path / "relay.yaml"
    config.write_text(configuration(tmp_path, simulator.url))
    env = environment(
        NOTIFY_SOCKET=str(systemd.path), WATCHDOG_USEC="300000", RELAY_TEST_WEDGE=str(wedge)
    )
    relay = Relay(config, WEDGED, env=env)
    await relay.start()
    port, metrics = relay.ports["legacy"], relay.ports["metrics"]
    await asyncio.to_thread(send, port)

    # Slow: more mail is not taken, and the watchdog is fed.
    wedge.touch()
    slow = asyncio.create_task(asyncio.to_thread(send, port))
    sick = await relay.logged("database.unavailable", database="spool.db")
    assert "the disk has been at one commit for 0.25 seconds" in sick["complaint"]
    assert (await ask(metrics, "/readyz"))[0] == 503
    assert await ask(metrics, "/livez") == (200, "ok\n")
    for _ in range(5):
        await systemd.told("WATCHDOG=1")
    wedge.unlink()
    await slow
    await relay.logged("database.available", database="spool.db")
    assert (await ask(metrics, "/readyz"))[0] == 200
    assert not [line for line in relay.lines if line["event"] == "relay.stuck"]

    # Wedged: nothing but a new start will help.
    wedge.touch()
    wedged = asyncio.create_task(asyncio.to_thread(send, port))
    assert (await relay.logged("relay.stuck"))["parts"] == "writer"
    stuck = await systemd.told("WATCHDOG=trigger")
    assert "STATUS=stuck: no sign of writer for 3 seconds" in stuck
    assert await ask(metrics, "/livez") == (503, "stuck: writer\n")
    # What systemd does then. Every thread says where it was.
    assert await relay.stop(signal.SIGABRT) == -signal.SIGABRT
    assert "wait_for_the_disk" in relay.complaints
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionResetError)):
        await wedged
    (tmp_path / "spool" / "reserve").unlink(missing_ok=True)


async def ask(port: int, path: str) -> tuple[int, str]:
    """Return status and text of an answer."""

    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(get)


async def test_health_says_whether_mail_is_taken(start_relay: StartRelay) -> None:
    relay = await start_relay()
    code, said, _ = await relay.cli("health")
    assert (code, said) == (0, "ok spool\nok disk\nok listeners\nok draining\n")
    assert (await relay.cli("health", "--live"))[:2] == (0, "ok\n")
    assert (await relay.cli("health", "--admin", str(relay.config)))[0] == 69
    assert await relay.stop() == 0
    code, said, complaint = await relay.cli("health", "--live")
    assert (code, said) == (69, "")
    assert "is it running?" in complaint


async def test_what_is_in_force_is_shown_with_its_reason_and_without_secrets(
    start_relay: StartRelay,
) -> None:
    digest = "sha256:" + "0123456789abcdef" * 4
    relay = await start_relay(sender=f"login: app\n    token_hash: {digest}")
    lines = (await asyncio.to_thread(relay.config.read_text)).splitlines()
    (at,) = [number for number, line in enumerate(lines, 1) if "token_hash" in line]
    code, said, _ = await relay.cli("config", "show", "--origin")
    assert code == 0
    shown = said.splitlines()
    assert f"senders[app].token_hash: ***   # {relay.config}:{at}" in shown
    assert "spool.lifetime: 4d   # default" in shown
    assert "0123456789" not in said
    code, said, _ = await relay.cli("config", "show", "--changed")
    assert code == 0
    shown = said.splitlines()
    assert "senders[app].login: app" in shown
    assert not [line for line in shown if line.startswith("spool.lifetime")]

    # The file is not what is in force before it is loaded.
    text = (await asyncio.to_thread(relay.config.read_text)).replace("login: app", "login: other")
    other = text.replace("0123456789abcdef0123", "1123456789abcdef0123")
    await asyncio.to_thread(relay.config.write_text, other)
    assert "senders[app].login: app" in (await relay.cli("config", "show"))[1]
    assert (await relay.cli("reload"))[0] == 0
    told = await relay.logged("relay.reloaded")
    assert told["changes"] == (
        "senders[app].login: app -> other; senders[app]: its secret has changed"
    )
    assert "senders[app].login: other" in (await relay.cli("config", "show"))[1]
    assert (await relay.cli("config", "show", "--json"))[1].count('"v": 1') > 50
