"""The relay as every kind of client finds it, and what SES must have got of what they sent.

One listener for each way to begin a session, one sender with a password. Knows no client.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from relay.simulator import Message
from tests.system.house import Relay
from tests.tls import certificate_files

LOGIN = "billing"
# With what shells, configuration files and URLs trip over; but for the blank, which a Postfix
# password table cannot have, and for what is not ASCII, which smtplib cannot say.
PASSWORD = "c0rrect:horse=%'"
TRACE = re.compile(rb"(?:Received: from .*?\r\n(?:[ \t].*?\r\n)*)?X-Relay-Id: [0-9A-Z]{20}\r\n")

LISTENERS = """\
  - {name: submission, address: "127.0.0.1:0", tls: starttls-required, auth: required}
  - {name: smtps, address: "127.0.0.1:0", tls: implicit, auth: required}
  - {name: either, address: "127.0.0.1:0", tls: starttls, auth: optional,
     auth_without_tls: loopback}
"""
SENDERS = """\
  - name: billing
    login: billing
    token_hash: "sha256:{digest}"
    from: [billing@example.com]
"""

MAIL = (
    b"From: Billing <billing@example.com>\r\nTo: jane@example.net\r\nSubject: caf\xe9\r\n"
    b"Message-ID: <1@billing.example.com>\r\nDate: Sun, 1 Mar 2026 12:00:00 +0000\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n"
    b"\r\n.\r\n..\r\nGr\xfc\xdfe\r\n. \r\n.x\r\n\r\n" + b"x" * 900 + b"\r\n.end\r\n"
)
"""What tells clients, and relays, apart: dots, 8-bit octets, a long line, an empty one."""


def configured(directory: Path, *, proxied: bool = False) -> dict[str, str]:
    """Return the parts of a configuration with all the listeners, for `start_relay`."""
    certificate, key = certificate_files(directory)
    listeners = LISTENERS
    if proxied:
        listeners += (
            '  - {name: proxied, address: "127.0.0.1:0", tls: off, auth: off,\n'
            "     proxy_protocol: {trusted: [127.0.0.1/32]}}\n"
        )
    return {
        "listeners": listeners,
        "tls": f"tls: {{certificate: {certificate}, key: {key}}}",
        "senders": SENDERS.format(digest=hashlib.sha256(PASSWORD.encode()).hexdigest()),
    }


def certificate(relay: Relay) -> str:
    """Return the file with the certificate its clients are to trust."""
    return str(relay.config.parent / "certificate.pem")


def unix(mail: bytes) -> bytes:
    """Return a mail as Unix programs are given it: they make CRLF of the line ends."""
    return mail.replace(b"\r\n", b"\n")


def as_sent(message: Message) -> bytes:
    """Return what SES got, less the trace header the relay declares."""
    match = TRACE.match(message.raw)
    assert match is not None, f"no trace header: {message.raw[:300]!r}"
    return message.raw[match.end() :]


def addressed(message: Message) -> tuple[str | None, list[str]]:
    """Return the envelope SES got."""
    return message.source, [str(one) for one in message.recipients]


def protocol(message: Message) -> bytes:
    """Return the protocol by which our Received field says the mail came (RFC 3848)."""
    match = re.search(rb"\r\n\tby relay\.test with (\S+) id ", message.raw)
    assert match is not None, f"no protocol in {message.raw[:300]!r}"
    return match[1]
