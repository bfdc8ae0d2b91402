"""kill -9 between the 250 and sending: the mail is still there, and goes out."""

from __future__ import annotations

import asyncio
import smtplib

import pytest

from relay.simulator import Hang, Simulator
from tests.system.conftest import StartRelay

MAIL = b"From: app@example.com\r\nSubject: Hi\r\n\r\nHi\r\n"


def send(port: int, count: int = 1) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        for n in range(count):
            client.sendmail("app@example.com", [f"user{n}@example.net"], MAIL)


@pytest.mark.P1
async def test_mail_accepted_while_ses_is_down_survives_a_kill(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    async with simulator.unreachable():
        relay = await start_relay(first_retry="1s")
        await asyncio.to_thread(send, relay.ports["legacy"], 20)
        # Until its calls have failed and it waits: a call under way at the kill might have gone out.
        await relay.logged("account.suspended")
        while "in-flight" in (await relay.cli("queue", "list", "--json"))[1]:
            pass
        await relay.kill()
    await relay.start()
    opened = await relay.logged("spool.opened")
    assert (opened["entries"], opened["ambiguous"]) == (20, 0)
    messages = await simulator.received(20)
    assert len(messages) == 20
    assert {str(m.recipients[0]) for m in messages} == {f"user{n}@example.net" for n in range(20)}


@pytest.mark.P3
async def test_a_kill_while_ses_has_the_call_marks_the_mail_ambiguous_and_keeps_it(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    simulator.fail(Hang(), action="SendRawEmail")
    relay = await start_relay()
    await asyncio.to_thread(send, relay.ports["legacy"])
    await simulator.wait_for(lambda: simulator.hung == 1)
    await relay.kill()
    await relay.start()
    opened = await relay.logged("spool.opened")
    assert (opened["entries"], opened["ambiguous"]) == (1, 1)
    # SES may have it, so it waits for its event or an operator, and is not sent again by itself.
    code, listing, _ = await relay.cli("queue", "list", "--json")
    assert code == 0
    assert '"state": "ambiguous"' in listing
    queue_id = (await relay.cli("trace", "user0@example.net"))[1]
    assert queue_id is not None
    simulator.clear_faults()
    (entry,) = listing.splitlines()
    name = entry.split('"queue_id": "')[1][:20]
    code, _, said = await relay.cli("queue", "retry", name)
    assert code == 0, said
    (message,) = await simulator.received(1)
    assert str(message.recipients[0]) == "user0@example.net"


@pytest.mark.P3
async def test_an_orderly_stop_awaits_the_call_under_way_and_sends_nothing_twice(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    simulator.fail(Hang(), action="SendRawEmail")
    relay = await start_relay()
    await asyncio.to_thread(send, relay.ports["legacy"])
    await simulator.wait_for(lambda: simulator.hung == 1)
    stopping = asyncio.create_task(relay.stop())
    await relay.logged("relay.draining")
    simulator.release()
    assert await stopping == 0
    assert simulator.taken == 1
    await relay.start()
    opened = await relay.logged("spool.opened")
    assert opened["entries"] == 0


async def test_a_second_daemon_on_the_same_spool_refuses_to_start(
    start_relay: StartRelay,
) -> None:
    first = await start_relay()
    with pytest.raises(AssertionError, match="another"):
        await start_relay()
    assert first.is_running
