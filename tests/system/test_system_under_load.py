"""Restarts and reloads while real clients send: nobody refused, nothing lost, nothing twice.

smtp-source and swaks send one mail after the other, each with a subject of its own, and again only
where they were told 421: as mail servers do.
"""

from __future__ import annotations

import asyncio
import re
import smtplib
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from relay.simulator import Hang, Message, Simulator
from tests.dialogue.house import Caller
from tests.system.conftest import StartRelay
from tests.system.house import run
from tests.system.test_system_service import activated, listening, send

VISITOR = """\
  - name: visitor
    networks: [127.0.0.2/32]
    from: ["@example.com"]
"""
# The longest a client of ours waits for a greeting: few wait longer than 30 seconds.
BANNER_WITHIN = 25


@dataclass
class Load:
    """Clients at work until they are told to stop. Each mail's subject is in `sent` once taken."""

    port: int
    smtp_source: str
    swaks: str
    sent: list[str] = field(default_factory=list)
    deferred: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self, name: str) -> None:
        """Send one mail after the other."""
        number = 0
        while not self.stop.is_set():
            number += 1
            await self._send(f"mail-{name}-{number}", by_swaks=name.startswith("swaks"))

    async def _send(self, subject: str, *, by_swaks: bool) -> None:
        while True:
            code, said = await run(*(self._swaks if by_swaks else self._source)(subject))
            if code == 0:
                self.sent.append(subject)
                return
            assert re.search(r"\b421\b", said), f"{subject}: {said[-1000:]}"
            self.deferred += 1

    def _source(self, subject: str) -> list[str]:
        return [
            *(self.smtp_source, "-m", "1", "-f", "app@example.com", "-t", "jane@example.net"),
            *("-S", subject, f"127.0.0.1:{self.port}"),
        ]

    def _swaks(self, subject: str) -> list[str]:
        return [
            *(self.swaks, "--server", "127.0.0.1", "--port", str(self.port)),
            *("--timeout", "60s", "--from", "app@example.com", "--to", "jane@example.net"),
            *("--h-From", "app@example.com", "--h-Subject", subject),
        ]


def subjects(messages: tuple[Message, ...]) -> Counter[str]:
    """Count what SES got by its subject."""
    found = re.compile(rb"^Subject: (mail-\S+)\r$", re.MULTILINE)
    return Counter(match[1].decode() for one in messages if (match := found.search(one.raw)))


def load_on(port: int, needs: Callable[[str], str]) -> Load:
    return Load(port, needs("smtp-source"), needs("swaks"))


WORKERS = ("source-1", "source-2", "swaks")


async def greeted(port: int) -> float:
    """Connect, and return after how many seconds the greeting came."""
    began = time.monotonic()
    async with asyncio.timeout(BANNER_WITHIN):
        async with await Caller.at(port) as caller:
            assert (await caller.hear()).startswith("220 ")
    return time.monotonic() - began


@pytest.mark.P1
@pytest.mark.P3
async def test_restarts_under_load_refuse_nobody_lose_nothing_and_send_nothing_twice(
    simulator: Simulator, tmp_path: Path, needs: Callable[[str], str]
) -> None:
    with listening() as kept:
        port = kept.getsockname()[1]
        async with activated(tmp_path, simulator.url, {"legacy": kept}) as relay:
            await relay.start()
            load = load_on(port, needs)
            async with asyncio.TaskGroup() as clients:
                for name in WORKERS:
                    clients.create_task(load.work(name))
                for _ in range(3):
                    await more(load)
                    stopping = asyncio.create_task(relay.stop())
                    await relay.logged("relay.draining")
                    # Comes while one goes and the next is not there yet.
                    waiting = asyncio.create_task(greeted_in_time(port))
                    assert await stopping == 0
                    await relay.start()
                    await waiting
                await more(load)
                load.stop.set()
            await simulator.received(len(load.sent))
            assert await relay.stop() == 0
            assert (await relay.logged("relay.stopped"))["queued"] == 0
    assert subjects(simulator.messages) == Counter(load.sent)


