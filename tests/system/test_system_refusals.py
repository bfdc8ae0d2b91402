"""Closed by default, and clear about it: unknown clients, wrong configuration, slow SES."""

from __future__ import annotations

import asyncio
import re
import smtplib
import socket
import time
from pathlib import Path

import pytest

from relay.policy.hearing import HANDFUL
from relay.simulator import Hang, Simulator
from tests.system.conftest import StartRelay
from tests.system.house import CLI, run
from tests.tls import certificate_files

MAIL = b"From: app@example.com\r\nSubject: Hi\r\n\r\nHi\r\n"


def as_bytes(words: bytes | str) -> bytes:
    return words if isinstance(words, bytes) else words.encode()


def attempt(port: int, reverse_path: str, mail: bytes) -> tuple[int, bytes]:
    """Return the reply that ended the transaction."""
    with smtplib.SMTP("127.0.0.1", port) as client:
        try:
            client.sendmail(reverse_path, ["jane@example.net"], mail)
        except smtplib.SMTPSenderRefused as error:
            return error.smtp_code, as_bytes(error.smtp_error)
        except smtplib.SMTPDataError as error:
            return error.smtp_code, as_bytes(error.smtp_error)
        except smtplib.SMTPRecipientsRefused as error:
            ((code, words),) = error.recipients.values()
            return code, words
        return 250, b""


@pytest.mark.P7
async def test_without_a_matching_sender_nothing_gets_in(
    start_relay: StartRelay, simulator: Simulator, tmp_path: Path
) -> None:
    certificate, key = certificate_files(tmp_path)
    relay = await start_relay(
        sender="",
        listeners='  - {name: submission, address: "127.0.0.1:0", tls: starttls, auth: required}\n'
        '  - {name: other, address: "[::1]:0", tls: off, auth: off}',
        tls=f"tls: {{certificate: {certificate}, key: {key}}}",
        senders="  - name: tok\n    login: tok\n    from: ['@example.com']\n"
        f'    token_hash: "sha256:{"0" * 64}"\n',
    )
    tries = {
        "another reverse-path": ("legacy", "app@evil.example", MAIL, 553),
        "another author": ("legacy", "app@example.com", MAIL.replace(b"app@", b"x@evil."), 550),
        "two authors": ("legacy", "app@example.com", b"From: app@example.com\r\n" + MAIL, 550),
        "null reverse-path": ("legacy", "", MAIL, 550),
        "no password": ("submission", "app@example.com", MAIL, 530),
    }
    for what, (listener, reverse_path, mail, code) in tries.items():
        reply = await asyncio.to_thread(attempt, relay.ports[listener], reverse_path, mail)
        assert reply[0] == code, f"{what}: {reply}"

    def from_unknown_network() -> bytes:
        with socket.create_connection(("::1", relay.ports["other"])) as client:
            client.sendall(b"EHLO x\r\nMAIL FROM:<app@example.com>\r\nQUIT\r\n")
            return b"".join(iter(lambda: client.recv(4096), b""))

    assert b"\r\n550 5.7.1 No sender is configured" in await asyncio.to_thread(from_unknown_network)
    assert simulator.calls == () or {call.action for call in simulator.calls} == {"GetSendQuota"}
    assert simulator.taken == 0
    _, listing, _ = await relay.cli("queue", "list", "--json")
    assert listing == ""


BROKEN = """\
hostnme: relay.test
listeners:
  - {name: a, address: "127.0.0.1:99999", tls: off, auth: off}
  - {name: b, address: "127.0.0.1:2526", tls: implicit, auth: required}
senders:
  - name: app
    networks: [10.0.0.0/8]
    from: ["@example.com"]
    limits: {rate: 10}
  - name: app
    networks: [10.0.0.300/8]
    from: [nobody]
ses: {accounts: {main: {region: eu-west-1}}}
spool: {lifetime: 4 days}
"""


async def test_a_wrong_configuration_tells_all_its_faults_with_positions_and_exits_78(
    tmp_path: Path,
) -> None:
    config = tmp_path / "relay.yaml"
    config.write_text(BROKEN)
    for verb in ("serve", "check"):
        code, said = await run(*CLI, verb, "--config", str(config))
        assert code == 78, said
        places = [int(line) for line in re.findall(r"relay\.yaml:(\d+):\d+: ", said)]
        assert set(places) >= {1, 3, 4, 9, 10, 11, 12, 14}, said
        assert places == sorted(places)
        assert "did you mean 'hostname'" in said


async def test_a_missing_configuration_is_said_plainly(tmp_path: Path) -> None:
    code, said = await run(*CLI, "serve", "--config", str(tmp_path / "none.yaml"))
    assert code == 78
    assert "none.yaml" in said
    assert "Traceback" not in said


@pytest.mark.P6
async def test_a_hanging_ses_does_not_delay_another_clients_noop(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    simulator.fail(Hang(), times=1000, action="SendRawEmail")
    relay = await start_relay()
    port = relay.ports["legacy"]

    def leave_a_backlog() -> None:
        with smtplib.SMTP("127.0.0.1", port) as client:
            for n in range(40):
                client.sendmail("app@example.com", [f"u{n}@example.net"], MAIL)

    await asyncio.to_thread(leave_a_backlog)
    # No more is begun while nothing is heard.
    await simulator.wait_for(lambda: simulator.hung >= HANDFUL)

    def noops() -> list[float]:
        with smtplib.SMTP("127.0.0.1", port) as client:
            waits = []
            for _ in range(50):
                began = time.perf_counter()
                assert client.noop()[0] == 250
                waits.append(time.perf_counter() - began)
            return sorted(waits)

    waits = await asyncio.to_thread(noops)
    assert simulator.hung >= HANDFUL, "SES did not hang while the NOOPs were asked"
    assert waits[44] < 0.1, f"nine of ten NOOPs took up to {waits[44] * 1000:.0f} ms"
    # And mail is still accepted.
    assert await asyncio.to_thread(attempt, port, "app@example.com", MAIL) == (250, b"")
    simulator.clear_faults()
    simulator.release()
    await simulator.received(41)
