"""What operators watch a running daemon with: its status, a client's dialogue, its log, a probe."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import re
import signal
import smtplib
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from relay.simulator import Fate, Simulator
from tests.system.conftest import StartRelay
from tests.system.house import CLI, ROOT, Relay, begun, configuration, environment, spawn

MAIL = b"From: app@example.com\r\nSubject: secret subject\r\n\r\nsecret words\r\n"
TOKEN = "a-token-that-nobody-may-see"
WATCHED = [sys.executable, "-m", "tests.system.watched"]
LOGGING_IN = """\
  - {name: logins, address: "127.0.0.1:0", tls: off, auth: required, auth_without_tls: loopback}
"""


@pytest.fixture
async def relay(start_relay: StartRelay) -> Relay:
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    secret = f'login: app\n    token_hash: "sha256:{digest}"'
    return await start_relay(listeners=LOGGING_IN, sender=secret)


async def lines_of(stream: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    async for raw in stream:
        yield json.loads(raw)


@pytest.mark.P6
async def test_a_dialogue_is_shown_as_it_happens_without_content_and_secrets(relay: Relay) -> None:
    before = smtplib.SMTP("127.0.0.1", relay.ports["logins"])
    await asyncio.to_thread(before.ehlo)
    env = {**environment(), "RELAY_ADMIN": str(relay.config.parent / "admin.sock")}
    watching = await spawn([*CLI, "trace-smtp", "--client", "127.0.0.0/8", "--json"], env)
    told = await relay.logged("relay.dialogue_traced")
    assert (told["client"], told["seconds"]) == ("127.0.0.0/8", 600)

    def talk() -> None:
        # A session that was there already is watched from here on.
        for word in ("user@example.com", "hunter2"):
            before.docmd("AUTH LOGIN" if word != "hunter2" else "hunter2 hunter3")
            before.docmd(base64.b64encode(word.encode()).decode())
            before.docmd(base64.b64encode(b"hunter2").decode())
        before.login("app", TOKEN)
        before.quit()
        with smtplib.SMTP("127.0.0.1", relay.ports["legacy"]) as client:
            client.sendmail("app@example.com", ["jane@example.net"], MAIL)

    await asyncio.to_thread(talk)
    said: list[dict[str, Any]] = []
    assert watching.stdout is not None
    async with asyncio.timeout(60):
        async for line in lines_of(watching.stdout):
            said.append(line)
            if len([one for one in said if "closed" in one["text"]]) == 2:
                break
    # Whoever still watches does not hold up the end.
    began = time.monotonic()
    assert await relay.stop() == 0
    assert time.monotonic() - began < 4
    await watching.wait()
    shown = [f"{one['speaker']} {one['text']}" for one in said]
    everything = json.dumps(said)
    coded = base64.b64encode(f"\0app\0{TOKEN}".encode()).decode()
    for secret in ("hunter", "secret", base64.b64encode(b"hunter2").decode()[:8], TOKEN, coded):
        assert secret not in everything, f"{secret} is shown"
    assert "C AUTH LOGIN" in shown
    assert "C AUTH PLAIN ***" in shown
    assert "* watched from here on" in shown
    second = shown[shown.index("* connected") :]
    assert second[1].startswith("S 220 ")
    assert second[2].startswith("C ehlo ")
    octets = len(MAIL) + len(b".\r\n")
    assert f"C ({octets} octets of content, line ends included)" in second
    assert any(one.startswith("S 250 2.0.0 Ok queued as") for one in second)
    assert all(one["at"] >= 0 and one["peer"] == "127.0.0.1" for one in said)
    assert [one["at"] for one in said if one["session_id"] == said[-1]["session_id"]] == sorted(
        one["at"] for one in said if one["session_id"] == said[-1]["session_id"]
    )


async def test_a_watch_ends_by_itself_and_what_it_cannot_be_is_said(relay: Relay) -> None:
    code, out, err = await relay.cli("trace-smtp", "--client", "10.0.0.0/8", "--for", "100ms")
    assert (code, out) == (0, ""), err
    for words in (
        ("trace-smtp", "--client", "nonsense"),
        ("trace-smtp", "--client", "10.0.0.1", "--for", "2d"),
        ("trace-smtp", "--client", "10.0.0.1", "--for", "soon"),
        ("log-level", "loud"),
        ("log-level", "debug", "--for", "2d"),
    ):
        code, out, err = await relay.cli(*words)
        assert (code, out) == (2, ""), (words, err)
        assert err.startswith(("relay: ", "watching ")), err


async def test_the_log_is_louder_for_a_while_and_falls_back_by_itself(
    start_relay: StartRelay,
) -> None:
    relay = await start_relay()
    config = relay.config.read_text()
    await relay.stop()
    relay.config.write_text(config.replace("level: debug", "level: info"))
    await relay.start()

    async def greeted() -> None:
        def greet() -> None:
            with smtplib.SMTP("127.0.0.1", relay.ports["legacy"]) as client:
                client.noop()

        await asyncio.to_thread(greet)

    await greeted()
    code, out, _ = await relay.cli("log-level")
    assert (code, out) == (0, "info\n")
    code, out, _ = await relay.cli("log-level", "debug", "--for", "1h")
    assert (code, out.split()[:2]) == (0, ["debug", "until"])
    await relay.logged("relay.log_level", to="debug", seconds=3600)
    await greeted()
    await relay.logged("session.closed")
    assert len([line for line in relay.lines if line["event"] == "session.opened"]) == 1
    # Another length takes the place of the first; then it is over.
    await relay.cli("log-level", "debug", "--for", "50ms")
    await relay.logged("relay.log_level", to="info")
    code, out, _ = await relay.cli("log-level")
    assert (code, out) == (0, "info\n")
    await relay.cli("log-level", "error", "--for", "1h")
    await relay.cli("log-level", "reset")
    await relay.logged("relay.log_level", to="info", count=2)


async def test_the_status_says_on_one_screen_how_it_is(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start_relay()
    with smtplib.SMTP("127.0.0.1", relay.ports["legacy"]) as client:
        await asyncio.to_thread(client.sendmail, "app@example.com", ["a@example.net"], MAIL)
    await relay.logged("mail.relayed")
    code, out, err = await relay.cli("status")
    assert code == 0, err
    assert out.startswith("All is well: 1 recipients were relayed in the last 15 minutes, no mess")
    assert len(out.splitlines()) < 24
    assert all(len(line) <= 130 for line in out.splitlines()), out
    for word in ("listener ", "queue ", "account ", "feedback "):
        assert f"\n{word}" in out, out
    code, out, _ = await relay.cli("status", "--json")
    status = json.loads(out)
    assert status["conditions"] == []
    assert status["v"] == 1
    assert {one["listener"] for one in status["listeners"]} == {"legacy"}
    assert status["accounts"][0]["breaker"] == "closed"


async def test_a_selftest_goes_the_whole_way_and_says_how_far_it_came(
    start_relay: StartRelay, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAY_TEST_SIMULATOR", simulator.url)
    topic = simulator.settings.topic_arn
    # Without feedback it ends where SES has taken the mail, and says so.
    first = await start_relay(command=WATCHED)
    code, out, err = await first.cli("selftest")
    assert (code, "no feedback is configured" in err) == (0, True), out + err
    assert "was taken by SES" in out
    await first.stop()

    relay = await start_relay(
        command=WATCHED,
        feedback=f'feedback: {{sns: {{topics: ["{topic}"]}}}}\nprobe: {{every: 1h}}',
        webhook=', webhook: "127.0.0.1:0"',
    )
    simulator.subscribe(f"http://127.0.0.1:{relay.ports['webhook']}/sns")
    await simulator.settled()
    code, out, err = await relay.cli("selftest", "--json")
    steps = [json.loads(line) for line in out.splitlines()]
    assert (code, steps[-1]["ended"]) == (0, True), out + err
    assert [one["step"] for one in steps[:-1] if one["step"] != "sent"] == [
        "queued",
        "relayed",
        "delivered",
    ]
    assert all(message.source == "relay-probe@example.com" for message in simulator.messages)
    simulator.change(replace(simulator.settings, other_recipients=Fate.SILENT))
    simulator.hold_events()
    code, out, err = await relay.cli("selftest", "--timeout", "2s")
    assert (code, "no event came back within 2 s" in err) == (1, True), out + err
    simulator.resume_events()
    code, _, err = await relay.cli("selftest", "--from", "ceo@elsewhere.example")
    assert (code, "not in the from list" in err) == (1, True), err
    code, _, err = await relay.cli("selftest", "--sender", "nobody")
    assert (code, "there is no sender nobody" in err) == (1, True), err


@pytest.mark.P6
async def test_a_journal_that_stops_reading_costs_nothing_but_log_lines(
    tmp_path: Path, simulator: Simulator, needs: Callable[[str], str]
) -> None:
    promtool = needs("promtool")
    config = tmp_path / "relay.yaml"
    config.write_text(configuration(tmp_path, simulator.url))
    env = environment(RELAY_ADMIN=str(tmp_path / "admin.sock"), RELAY_TEST_LOG_LINES="100")
    journal, end = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *WATCHED, "serve", "--config", str(config), cwd=ROOT, env=env, stdout=end
    )
    os.close(end)
    try:
        with open(journal, "rb", buffering=0) as reader:  # noqa: ASYNC230, PTH123 - a pipe
            ports = await asyncio.to_thread(_ports_told, reader)

            def send() -> None:
                with smtplib.SMTP("127.0.0.1", ports["legacy"], timeout=30) as client:
                    for number in range(300):
                        name = f"{'x' * 60}{number}@example.net"
                        client.sendmail("app@example.com", [name], MAIL)

            # From here on nobody reads.
            await asyncio.to_thread(send)
            await simulator.received(300)
            status = await begun([*CLI, "status", "--json"], env)
            out, err = await status.communicate()
            found = json.loads(out)
            named = [one["alert"] for one in found["conditions"]]
            assert "RelayLogLinesDropped" in named, err
            assert found["log"]["dropped"] > 100
            assert status.returncode == 0
            url = f"http://127.0.0.1:{ports['metrics']}/metrics"
            with await asyncio.to_thread(urllib.request.urlopen, url) as answer:
                text = answer.read().decode()
            (dropped,) = re.findall(r"^relay_log_events_dropped_total (\S+)$", text, re.MULTILINE)
            assert float(dropped) > 100
            check = partial(subprocess.run, [promtool, "check", "metrics"], check=True)
            done = await asyncio.to_thread(check, input=text, text=True, capture_output=True)
            assert not done.stderr
            # It is not held up at the end either.
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _ports_told(reader: io.RawIOBase | io.FileIO) -> dict[str, int]:
    """Read the log until the relay has started; return where it listens."""
    told = b""
    while b"relay.started" not in told:
        more = reader.read(4096)
        assert more, told.decode()
        told += more
    lines = [json.loads(line) for line in told.splitlines() if line.endswith(b"}")]
    return {
        line.get("smtp") or line["http"]: line["port"]
        for line in lines
        if line["event"] == "relay.listening" and "port" in line
    }
