"""What a client hears that waits for SES, end to end: by every row of the verdict table, mode, API.

Modes relayed and relayed-or-queued (rules R6); the rows are those of the matrix of mode queued.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import smtplib
from contextlib import AsyncExitStack
from itertools import zip_longest
from typing import NamedTuple

import aiohttp
import pytest

from relay.simulator import Hang, Refuse, Simulator
from tests.dialogue.house import Caller
from tests.system.conftest import StartRelay
from tests.system.house import Relay
from tests.system.test_system_matrix import (
    DEFERRED,
    FAILED,
    MAIL,
    NOT_TAKEN,
    TAKEN,
    TROUBLE,
    Row,
    entries,
    retried,
    taken_by,
)

MODES = ("relayed", "relayed-or-queued")


class Client(NamedTuple):
    """A sender of its own: known by its address on loopback."""

    host: str
    mode: str
    api: str

    @property
    def name(self) -> str:
        return f"{self.mode}-{self.api}"


CLIENTS = [
    Client(f"127.0.0.{number}", mode, api)
    for number, (mode, api) in enumerate(((m, a) for m in MODES for a in ("v1", "v2")), 2)
]


def senders(clients: list[Client], **keys: str) -> str:
    """Return the senders of these clients, each of them with an account of its own."""
    more = "".join(f"\n    {key}: {value}" for key, value in keys.items())
    return "".join(
        f"""\
  - name: {one.name}
    networks: [{one.host}/32]
    from: ["@example.com"]
    accept: {one.mode}
    ses: {{account: {one.name}}}{more}