async def greeted_in_time(port: int) -> None:
    """Be greeted: by the one that goes, if it still serves, or else by the next."""
    while True:
        try:
            assert await greeted(port) < BANNER_WITHIN
        except AssertionError as told:
            # It went while it spoke to us.
            assert "421" in str(told)  # noqa: PT017 - this is what may happen
        else:
            return


async def more(load: Load, count: int = 10) -> None:
    """Return once so many more mails have been taken."""
    enough = len(load.sent) + count
    while len(load.sent) < enough:  # noqa: ASYNC110 - clients tell nobody
        await asyncio.sleep(0.01)


@pytest.mark.P7
async def test_a_reload_under_load_cuts_off_a_revoked_sender_and_nobody_else(
    simulator: Simulator, tmp_path: Path, needs: Callable[[str], str]
) -> None:
    with listening() as kept:
        port = kept.getsockname()[1]
        async with activated(
            tmp_path, simulator.url, {"legacy": kept}, senders=VISITOR, networks="127.0.0.1/32"
        ) as relay:
            await relay.start()
            load = load_on(port, needs)
            async with asyncio.TaskGroup() as clients:
                for name in WORKERS:
                    clients.create_task(load.work(name))
                await more(load)
                in_data, idle, other = [await visitor(port, n) for n in (2, 2, 1)]
                await in_data.reach_data(reverse_path="app@example.com")
                in_data.say("From: app@example.com", "")
                for caller in (idle, other):
                    await caller.ask("MAIL FROM:<app@example.com>")
                    await caller.ask("RSET")
                text = await asyncio.to_thread(relay.config.read_text)
                await asyncio.to_thread(relay.config.write_text, text.replace(VISITOR, ""))
                assert (await relay.cli("reload"))[0] == 0

                changed = b"421 4.7.0 The rules for this sender have changed; connect again\r\n"
                assert await idle.rest() == changed
                # Content on its way is taken by the old rules.
                in_data.say("Hello", ".")
                assert (await in_data.hear()).startswith("250 2.0.0 Ok queued as ")
                assert await in_data.rest() == changed
                assert await refused(port) == b"550 5.7.1"
                assert (await other.ask("MAIL FROM:<app@example.com>")).startswith("250 ")
                await other.ask("QUIT")
                await more(load)
                load.stop.set()
            assert load.deferred == 0, "a client of another sender was asked to come again"
            line = await relay.logged("relay.reloaded")
            assert line["changes"] == "senders[visitor]: removed"
            # Accepted is accepted: it is held, and told of, until it is known whose it is.
            await simulator.received(len(load.sent))
            assert subjects(simulator.messages) == Counter(load.sent)
            _, held, _ = await relay.cli("queue", "list", "--json")
            assert "sender-removed" in held
            for caller in (in_data, idle, other):
                caller.writer.close()


async def visitor(port: int, last: int) -> Caller:
    """Come from 127.0.0.2, or as another."""
    streams = await asyncio.open_connection("127.0.0.1", port, local_addr=(f"127.0.0.{last}", 0))
    caller = Caller(*streams)
    await caller.greet()
    return caller


async def refused(port: int) -> bytes:
    """Come as the visitor once more; return what MAIL is answered."""

    def ask() -> bytes:
        with smtplib.SMTP("127.0.0.1", port, source_address=("127.0.0.2", 0)) as client:
            client.ehlo()
            code, text = client.mail("app@example.com")
            return b"%d %s" % (code, text[:5])

    return await asyncio.to_thread(ask)


