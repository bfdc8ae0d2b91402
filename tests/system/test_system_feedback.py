"""From bounce to refusal: the loop closed, and the command line that tells of it."""

from __future__ import annotations

import asyncio
import json
import smtplib
import urllib.error
import urllib.request
from datetime import UTC, datetime

import pytest

from relay.observe.metrics import READINESS_CHECKS
from relay.simulator import Simulator
from tests import sns
from tests.system.conftest import StartRelay
from tests.system.house import Relay

MAIL = b"From: app@example.com\r\nSubject: Hi\r\n\r\nHi\r\n"
FEEDBACK = f'feedback: {{sns: {{topics: ["{sns.TOPIC}"]}}}}'


def send(port: int, recipient: str) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.sendmail("app@example.com", [recipient], MAIL)


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def test_metrics_and_health_tell_what_happened(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start_relay()
    port = relay.ports["metrics"]
    assert await asyncio.to_thread(ask, port, "/healthz") == (200, "ok\n")
    status, checks = await asyncio.to_thread(ask, port, "/readyz")
    assert (status, set(checks.splitlines())) == (200, {f"ok {name}" for name in READINESS_CHECKS})
    _, before = await asyncio.to_thread(ask, port, "/metrics")
    # Born at zero, so that the first event shows as an increase.
    assert 'relay_messages_accepted_total{listener="legacy"} 0.0' in before
    assert 'relay_recipients_relayed_total{account="main"} 0.0' in before
    assert 'relay_smtp_refusals_total{phase="mail",reason="sender_not_allowed"} 0.0' in before
    await asyncio.to_thread(send, relay.ports["legacy"], "jane@example.net")
    await relay.logged("mail.relayed")
    _, after = await asyncio.to_thread(ask, port, "/metrics")
    assert 'relay_messages_accepted_total{listener="legacy"} 1.0' in after
    assert 'relay_recipients_relayed_total{account="main"} 1.0' in after
    assert 'relay_queue_messages{state="ready"} 0.0' in after
    assert "jane" not in after


@pytest.mark.P4
async def test_relayed_is_not_delivered_until_ses_says_so(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start_relay()
    await asyncio.to_thread(send, relay.ports["legacy"], "jane@example.net")
    queued = await relay.logged("mail.queued")
    relayed = await relay.logged("mail.relayed")
    facts = await traced(relay, queued["queue_id"])
    assert facts == ["accepted", "relayed"]
    assert await traced(relay, relayed["ses_message_id"]) == facts
    assert await traced(relay, "jane@example.net") == facts


async def traced(relay: Relay, key: str) -> list[str]:
    """Return the facts of a trace, waiting for the ledger to have any."""
    while True:
        code, out, err = await relay.cli("trace", key, "--json")
        assert code in (0, 1), err
        if lines := [json.loads(line) for line in out.splitlines()]:
            return [line["fact"] for line in lines if line["type"] == "fact"]


async def test_an_operator_suppresses_and_unsuppresses_with_a_reason(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start_relay()
    port = relay.ports["legacy"]
    code, _, said = await relay.cli(
        "suppression", "add", "Jane@Example.net", "--reason", "asked by phone"
    )
    assert code == 0, said
    code, out, _ = await relay.cli("suppression", "list", "--json")
    (one,) = [json.loads(line) for line in out.splitlines()]
    assert (one["address"], one["reason"], one["detail"]) == (
        "jane@example.net",
        "manual",
        "asked by phone",
    )
    with pytest.raises(smtplib.SMTPRecipientsRefused, match=r"5\.7\.1 Suppressed since"):
        await asyncio.to_thread(send, port, "jane@example.net")
    code, _, said = await relay.cli("suppression", "remove", "jane@example.net", "--reason", "back")
    assert code == 0, said
    await asyncio.to_thread(send, port, "jane@example.net")
    await simulator.received(1)
    code, _, said = await relay.cli("suppression", "remove", "jane@example.net", "--reason", "x")
    assert code == 1, said
    code, _, said = await relay.cli("suppression", "add", "no address", "--reason", "x")
    assert code == 2, said


async def test_a_forged_post_to_the_webhook_changes_nothing(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start_relay(feedback=FEEDBACK, webhook=', webhook: "127.0.0.1:0"')
    forged = json.dumps(sns.notification(sns.bounce("boss@example.net"), TopicArn=sns.TOPIC + "x"))

    def post() -> int:
        url = f"http://127.0.0.1:{relay.ports['webhook']}/sns"
        try:
            with urllib.request.urlopen(url, data=forged.encode()) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert await asyncio.to_thread(post) == 403
    assert (await relay.logged("feedback.refused"))["reason"] == "topic"
    await asyncio.to_thread(send, relay.ports["legacy"], "boss@example.net")
    await simulator.received(1)


async def test_reload_is_all_or_nothing(start_relay: StartRelay, simulator: Simulator) -> None:
    relay = await start_relay()
    good = relay.config.read_text()
    relay.config.write_text(good.replace("@example.com", "@example.org"))
    code, _, said = await relay.cli("reload")
    assert code == 0, said
    with pytest.raises(smtplib.SMTPSenderRefused):
        await asyncio.to_thread(send, relay.ports["legacy"], "jane@example.net")

    relay.config.write_text(good.replace("@example.com", "example"))
    code, _, said = await relay.cli("reload")
    assert code == 78
    assert "relay.yaml:" in said
    moved = good.replace("path: ", "min_free: 1%\n  path: ")
    relay.config.write_text(moved.replace("@example.com", "@example.net"))
    code, _, said = await relay.cli("reload")
    assert code == 78
    assert "spool.min_free: a change here needs a restart" in said
    _, metrics = await asyncio.to_thread(ask, relay.ports["metrics"], "/metrics")
    assert "relay_config_last_reload_successful 0.0" in metrics

    relay.config.write_text(good)
    assert (await relay.cli("reload"))[0] == 0
    await asyncio.to_thread(send, relay.ports["legacy"], "jane@example.net")
    await simulator.received(1)


async def test_the_command_line_says_when_no_daemon_answers(start_relay: StartRelay) -> None:
    relay = await start_relay()
    assert await relay.stop() == 0
    code, out, said = await relay.cli("queue", "list")
    assert (code, out) == (69, "")
    assert "does not answer" in said


async def test_a_list_is_exported_and_imported_as_csv_and_as_json_lines(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start_relay()
    old = relay.config.parent / "old.csv"
    old.write_text(
        "emailAddress,reason,since\n"
        "Jane@Example.net,BOUNCE,2025-01-02T03:04:05Z\n"
        "no address,BOUNCE,\n"
        "joe@example.net,COMPLAINT,\n"
    )
    code, _, said = await relay.cli("suppression", "import", str(old), "--reason", "migration")
    assert code == 1
    assert "line 3:" in said
    assert "2 addresses are suppressed; 1 lines could not be used" in said
    exported = {}
    for name in ("list.csv", "list.jsonl"):
        path = relay.config.parent / name
        code, _, said = await relay.cli("suppression", "export", str(path))
        assert code == 0, said
        exported[name] = path.read_text()
    code, out, _ = await relay.cli("suppression", "export")
    assert out == exported["list.csv"]
    for address in ("jane@example.net", "joe@example.net"):
        code, _, said = await relay.cli("suppression", "remove", address, "--reason", "x")
        assert code == 0, said
        assert "SES's own list of account main: does not hold it" in said
    for name, text in exported.items():
        path = relay.config.parent / name
        code, _, said = await relay.cli("suppression", "import", str(path), "--reason", "back")
        assert code == 0, said
        _, out, _ = await relay.cli("suppression", "export", "-", "--format", path.suffix[1:])
        assert out == text


async def test_the_list_of_the_account_is_copied_when_asked_for_and_bars_mail(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    for n in range(3):
        simulator.suppressed.put(f"User{n}@example.net", "BOUNCE", datetime(2026, 1, 2, tzinfo=UTC))
    relay = await start_relay()
    code, out, said = await relay.cli("suppression", "sync", "--json")
    assert code == 0, said
    *_, done = [json.loads(line) for line in out.splitlines()]
    assert (done["seen"], done["changed"], done["is_full"]) == (3, 3, True)
    with pytest.raises(smtplib.SMTPRecipientsRefused, match=r"5\.1\.1 Suppressed since 2026-01-02"):
        await asyncio.to_thread(send, relay.ports["legacy"], "user1@example.net")
    code, _, said = await relay.cli("suppression", "remove", "user1@example.net", "--reason", "x")
    assert code == 0, said
    assert "still holds it as User1@example.net (BOUNCE, 2026-01-02)" in said
    code, _, said = await relay.cli("suppression", "sync", "other")
    assert code == 1
    assert "there is no account other" in said
