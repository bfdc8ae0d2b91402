"""A thousand clients that send an octet a second: others are served, they are cut, nothing stays."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import smtplib
import sys
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from relay.simulator import Simulator
from tests.system.conftest import StartRelay
from tests.system.house import Relay
from tests.system.resources import MIB, descriptors, resident, settled

CLIENTS = 1000
# Several of them, as no sender gets more than a quarter of a listener.
SLOW_SENDERS = 5
MAIL = b"From: app@example.com\r\nSubject: Hi\r\n\r\n" + b"x" * 76 + b"\r\n"
LISTENER = '  - {name: crowd, address: "127.0.0.1:0", tls: off, auth: off, max_connections: 1200}\n'


@pytest.fixture(autouse=True)
def _many_descriptors() -> Iterator[None]:
    """Let this process have a descriptor for each client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def trickle(port: int, number: int) -> None:
    """Send an octet a second until cut."""
    sender = number % SLOW_SENDERS
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, local_addr=(f"127.0.{sender + 1}.1", 0)
    )
    # Our system throws away what was said to us once it learns that nobody listens any more: what
    # they were told is asked of the relay. A machine that is busy is cut before it comes to DATA.
    with contextlib.suppress(ConnectionError):
        await reader.readline()
        # Some never get past a command, some stay in a header, and some in a body.
        for line in (
            b"EHLO slow.test\r\n",
            b"MAIL FROM:<slow%d@example.com>\r\n" % sender,
            b"RCPT TO:<jane@example.net>\r\n",
            b"DATA\r\n",
        )[: 0 if number % 3 == 0 else None]:
            writer.write(line)
            while (await reader.readline())[3:4] == b"-":
                pass
        if number % 3 == 2:
            writer.write(b"From: slow%d@example.com\r\n\r\n" % sender)
        last = asyncio.ensure_future(reader.readline())
        while not last.done():
            writer.write(b"x")
            await asyncio.wait([last], timeout=1.0)
        await last
    writer.close()


def send(port: int) -> float:
    """Send one mail on a connection of its own; return how many seconds it took."""
    began = time.perf_counter()
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.sendmail("app@example.com", ["joe@example.net"], MAIL)
    return time.perf_counter() - began


async def wave(relay: Relay) -> list[float]:
    """Let a thousand trickle until all are cut; return how long others took meanwhile."""
    port = relay.ports["crowd"]
    slow = asyncio.gather(*(trickle(port, number) for number in range(CLIENTS)))
    took = []
    while not slow.done():
        took.append(await asyncio.to_thread(send, port))
        await asyncio.wait([slow], timeout=0.02)
    await slow
    return took


@pytest.mark.P6
@pytest.mark.timeout(120)
async def test_a_thousand_trickling_clients_hurt_nobody(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    slow = "".join(
        f"  - {{name: slow{n}, networks: [127.0.{n + 1}.0/24], from: ['@example.com']}}\n"
        for n in range(SLOW_SENDERS)
    )
    relay = await start_relay(
        command=[sys.executable, "-m", "tests.system.hurried"],
        alone=True,
        networks="127.0.0.0/24",
        listeners=LISTENER,
        senders=slow,
    )
    # Connections take memory the first time there are so many, and Python keeps it for the next.
    idle = descriptors(relay.pid)
    warm = await wave(relay)
    await simulator.received(len(warm))
    before = await settled(relay.pid, idle + 3), resident(relay.pid)
    began = time.monotonic()
    took = await wave(relay)
    lasted = time.monotonic() - began
    await simulator.received(len(warm) + len(took))
    took.sort()
    middle, most = took[len(took) // 2], took[-1]
    after = await settled(relay.pid, idle + 3), resident(relay.pid)
    print(
        f"{len(took)} mails in {lasted:.1f} s: median {middle * 1000:.0f} ms, longest "
        f"{most * 1000:.0f} ms; descriptors {after[0] - idle:+}, "
        f"memory {(after[1] - before[1]) / MIB:+.1f} MiB"
    )
    # What is told of the last of them may still be on its way.
    await relay.logged("session.hung_up", count=2 * CLIENTS)
    told = Counter(line["reply"] for line in relay.lines if line["event"] == "session.hung_up")
    assert told == {"421 4.4.2 Timed out, closing connection": 2 * CLIENTS}
    assert len(took) >= lasted, "normal mail was hardly served"
    assert most < 5.0, f"a mail took {most:.1f} s"
    assert abs(after[0] - idle) <= 3, f"descriptors: {idle}, then {after[0]}"
    assert after[1] - before[1] <= 5 * MIB, f"memory grew by {(after[1] - before[1]) / MIB:.1f} MiB"
