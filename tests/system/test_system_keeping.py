"""Mail comes to its end: given up after its lifetime, kept a while, and known of afterwards."""

from __future__ import annotations

import asyncio
import json
import smtplib
import sys
import urllib.request
from pathlib import Path

import pytest

from relay.simulator import Hang, Refuse, Simulator
from tests.system.conftest import StartRelay
from tests.system.house import Relay

BRISK = [sys.executable, "-m", "tests.system.brisk"]
MAIL = b"From: app@example.com\r\nSubject: Hi\r\n\r\nHi\r\n" + b"x" * 70 + b"\r\n"
LARGE = MAIL + (b"x" * 70 + b"\r\n") * 4000


def send(port: int, recipient: str, content: bytes = MAIL) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.sendmail("app@example.com", [recipient], content)


async def metric(relay: Relay, name: str) -> float:
    def read() -> str:
        url = f"http://127.0.0.1:{relay.ports['metrics']}/metrics"
        with urllib.request.urlopen(url) as answer:
            text: str = answer.read().decode()
            return text

    (line,) = [
        li for li in (await asyncio.to_thread(read)).splitlines() if li.startswith(f"{name} ")
    ]
    return float(line.split(" ")[1])


async def facts(relay: Relay, recipient: str) -> list[str]:
    code, out, said = await relay.cli("trace", recipient, "--json")
    assert code == 0, said
    return [json.loads(line)["fact"] for line in out.splitlines() if '"fact"' in line]


async def test_failed_mail_is_kept_for_its_time_and_the_ledger_knows_it_after_that(
    start_relay: StartRelay, simulator: Simulator, tmp_path: Path
) -> None:
    relay = await start_relay(BRISK)
    simulator.fail(Refuse("MessageRejected", "no such thing"), action="SendRawEmail")
    await asyncio.to_thread(send, relay.ports["legacy"], "jane@example.net", LARGE)
    failed = await relay.logged("mail.failed")
    swept = await metric(relay, "relay_sweep_last_completed_timestamp_seconds")
    while await metric(relay, "relay_sweep_last_completed_timestamp_seconds") == swept:
        pass
    # Kept for seven days; then for a moment, which takes a reload and no restart.
    (entry,) = (await relay.cli("queue", "list", "--json"))[1].splitlines()
    assert json.loads(entry)["state"] == "failed"
    assert len(list((tmp_path / "spool/content").iterdir())) == 1
    text = relay.config.read_text()
    relay.config.write_text(text.replace("  unsafe:", "  keep_failed: 100ms\n  unsafe:"))
    assert (await relay.cli("reload"))[0] == 0
    purged = await relay.logged("mail.purged")
    assert purged["queue_id"] == failed["queue_id"]
    assert (await relay.cli("queue", "list", "--json"))[1] == ""
    assert await facts(relay, "jane@example.net") == ["accepted", "failed", "purged"]
    assert await relay.stop() == 0
    assert not list((tmp_path / "spool/content").iterdir())


async def test_mail_is_given_up_after_its_lifetime_and_stays_to_be_retried(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    async with simulator.unreachable():
        relay = await start_relay(
            BRISK, first_retry="100ms", spool="  lifetime: 1s\n  keep_failed: 1h"
        )
        await asyncio.to_thread(send, relay.ports["legacy"], "jane@example.net")
        expired = await relay.logged("mail.expired")
    assert expired["recipient"] == "jane@example.net"
    assert expired["outcome"] == "failed"
    assert expired["reply"].startswith("554 5.4.7 Lifetime expired")
    (entry,) = (await relay.cli("queue", "list", "--json"))[1].splitlines()
    assert json.loads(entry)["state"] == "failed"
    assert (await facts(relay, "jane@example.net"))[-1] == "expired"
    assert (await relay.cli("queue", "retry", expired["queue_id"]))[0] == 0
    (message,) = await simulator.received(1)
    assert str(message.recipients[0]) == "jane@example.net"


@pytest.mark.P3
async def test_a_call_under_way_is_not_cut_off_by_the_lifetime(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    simulator.fail(Hang(), action="SendRawEmail")
    relay = await start_relay(BRISK, first_retry="10ms", spool="  lifetime: 50ms")
    await asyncio.to_thread(send, relay.ports["legacy"], "jane@example.net")
    await simulator.wait_for(lambda: simulator.hung == 1)
    swept = await metric(relay, "relay_sweep_last_completed_timestamp_seconds")
    while await metric(relay, "relay_sweep_last_completed_timestamp_seconds") < swept + 0.5:
        pass
    simulator.release()
    await relay.logged("mail.relayed")
    assert not [line for line in relay.lines if line["event"] == "mail.expired"]


def sent(port: int, count: int) -> list[int]:
    """Try to send so many mails; return the code each RCPT was answered with."""
    codes = []
    with smtplib.SMTP("127.0.0.1", port) as client:
        for number in range(count):
            try:
                client.sendmail("app@example.com", [f"user{number}@example.net"], MAIL)
            except smtplib.SMTPRecipientsRefused as refused:
                ((code, text),) = refused.recipients.values()
                assert text.startswith(b"4.7.1 "), text
                codes.append(code)
            else:
                codes.append(250)
    return codes


@pytest.mark.P6
async def test_a_quota_is_used_up_over_kills_and_restarts(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start_relay(sender="limits: {recipients: [9/h], over_limit: refuse}")
    codes = await asyncio.to_thread(sent, relay.ports["legacy"], 4)
    assert codes == [250] * 4
    await relay.kill()
    await relay.start()
    codes += await asyncio.to_thread(sent, relay.ports["legacy"], 2)
    assert codes == [250] * 6
    assert await relay.stop() == 0
    await relay.start()
    codes += await asyncio.to_thread(sent, relay.ports["legacy"], 6)
    # The kill may have cost one; it gave none back.
    assert codes in ([250] * 9 + [452] * 3, [250] * 8 + [452] * 4)
    await relay.kill()
    await relay.start()
    assert await asyncio.to_thread(sent, relay.ports["legacy"], 1) == [452]