async def test_listeners_accounts_and_the_log_change_while_the_relay_runs(
    simulator: Simulator, tmp_path: Path
) -> None:
    """Added, changed and removed; a listener that cannot be opened changes nothing at all."""
    with listening() as kept:
        port = kept.getsockname()[1]
        async with activated(tmp_path, simulator.url, {"legacy": kept}) as relay:
            await relay.start()
            good = await asyncio.to_thread(relay.config.read_text)
            senders = await Caller.at(port)
            await senders.greet()

            async def reload(text: str) -> tuple[int, str]:
                await asyncio.to_thread(relay.config.write_text, text)
                code, _, said = await relay.cli("reload")
                return code, said

            # Another listener, and an account of its own for a sender of its own.
            lent = f'    lent: {{region: eu-west-1, endpoint_url: "{simulator.url}"}}\n'
            with socket.create_server(("127.0.0.1", 0)) as taken:
                number = taken.getsockname()[1]
                added = good.replace(
                    "senders:\n",
                    f'  - {{name: added, address: "127.0.0.1:{number}", tls: off, auth: off}}\n'
                    "senders:\n",
                ).replace("level: debug", "level: info")
                added = re.sub(
                    r"  accounts: \{main: (\{.*\})\}\n",
                    rf"  accounts:\n    main: \1\n{lent}",
                    added,
                ).replace(
                    'from: ["@example.com"]', 'from: ["@example.com"]\n    ses: {account: lent}'
                )
                code, said = await reload(added)
                assert code == 78
                assert f"listener added, 127.0.0.1 port {number}: Address already in use" in said
                assert (await senders.ask("NOOP")).startswith("250 ")
            code, said = await reload(added)
            assert code == 0, said
            line = await relay.logged("relay.reloaded")
            for change in (
                "listeners[added]: added",
                "senders[app].ses.account: main -> lent",
                "ses.accounts.lent.region: none -> eu-west-1",
                "log.level: debug -> info",
            ):
                assert change in line["changes"].split("; "), line["changes"]
            # The listener that stayed as it was has not noticed.
            assert (await senders.ask("NOOP")).startswith("250 ")
            assert (await senders.send(b"From: app@example.com\r\n\r\n", "a@example.net"))[
                :3
            ] == "250"
            assert (await relay.logged("mail.relayed"))["account"] == "lent"

            caller = await Caller.at(number)
            await caller.greet()
            code, said = await reload(
                added.replace(
                    "tls: off, auth: off}\nsenders",
                    "tls: off, auth: off, long_lines: reject}\nsenders",
                )
            )
            assert code == 0, said
            assert await caller.rest() == b"421 4.3.2 This service has changed; connect again\r\n"
            await (again := await Caller.at(number)).greet()
            code, said = await reload(good)
            assert code == 0, said
            assert await again.rest() == b"421 4.3.2 This service has changed; connect again\r\n"
            with pytest.raises(ConnectionRefusedError):
                await Caller.at(number)
            assert (await senders.send(b"From: app@example.com\r\n\r\n", "b@example.net"))[
                :3
            ] == "250"
            assert (await relay.logged("mail.relayed", account="main"))[
                "recipient"
            ] == "b@example.net"
            # The socket systemd keeps would have nobody to serve it.
            code, said = await reload(good.replace("name: legacy", "name: other"))
            assert code == 78
            assert "systemd listens for 'legacy', which is no listener" in said
            for one in (senders, caller, again):
                one.writer.close()


@pytest.mark.P3
async def test_a_call_to_ses_ends_on_the_account_it_was_begun_on(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    """The account is changed, and then taken away, while SES is answering."""
    relay = await start_relay()
    good = await asyncio.to_thread(relay.config.read_text)
    port = relay.ports["legacy"]

    async def change(text: str) -> None:
        await asyncio.to_thread(relay.config.write_text, text)
        code, _, said = await relay.cli("reload")
        assert code == 0, said

    simulator.fail(Hang(accepted=True), action="SendRawEmail", times=2)
    await asyncio.to_thread(send, port)
    await simulator.wait_for(lambda: simulator.hung == 1)
    await change(good.replace("max_send_rate: auto", "max_send_rate: 500/s"))
    # Of the account as it is now, beside the call of the one that was.
    await asyncio.to_thread(send, port)
    await simulator.wait_for(lambda: simulator.hung == 2)
    lent = good.replace("{main: {", "{lent: {").replace(
        'from: ["@example.com"]', 'from: ["@example.com"]\n    ses: {account: lent}'
    )
    await change(lent)
    await asyncio.to_thread(send, port)
    assert (await relay.logged("mail.relayed", account="lent"))["sender"] == "app"
    simulator.release()
    await relay.logged("mail.relayed", count=2, account="main")
    assert await relay.stop() == 0
    assert (await relay.logged("relay.stopped"))["queued"] == 0
    assert len(simulator.messages) == 3
    assert not [line for line in relay.lines if line["event"] == "fault"]
