"""The mail that both ways to SES are measured with: text, and an attachment in base64."""

from __future__ import annotations

from binascii import b2a_base64
from random import Random


def sample(size: int) -> bytes:
    """Return a mail of so many octets; the same every time."""
    header = (
        b"From: bench@example.com\r\nTo: someone@example.net\r\nSubject: bench\r\n"
        b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
    random = Random(1)  # noqa: S311 - it has to be the same, not secret
    lines = (b2a_base64(random.randbytes(57), newline=False) + b"\r\n" for _ in range(size // 78))
    return (header + b"".join(lines) + b"x" * size)[:size]
