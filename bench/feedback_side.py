"""What comes back: CPU of an event, what events cost the mail that comes in, a million suppressed.

Signed notifications are posted to the real daemon over kept connections, as SNS does: each is
verified, read, stored with its effects and answered. Meanwhile clients send mail at a steady rate,
and it is measured how long each waits for its 250; first without events, then with a thousand a
second, in alternating runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, cast

import aiohttp

from bench import subjects
from bench.processes import cpu_seconds
from bench.stand_in import free_port, ses_stand_in, wait_for_port
from relay.simulator.sns import Signer, notification

_TOPIC: Final = "arn:aws:sns:eu-west-1:123456789012:ses-feedback"
_CONNECTIONS: Final = 16
_EVENTS: Final = 4000
_PER_SECOND: Final = 1000
_MAILS_PER_SECOND: Final = 100
_SECONDS: Final = 8
_CPU_TARGET: Final = 0.4  # ms
_WAIT_TARGET: Final = 10.0  # ms
_MILLION: Final = 1_000_000
_CONFIGURATION: Final = """
hostname: bench.example
listeners:
  - {{name: legacy, address: "127.0.0.1:{smtp}", tls: off, auth: off}}
senders:
  - {{name: bench, networks: [127.0.0.0/8], from: ["@example.com"]}}
ses:
  accounts: {{main: {{region: eu-west-1, endpoint_url: "{ses}", max_send_rate: 1000000/s}}}}
spool: {{path: {spool}}}
suppression: {{account_list: off}}
feedback: {{sns: {{topics: ["{topic}"]}}}}
http: {{metrics: "127.0.0.1:0", admin: {spool}/admin.sock, webhook: "127.0.0.1:{webhook}"}}
log: {{format: json}}
"""


@dataclass(frozen=True, slots=True)
class _Running:
    smtp: int
    webhook: int
    pid: int


@contextmanager
def _relay(ses_url: str, signer: Signer) -> Iterator[_Running]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        directory = Path(name)
        smtp, webhook = free_port(), free_port()
        config, certificate = directory / "relay.yaml", directory / "certificate.pem"
        certificate.write_bytes(signer.certificate_pem)
        config.write_text(
            _CONFIGURATION.format(
                smtp=smtp, webhook=webhook, ses=ses_url, spool=directory / "spool", topic=_TOPIC
            )
        )
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        with (directory / "log").open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.feedback_ours", str(config), str(certificate)],
                cwd=subjects.ROOT,
                env=environment,
                stdout=out,
            )
            try:
                wait_for_port(smtp)
                yield _Running(smtp, webhook, process.pid)
            finally:
                process.terminate()
                process.wait()


def _signed(signer: Signer, first: int, count: int) -> list[bytes]:
    """Return what SNS would post: a send, a delivery and now and then a bounce of each mail."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    bodies = []
    for number in range(first, first + count):
        address = f"user{number}@example.net"
        kind, key, particulars = _particulars(number, address, at)
        event = {
            "eventType": kind,
            key: particulars,
            "mail": {
                "timestamp": at,
                "source": "bench@example.com",
                "messageId": f"0102018f-{number:06}-000000",
                "destination": [address],
                "headersTruncated": False,
                "headers": [{"name": f"X-Header-{n}", "value": "v" * 40} for n in range(12)],
                "commonHeaders": {"from": ["bench@example.com"], "messageId": f"<{number}@x>"},
                "tags": {
                    "relay-id": ["06H04YCY58GVCD1MB7KG"],
                    "relay-node": ["another-node"],
                    "relay-sender": ["bench"],
                    "ses:operation": ["SendRawEmail"],
                },
            },
        }
        envelope = notification(
            json.dumps(event),
            message_id=f"22b80b92-fdea-4c2c-8f9d-{number:012}",
            subscription_arn=f"{_TOPIC}:c9135db0",
            subject="Amazon SES Email Event Notification",
            at=at,
        )
        signed = signer.sign(envelope, version="2", region="eu-west-1")
        bodies.append(json.dumps(signed).encode())
    return bodies


def _particulars(number: int, address: str, at: str) -> tuple[str, str, dict[str, Any]]:
    if number % 20 == 0:
        bounced = {"emailAddress": address, "status": "5.1.1", "diagnosticCode": "smtp; 550 no"}
        return (
            "Bounce",
            "bounce",
            {
                "bounceType": "Permanent",
                "bounceSubType": "General",
                "bouncedRecipients": [bounced],
                "timestamp": at,
                "feedbackId": f"f-{number}",
            },
        )
    if number % 2:
        return "Send", "send", {}
    return "Delivery", "delivery", {"timestamp": at, "recipients": [address], "smtpResponse": "250"}


async def _post(port: int, bodies: list[bytes], per_second: float | None) -> None:
    """Post everything, as fast as it is answered or at a steady rate."""
    queue: asyncio.Queue[bytes | None] = asyncio.Queue()
    url = f"http://127.0.0.1:{port}/sns"

    async def work(session: aiohttp.ClientSession) -> None:
        while (body := await queue.get()) is not None:
            async with session.post(url, data=body) as answer:
                if answer.status != 200:
                    raise SystemExit(f"bench: the webhook answered {answer.status}")

    connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector) as session:
        workers = [asyncio.create_task(work(session)) for _ in range(_CONNECTIONS)]
        began = time.monotonic()
        for number, body in enumerate(bodies):
            if per_second is not None:
                wait = began + number / per_second - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
            queue.put_nowait(body)
        for _ in workers:
            queue.put_nowait(None)
        await asyncio.gather(*workers)