"""
        for one in clients
    )


def accounts(clients: list[Client], url: str, rate: str = "auto") -> str:
    """Return an account for each of these clients, beside the one there is."""
    return "".join(
        f', {one.name}: {{region: eu-west-1, endpoint_url: "{url}", api: {one.api}, '
        f"max_send_rate: {rate}}}"
        for one in clients
    )


async def send(relay: Relay, client: Client, *recipients: str, mail: bytes = MAIL) -> str:
    """Send a mail; return the reply to its content."""

    def session() -> str:
        source = (client.host, 0)
        with smtplib.SMTP("127.0.0.1", relay.ports["legacy"], source_address=source) as smtp:
            smtp.ehlo_or_helo_if_needed()
            assert smtp.mail("app@example.com")[0] == 250
            for recipient in recipients:
                assert smtp.rcpt(recipient)[0] == 250
            code, text = smtp.data(mail)
            return f"{code} {text.decode()}"

    return await asyncio.to_thread(session)


async def exposition(relay: Relay) -> str:
    """Return all metrics."""
    url = f"http://127.0.0.1:{relay.ports['metrics']}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.text()


@pytest.mark.P1
@pytest.mark.P5
@pytest.mark.P8
async def test_every_row_of_the_verdict_table_in_each_mode_by_both_apis(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start_relay(
        first_retry="1s",
        senders=senders(CLIENTS),
        accounts=accounts(CLIENTS, simulator.url),
        networks="127.0.0.1/32",
    )
    orders = asyncio.Lock()  # one at a time
    await asyncio.gather(*(_go_through(relay, simulator, one, orders) for one in CLIENTS))
    assert not any(line["event"] == "account.suspended" for line in relay.lines)
    assert not any(line["event"] == "fault" for line in relay.lines)
    rows = len(TROUBLE) + len(DEFERRED) + len(FAILED) + len(NOT_TAKEN) + len(TAKEN)
    lost, doubts = len(FAILED), len(NOT_TAKEN) + len(TAKEN)
    # Who was told 4xx or that it may have been sent has sent again what is not lost.
    again = rows - lost
    metrics = await exposition(relay)
    for mode, outcome, count in (
        ("relayed", "relayed", again),
        ("relayed", "refused", lost + 1),
        ("relayed", "ambiguous", doubts),
        ("relayed", "deferred", rows - lost - 1 - doubts),
        ("relayed-or-queued", "refused", lost),
        ("relayed-or-queued", "queued", rows - lost),
    ):
        line = f'relay_messages_passed_total{{mode="{mode}",outcome="{outcome}"}} {2 * count}.0'
        assert line in metrics, f"{line}; {re.findall('relay_messages_passed.*', metrics)}"
    for account in CLIENTS:
        line = f'relay_ses_ambiguous_sends_total{{account="{account.name}"}} {doubts}.0'
        assert line in metrics, line


async def _go_through(
    relay: Relay, simulator: Simulator, client: Client, orders: asyncio.Lock
) -> None:
    doubtful = (*NOT_TAKEN, *TAKEN)
    numbers = iter(range(1000))
    sent: dict[str, Row] = {}
    # What is about the account comes between what is not: nothing here is to open the breaker.
    for trouble, other in zip_longest((*TROUBLE, *doubtful), (*DEFERRED, *FAILED)):
        for row in (trouble, other):
            if row is None:
                continue
            recipient = f"{client.name}-{next(numbers)}@example.net"
            sent[recipient] = row
            simulator.fail(row.act, recipient=recipient)
            reply = await send(relay, client, recipient)
            check = _check_relayed if client.mode == "relayed" else _check_queued
            await check(relay, row, recipient, reply)
            line = await relay.logged("mail.answered", recipients=[recipient])
            assert line["reply"] == reply, line
            assert (line["mode"], line["sender"]) == (client.mode, client.name)
    lost = {name for name, row in sent.items() if row in FAILED}
    doubts = {name for name, row in sent.items() if row in doubtful}
    taken = {name for name, row in sent.items() if row in TAKEN}
    if client.mode == "relayed":
        assert not await entries(relay, "--sender", client.name), "what was refused is kept"
        # The faults are over: the client, which has its mail still, sends it again.
        for name in sent.keys() - lost:
            reply = await send(relay, client, name)
            message = simulator.message(reply.split()[3])
            assert message is not None, reply
            assert [str(one) for one in message.recipients] == [name]
            # What SES took without saying so goes twice; the client was told that it may.
    else:
        for name in sent.keys() - lost - doubts:
            await relay.logged("mail.relayed", recipient=name)
        assert len(await entries(relay, "--sender", client.name)) == len(doubts)
        async with orders:
            await retried(relay, *(doubts - taken))
    expected = dict.fromkeys(sent.keys() - lost, 1)
    if client.mode == "relayed":
        expected |= dict.fromkeys(taken, 2)
    mine = {name: count for name, count in taken_by(simulator).items() if name in sent}
    assert mine == expected, "twice, or not at all"
    said = [
        line["words"]
        for line in relay.lines
        if line["event"] == "mail.ambiguous" and line["account"] == client.name
    ]
    assert said == ["message may be sent more than once"] * len(doubts)


async def _check_relayed(relay: Relay, row: Row, recipient: str, reply: str) -> None:
    """The client hears what SES says, or that nobody knows."""
    refused = await relay.logged("mail.refused", reply=reply)
    assert refused["reason"] == row.reason, refused
    if row in (*NOT_TAKEN, *TAKEN):
        assert reply.startswith("451 4.4.2 The message may have been sent. SES"), reply
        outcome = "ambiguous"
    elif row is DEFERRED[0]:
        assert reply.startswith("554 5.7.1 SES MessageRejected: Email address is not verified")
        outcome = "refused"
    else:
        assert reply.startswith(f"{row.reply} SES"), reply
        outcome = "refused" if row in FAILED else "deferred"
    line = await relay.logged("mail.answered", recipients=[recipient])
    assert line["outcome"] == outcome, line


async def _check_queued(relay: Relay, row: Row, recipient: str, reply: str) -> None:
    """What SES refuses for good the client hears; all else is in the queue."""
    line = await relay.logged("mail.answered", recipients=[recipient])
    if row in FAILED:
        assert reply.startswith(f"{row.reply} SES"), reply
        assert line["outcome"] == "refused"
        return
    assert reply == f"250 2.0.0 Ok queued as {line['queue_id']}"
    assert line["outcome"] == "queued"
    queued = await relay.logged("mail.queued", recipients=[recipient])
    assert queued["queue_id"] == line["queue_id"]
    deferred = await relay.logged("mail.deferred", recipient=recipient)
    assert (deferred["reason"], deferred["level"]) == (row.reason, row.level), deferred
    assert deferred["reply"].startswith(row.reply), deferred


# --- one sender, one thing at a time --------------------------------------------------------------

LARGE = MAIL + b"0123456789abcdef0123456789abcdef\r\n" * 32_000
RELAYED, EITHER = Client("127.0.0.2", "relayed", "v1"), Client("127.0.0.3", MODES[1], "v1")


async def start(
    start_relay: StartRelay, simulator: Simulator, rate: str = "auto", **keys: str
) -> Relay:
    """Start a relay with a sender of each mode; `keys` are those of both."""
    clients = [RELAYED, EITHER]
    return await start_relay(
        first_retry="1s",
        senders=senders(clients, **keys),
        accounts=accounts(clients, simulator.url, rate),
        networks="127.0.0.1/32",
    )


async def connect(relay: Relay, client: Client) -> Caller:
    """Greet the relay."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", relay.ports["legacy"], local_addr=(client.host, 0)
    )
    caller = Caller(reader, writer)
    await caller.greet()
    return caller


