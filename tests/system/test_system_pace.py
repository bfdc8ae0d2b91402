"""Operators and the pace of a real daemon: who is paused, and how the account is doing."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relay.simulator import Refuse, Simulator
from tests.system.conftest import StartRelay
from tests.system.house import Relay
from tests.system.test_system_queue import accept, recipients


async def shown(relay: Relay, *words: str) -> dict[str, Any]:
    """Return what a verb shows as JSON."""
    code, out, err = await relay.cli(*words, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.P8
async def test_a_paused_sender_is_accepted_and_kept_over_a_restart_until_it_is_resumed(
    start_relay: StartRelay, simulator: Simulator, tmp_path: Path
) -> None:
    simulator.change(replace(simulator.settings, max_send_rate=14.0))
    relay = await start_relay()
    code, _, err = await relay.cli("sender", "pause", "nobody", "--reason", "x")
    assert (code, "there is app" in err) == (1, True), err
    code, _, err = await relay.cli("sender", "pause", "app", "--reason", "wrong template")
    assert code == 0, err
    await accept(relay, "one@example.net", number=1)
    await relay.logged("account.quota")
    account = await shown(relay, "account", "show", "main")
    assert (account["rate_granted"], account["breaker"]) == (14.0, "closed")
    assert account["daily_quota"] == "unlimited"
    assert (account["condition"], account["daily_quota_holds"]) == ("sending", "nobody")
    assert account["access_key"].startswith("AKIASIMULATOR")
    assert (await relay.cli("account", "show", "other"))[0] == 1
    assert await relay.stop() == 0

    await relay.start()
    await accept(relay, "two@example.net", number=2)
    status = await shown(relay, "status")
    (sender,) = status["senders"]
    assert sender["paused"].endswith(": wrong template")
    assert (sender["messages"], status["queue"]["messages"]["ready"]) == (2, 2)
    assert simulator.taken == 0
    code, _, err = await relay.cli("sender", "resume", "app", "--reason", "mended")
    assert code == 0, err
    await simulator.received(2)
    await relay.logged("mail.relayed", count=2)
    assert recipients(simulator) == ["one@example.net", "two@example.net"]
    assert (await relay.cli("sender", "resume", "app"))[0] == 1
    with closing(sqlite3.connect(tmp_path / "spool" / "record.db")) as record:
        audited = record.execute("SELECT action, subject, detail FROM audit").fetchall()
    assert audited == [
        ("pause", "sender app", "wrong template"),
        ("resume", "sender app", "mended"),
    ]


@pytest.mark.P8
async def test_an_account_that_slows_us_down_and_then_breaks_says_so(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start_relay()
    # Not the calls that read the quota, which come when they come.
    send = "SendRawEmail"
    simulator.fail(Refuse("Throttling", "Maximum sending rate exceeded."), action=send)
    await accept(relay, "slow@example.net")
    await relay.logged("account.slowed")
    assert (await shown(relay, "account", "show"))["condition"].startswith("slowed to ")
    await relay.logged("mail.relayed")
    simulator.fail(Refuse("SignatureDoesNotMatch", "wrong secret", 403), times=3, action=send)
    await accept(relay, *(f"user{n}@example.net" for n in range(3)))
    await relay.logged("account.suspended", reason="credentials")
    account = await shown(relay, "account", "show")
    assert account["breaker"] in ("open", "half-open")
    assert "credentials" in account["condition"]
    # Whatever comes next is the probe.
    await accept(relay, "probe@example.net")
    await relay.logged("account.resumed")
    await simulator.received(2)
    assert not [line for line in relay.lines if line["event"] == "mail.failed"]