async def _send(port: int, count: int, per_second: float) -> list[float]:
    """Send mails at a steady rate over kept connections; return how long each 250 took, in ms."""
    queue: asyncio.Queue[bool] = asyncio.Queue()
    took: list[float] = []
    mail = b"From: bench@example.com\r\n\r\n" + b"x" * 4000 + b"\r\n.\r\n"

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await reader.readline()
        writer.write(b"HELO bench\r\n")
        await reader.readline()
        while await queue.get():
            for command in (b"MAIL FROM:<bench@example.com>", b"RCPT TO:<a@example.net>", b"DATA"):
                writer.write(command + b"\r\n")
                await reader.readline()
            began = time.perf_counter()
            writer.write(mail)
            if not (answer := await reader.readline()).startswith(b"250"):
                raise SystemExit(f"bench: not accepted: {answer!r}")
            took.append((time.perf_counter() - began) * 1000)
        writer.close()

    workers = [asyncio.create_task(work()) for _ in range(_CONNECTIONS)]
    began = time.monotonic()
    for number in range(count):
        wait = began + number / per_second - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        queue.put_nowait(True)
    for _ in workers:
        queue.put_nowait(False)
    await asyncio.gather(*workers)
    return took


def _cpu_of_an_event(ses_url: str, signer: Signer) -> tuple[float, float]:
    """Return CPU milliseconds an event, and events a second."""
    with _relay(ses_url, signer) as running:
        asyncio.run(_post(running.webhook, _signed(signer, 0, 300), None))
        bodies = _signed(signer, 1000, _EVENTS)
        before, began = cpu_seconds(running.pid), time.monotonic()
        asyncio.run(_post(running.webhook, bodies, None))
        seconds = time.monotonic() - began
        return (cpu_seconds(running.pid) - before) / _EVENTS * 1000, _EVENTS / seconds


def _p99_of_an_accept(ses_url: str, signer: Signer, *, with_events: bool) -> float:
    with _relay(ses_url, signer) as running:
        asyncio.run(_send(running.smtp, 200, 200))
        command = [sys.executable, "-m", "bench.feedback_side", str(running.webhook)]
        posting = None
        if with_events:
            # A process of its own, or the events would hold up the clients themselves.
            posting = subprocess.Popen(command, cwd=subjects.ROOT, stdin=subprocess.PIPE)
            bodies = _signed(signer, 0, _PER_SECOND * (_SECONDS + 1))
            with cast("IO[bytes]", posting.stdin) as pipe:
                pipe.write(b"".join(body + b"\n" for body in bodies))
        took = asyncio.run(_send(running.smtp, _MAILS_PER_SECOND * _SECONDS, _MAILS_PER_SECOND))
        if posting is not None and posting.wait() != 0:
            raise SystemExit("bench: the events could not be posted")
    return statistics.quantiles(took, n=100)[98]


def _million() -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        done = subprocess.run(
            [sys.executable, "-m", "bench.suppressed_ours", name, str(_MILLION)],
            cwd=subjects.ROOT,
            stdout=subprocess.PIPE,
            check=True,
        )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(runs: int) -> None:
    """Run all parts and print what came of them, beside what is promised."""
    signer = Signer.generate(datetime.now(UTC))
    events: list[tuple[float, float]] = []
    quiet: list[float] = []
    busy: list[float] = []
    with ses_stand_in() as ses:
        for _ in range(runs):
            events.append(_cpu_of_an_event(ses.url, signer))
            quiet.append(_p99_of_an_accept(ses.url, signer, with_events=False))
            busy.append(_p99_of_an_accept(ses.url, signer, with_events=True))
    found = _million()
    cpu = statistics.median(one for one, _ in events)
    rise = statistics.median(busy) - statistics.median(quiet)
    print("What comes back: " + f"{_EVENTS} signed events, {runs} alternating runs: median\n")
    print("| | measured | promised |")
    print("|---|---|---|")
    print(f"| CPU of an event, ms | {cpu:.3f} | <= {_CPU_TARGET} |")
    print(f"| events a second, one process | {statistics.median(r for _, r in events):.0f} | |")
    print(
        f"| accept p99 without events, and with {_PER_SECOND}/s, ms "
        f"| {statistics.median(quiet):.1f}, {statistics.median(busy):.1f} (+{rise:.1f}) "
        f"| <= +{_WAIT_TARGET:g} |"
    )
    print(f"| a million suppressed: lookup p99, us | {found['p99_us']:.1f} | < 50 |")
    print(f"| its memory, MiB | {found['memory_mib']:.1f} | <= 16 |")
    print(f"| its start, s | {found['start_seconds']:.2f} | < 5 |\n")


def _post_from_standard_input(port: int) -> None:
    bodies = [line.rstrip(b"\n") for line in sys.stdin.buffer]
    asyncio.run(_post(port, bodies, _PER_SECOND))


if __name__ == "__main__":
    if re.fullmatch(r"[0-9]+", sys.argv[1]):
        _post_from_standard_input(int(sys.argv[1]))
