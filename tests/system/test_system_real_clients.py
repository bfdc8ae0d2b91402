"""Real clients hand in real mail; what SES gets is what they sent, octet for octet."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
import smtplib
import ssl
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from relay.simulator import Message, Simulator
from tests.system.conftest import StartRelay
from tests.system.house import CLI, Relay, run
from tests.tls import certificate_files

TRACE = re.compile(rb"Received: from .*?\r\n(?:[ \t].*?\r\n)*X-Relay-Id: [0-9A-Z]{20}\r\n")

TEXT = b"From: app@example.com\r\nTo: jane@example.net\r\nSubject: Hi\r\n\r\nHello,\r\nworld.\r\n"
LATIN1 = (
    b"From: J\xe4ne <app@example.com>\r\nTo: jane@example.net\r\nSubject: caf\xe9\r\n"
    b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n"
    b"\r\nGr\xfc\xdfe\r\n"
)
DOTS = (
    b"From: app@example.com\r\nSubject: dots\r\n\r\n"
    b".\r\n..\r\n...\r\n. \r\n.x\r\nx.\r\n\r\n.\r\n\r\n.end\r\n"
)


def with_attachment() -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "app@example.com", "jane@example.net", "Report"
    mail.set_content("See the table.")
    mail.add_alternative("<p>See the <b>table</b>.</p>", subtype="html")
    mail.add_attachment(bytes(range(256)) * 40, maintype="application", subtype="x-table")
    return mail.as_bytes().replace(b"\n", b"\r\n")


def five_megabytes() -> bytes:
    line = hashlib.sha256(b"line").hexdigest().encode() + b"\r\n"
    return TEXT + line * (5_000_000 // len(line))


MAILS = {
    "text": TEXT,
    "html with attachment": with_attachment(),
    "8-bit latin-1": LATIN1,
    "dot lines": DOTS,
    "5 MB": five_megabytes(),
}


def as_sent(message: Message) -> bytes:
    """Return what SES got, less the trace header the relay declares."""
    match = TRACE.match(message.raw)
    assert match is not None, message.raw[:300]
    return message.raw[match.end() :]


async def the_message(simulator: Simulator) -> Message:
    (message,) = await simulator.received(1)
    return message


async def all_arrive(simulator: Simulator, send: Callable[[bytes], Awaitable[None]]) -> None:
    """Send every mail, one after the other; SES must get each as it was sent."""
    for number, (name, mail) in enumerate(MAILS.items()):
        await send(mail)
        message = (await simulator.received(number + 1))[number]
        assert as_sent(message) == mail, name
        assert message.source == "app@example.com", name
        assert [str(one) for one in message.recipients] == ["jane@example.net"], name


def send_with_smtplib(port: int, mail: bytes, *recipients: str) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.sendmail("app@example.com", list(recipients), mail, ["BODY=8BITMIME"])


@pytest.mark.P2
async def test_smtplib(start_relay: StartRelay, simulator: Simulator) -> None:
    relay = await start_relay()

    async def send(mail: bytes) -> None:
        await asyncio.to_thread(send_with_smtplib, relay.ports["legacy"], mail, "jane@example.net")

    await all_arrive(simulator, send)


@pytest.mark.P2
async def test_swaks(
    start_relay: StartRelay, simulator: Simulator, needs: Callable[[str], str], tmp_path: Path
) -> None:
    swaks, relay, content = needs("swaks"), await start_relay(), tmp_path / "mail"

    async def send(mail: bytes) -> None:
        # swaks reads a mail as a Unix program does: it makes CRLF of the line ends, hides the dots,
        # and ends the last line itself.
        content.write_bytes(mail.removesuffix(b"\r\n").replace(b"\r\n", b"\n"))
        code, said = await run(
            *(swaks, "--server", "127.0.0.1", "--port", str(relay.ports["legacy"])),
            *("--from", "app@example.com", "--to", "jane@example.net"),
            *("--data", f"@{content}", "--suppress-data"),
        )
        assert code == 0, said[-2000:]

    await all_arrive(simulator, send)


@pytest.mark.P2
async def test_curl(
    start_relay: StartRelay, simulator: Simulator, needs: Callable[[str], str], tmp_path: Path
) -> None:
    curl, relay, content = needs("curl"), await start_relay(), tmp_path / "mail"

    async def send(mail: bytes) -> None:
        content.write_bytes(mail)
        code, said = await run(
            *(curl, "--silent", "--show-error", f"smtp://127.0.0.1:{relay.ports['legacy']}"),
            *("--mail-from", "app@example.com", "--mail-rcpt", "jane@example.net"),
            *("--upload-file", str(content)),
        )
        assert code == 0, said

    await all_arrive(simulator, send)


@pytest.mark.P2
async def test_msmtp(
    start_relay: StartRelay, simulator: Simulator, needs: Callable[[str], str], tmp_path: Path
) -> None:
    msmtp, relay, content = needs("msmtp"), await start_relay(), tmp_path / "mail"

    async def send(mail: bytes) -> None:
        # msmtp reads a mail as a Unix program does, and makes CRLF of the line ends itself.
        content.write_bytes(mail.replace(b"\r\n", b"\n"))
        words = (
            f"{msmtp} --file=/dev/null --host=127.0.0.1 --port={relay.ports['legacy']}"
            " --tls=off --auth=off --set-date-header=off --set-msgid-header=off"
            f" --from=app@example.com jane@example.net < {content}"
        )
        code, said = await run("sh", "-c", words)
        assert code == 0, said

    await all_arrive(simulator, send)


@pytest.mark.P2
async def test_blind_recipients_get_the_mail_and_the_bcc_header_is_gone(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start_relay()
    mail = (
        b"From: app@example.com\r\nTo: jane@example.net\r\nBcc: boss@example.net,\r\n"
        b" spy@example.net\r\nX-SES-CONFIGURATION-SET: other\r\nSubject: Hi\r\n\r\nHi\r\n"
    )
    everyone = ["spy@example.net", "jane@example.net", "boss@example.net"]
    await asyncio.to_thread(send_with_smtplib, relay.ports["legacy"], mail, *everyone)
    message = await the_message(simulator)
    assert [str(one) for one in message.recipients] == everyone
    assert as_sent(message) == (
        b"From: app@example.com\r\nTo: jane@example.net\r\nSubject: Hi\r\n\r\nHi\r\n"
    )
    assert b"spy" not in message.raw
    assert message.configuration_set == "default"


SUBMISSION = """\
  - {name: submission, address: "127.0.0.1:0", tls: starttls-required, auth: required}
  - {name: smtps, address: "127.0.0.1:0", tls: implicit, auth: required}