async def hand_in(caller: Caller, *recipients: str, mail: bytes = MAIL) -> None:
    """Send a mail up to its last dot; its reply is not heard yet."""
    await caller.reach_data(*recipients, reverse_path="app@example.com")
    caller.writer.write(mail + b".\r\n")


@pytest.mark.P1
@pytest.mark.P2
async def test_a_mail_that_ses_took_leaves_nothing_but_what_trace_tells(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start(start_relay, simulator)
    content = relay.config.parent / "spool" / "content"
    for client, mail in ((RELAYED, MAIL), (RELAYED, LARGE), (EITHER, LARGE)):
        simulator.forget()
        reply = await send(relay, client, "jane@example.net", mail=mail)
        (message,) = simulator.messages
        assert reply == f"250 2.0.0 Ok {message.id}"
        assert message.raw.endswith(mail)
        line = await relay.logged("mail.relayed", ses_message_id=message.id)
        code, out, err = await relay.cli("trace", line["queue_id"], "--json")
        assert code == 0, err
        assert [json.loads(one).get("fact") for one in out.splitlines()][:-1] == [
            "accepted",
            "relayed",
        ]
        assert message.id in out
    assert not await entries(relay)
    assert await relay.stop() == 0
    assert not list(content.iterdir()), "a temporary file is left"


async def test_a_51st_recipient_is_for_another_transaction(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start(start_relay, simulator)
    async with await connect(relay, RELAYED) as caller:
        assert "LIMITS RCPTMAX=50" in await caller.ask("EHLO app.test")
        assert (await caller.ask("MAIL FROM:<app@example.com>")).startswith("250 ")
        for n in range(50):
            assert (await caller.ask(f"RCPT TO:<u{n}@example.net>")).startswith("250 ")
        assert (await caller.ask("RCPT TO:<u50@example.net>")).startswith("452 4.5.3 ")
        await caller.ask("DATA")
        caller.writer.write(MAIL + b".\r\n")
        assert (await caller.hear()).startswith("250 2.0.0 Ok ")
    (message,) = simulator.messages
    assert len(message.recipients) == 50
    # The other mode takes more, and sends them in several calls, later.
    reply = await send(relay, EITHER, *(f"v{n}@example.net" for n in range(60)))
    assert " queued as " in reply
    await relay.logged("mail.relayed", recipient="v59@example.net")


@pytest.mark.P2
async def test_one_bad_recipient_is_failed_in_the_queue_and_the_client_hears_250(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start(start_relay, simulator)
    for client in (RELAYED, EITHER):
        name = client.name
        text = "Local address contains control or whitespace"
        simulator.fail(
            Refuse("InvalidParameterValue", text, 400), times=9, recipient=f"{name}3@example.net"
        )
        everybody = [f"{name}{n}@example.net" for n in range(8)]
        reply = await send(relay, client, *everybody)
        line = await relay.logged("mail.answered", sender=name)
        expected = rf"250 2.0.0 Ok \S+, for some recipients queued as {line['queue_id']}"
        assert re.fullmatch(expected, reply)
        assert line["outcome"] == "partly"
        failed = await relay.logged("mail.failed", recipient=f"{name}3@example.net")
        assert failed["queue_id"] == line["queue_id"]
        (entry,) = [json.loads(one) for one in await entries(relay, "--sender", name)]
        assert (entry["queue_id"], entry["state"]) == (line["queue_id"], "failed")
        mine = {who: n for who, n in taken_by(simulator).items() if who in everybody}
        assert mine == {who: 1 for who in everybody if who != f"{name}3@example.net"}
        simulator.clear_faults()


@pytest.mark.P6
async def test_a_client_that_is_gone_before_its_turn_is_not_served(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start(start_relay, simulator, patience="5m", rate="1/h")
    content = relay.config.parent / "spool" / "content"
    for client in (RELAYED, EITHER):
        # One goes at once, and the next an hour later.
        assert (await send(relay, client, "first@example.net")).startswith("250 2.0.0 Ok 0")
        caller = await connect(relay, client)
        await hand_in(caller, "gone@example.net", mail=LARGE)
        await caller.writer.drain()
        # Once its file has all of it, it waits for its turn, as soon as the daemon has come round.
        async with asyncio.timeout(30):
            while not any(path.stat().st_size > len(LARGE) for path in content.iterdir()):  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert not await entries(relay)
        caller.reset()
        async with asyncio.timeout(30):
            line = await relay.logged("mail.answered", sender=client.name, outcome="withdrawn")
        assert line["reply"] == ""
    assert not await entries(relay)
    assert taken_by(simulator) == {"first@example.net": 2}
    assert await relay.stop() == 0
    assert not list(content.iterdir())


@pytest.mark.P1
@pytest.mark.P3
async def test_a_stop_answers_who_waits_for_ses(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start(start_relay, simulator, patience="1m")
    callers = {}
    async with AsyncExitStack() as stack:
        for client in (RELAYED, EITHER):
            simulator.fail(Hang(), recipient=f"{client.name}@example.net")
            callers[client] = await stack.enter_async_context(await connect(relay, client))
            await hand_in(callers[client], f"{client.name}@example.net", mail=LARGE)
        await simulator.wait_for(lambda: simulator.hung == 2)
        stopping = asyncio.create_task(relay.stop(signal.SIGTERM))
        await relay.logged("relay.draining")
        simulator.release()
        for caller in callers.values():
            assert (await caller.hear()).startswith("250 2.0.0 Ok ")
            assert (await caller.hear()).startswith("421 4.3.2 ")
        assert await stopping == 0
    assert taken_by(simulator) == {f"{one.name}@example.net": 1 for one in callers}
    await relay.start()
    assert not await entries(relay)
    code, out, _ = await relay.cli("trace", "relayed-v1@example.net", "--json")
    assert code == 0
    assert [json.loads(one).get("fact") for one in out.splitlines()][:-1] == ["accepted", "relayed"]


@pytest.mark.P1
@pytest.mark.P3
async def test_a_kill_leaves_what_was_in_flight_in_doubt_and_nothing_lost(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start(start_relay, simulator, patience="300ms")
    content = relay.config.parent / "spool" / "content"
    async with AsyncExitStack() as stack:
        # SES has taken both, and has not said so yet.
        for client in (RELAYED, EITHER):
            simulator.fail(Hang(accepted=True), recipient=f"{client.name}@example.net")
            caller = await stack.enter_async_context(await connect(relay, client))
            await hand_in(caller, f"{client.name}@example.net", mail=LARGE)
        # The patience of one is over: it is promised, and so it is kept.
        assert (await caller.hear()).startswith("250 2.0.0 Ok queued as ")
        await simulator.wait_for(lambda: simulator.hung == 2)
        # Of the other nothing is promised, and nothing kept: the window W3.
        (entry,) = [json.loads(one) for one in await entries(relay)]
        assert (entry["sender"], entry["state"]) == (EITHER.name, "in-flight")
        assert len(list(content.iterdir())) == 2
        await relay.kill()
    simulator.release()
    await relay.start()
    (entry,) = [json.loads(one) for one in await entries(relay)]
    assert (entry["sender"], entry["state"]) == (EITHER.name, "ambiguous")
    assert [path.name for path in content.iterdir()] == [entry["queue_id"]], "a stray is left"
    # At least once: the client that heard nothing sends again, and so does an operator.
    reply = await send(relay, RELAYED, "relayed-v1@example.net", mail=LARGE)
    assert reply.startswith("250 2.0.0 Ok ")
    code, _, err = await relay.cli("queue", "retry", entry["queue_id"])
    assert code == 0, err
    await relay.logged("mail.relayed", recipient="relayed-or-queued-v1@example.net")
    assert set(taken_by(simulator).values()) == {2}
    assert not await entries(relay)


@pytest.mark.P8
async def test_what_an_operator_does_reaches_who_waits(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start(start_relay, simulator)
    for client in (RELAYED, EITHER):
        code, _, err = await relay.cli("sender", "pause", client.name, "--reason", "wrong template")
        assert code == 0, err
    reply = await send(relay, RELAYED, "a@example.net")
    assert reply == "451 4.3.2 Sending is paused for this sender; try again later"
    reply = await send(relay, EITHER, "a@example.net")
    assert " queued as " in reply
    assert not simulator.messages
    text = await exposition(relay)
    assert 'relay_smtp_refusals_total{phase="data",reason="sender_paused"} 1.0' in text
    for mode, outcome in (("relayed", "deferred"), ("relayed-or-queued", "queued")):
        assert f'relay_messages_passed_total{{mode="{mode}",outcome="{outcome}"}} 1.0' in text
    assert 'relay_messages_passed_total{mode="relayed",outcome="relayed"} 0.0' in text
    code, _, err = await relay.cli("sender", "resume", EITHER.name)
    assert code == 0, err
    await relay.logged("mail.relayed", recipient="a@example.net")
    # A reload: from its next mail on, the sender's 250 says something else.
    written = relay.config.read_text()
    relay.config.write_text(written.replace(f"accept: {EITHER.mode}", "accept: queued"))
    code, out, err = await relay.cli("reload")
    assert code == 0, out + err
    assert " queued as " in await send(relay, EITHER, "b@example.net")