"""
# `relay secret hash` of "correct horse"; cheap to check, for tests.
SENDERS = """\
  - name: billing
    login: billing
    secret_hash: "{secret}"
    from: [billing@example.com]
"""


@pytest.fixture(scope="module")
def secret() -> str:
    words = [*CLI, "secret", "hash"]
    hashing = subprocess.run(words, input=b"correct horse", capture_output=True, check=True)
    return hashing.stdout.decode().split('"')[1]


@pytest.fixture
async def submission(start_relay: StartRelay, tmp_path: Path, secret: str) -> Relay:
    certificate, key = certificate_files(tmp_path)
    return await start_relay(
        listeners=SUBMISSION,
        tls=f"tls: {{certificate: {certificate}, key: {key}}}",
        senders=SENDERS.format(secret=secret),
    )


BILLING = b"From: billing@example.com\r\nSubject: Invoice\r\n\r\nPay.\r\n"


@pytest.mark.P7
async def test_swaks_authenticates_over_tls(
    submission: Relay, simulator: Simulator, needs: Callable[[str], str]
) -> None:
    swaks, listeners = needs("swaks"), (("submission", "--tls"), ("smtps", "--tls-on-connect"))
    ways = itertools.product(listeners, ("PLAIN", "LOGIN"))
    for number, ((listener, tls), mechanism) in enumerate(ways):
        way = f"{mechanism} on {listener}"
        words = (
            *(swaks, "--server", "127.0.0.1", "--port", str(submission.ports[listener]), tls),
            *("--from", "billing@example.com", "--to", "jane@example.net"),
            *("--h-From", "billing@example.com", "--body", "Pay."),
            *("--auth", mechanism, "--auth-user", "billing"),
        )
        code, said = await run(*words, "--auth-password", "wrong horse")
        assert code != 0, way
        assert "535 5.7.8" in said, way
        assert simulator.taken == number, way
        code, said = await run(*words, "--auth-password", "correct horse")
        assert code == 0, f"{way}: {said[-2000:]}"
        message = (await simulator.received(number + 1))[number]
        assert message.source == "billing@example.com", way
        assert b"with ESMTPSA" in message.raw, way


async def test_smtplib_authenticates_over_starttls(submission: Relay, simulator: Simulator) -> None:
    def send() -> None:
        context = ssl.create_default_context(cafile=submission.config.parent / "certificate.pem")
        with smtplib.SMTP("127.0.0.1", submission.ports["submission"]) as client:
            client.starttls(context=context)
            client.login("billing", "correct horse")
            client.sendmail("billing@example.com", ["jane@example.net"], BILLING)

    await asyncio.to_thread(send)
    assert as_sent(await the_message(simulator)) == BILLING


async def test_curl_authenticates_over_implicit_tls(
    submission: Relay, simulator: Simulator, needs: Callable[[str], str], tmp_path: Path
) -> None:
    content = tmp_path / "mail"
    content.write_bytes(BILLING)
    code, said = await run(
        needs("curl"),
        *("--silent", "--show-error", f"smtps://127.0.0.1:{submission.ports['smtps']}"),
        *("--cacert", str(tmp_path / "certificate.pem"), "--user", "billing:correct horse"),
        *("--mail-from", "billing@example.com", "--mail-rcpt", "jane@example.net"),
        *("--upload-file", str(content)),
    )
    assert code == 0, said
    assert as_sent(await the_message(simulator)) == BILLING


def secrets_in(lines: Iterator[str]) -> list[str]:
    return [line for line in lines if "horse" in line or "argon2" in line]


async def test_no_password_ever_reaches_the_log(submission: Relay) -> None:
    def log_in(password: str) -> None:
        context = ssl.create_default_context(cafile=submission.config.parent / "certificate.pem")
        with smtplib.SMTP("127.0.0.1", submission.ports["submission"]) as client:
            client.starttls(context=context)
            client.login("billing", password)

    await asyncio.to_thread(log_in, "correct horse")
    with pytest.raises(smtplib.SMTPAuthenticationError):
        await asyncio.to_thread(log_in, "wrong horse")
    await submission.logged("auth.succeeded", mechanism="plain")
    await submission.logged("auth.failed", reason="credentials")
    assert secrets_in(str(line) for line in submission.lines) == []
