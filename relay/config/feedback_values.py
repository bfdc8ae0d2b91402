"""The kinds of values that keys about feedback have; see relay.config.values.

Does not know which key holds which.
"""

from __future__ import annotations

import base64
import binascii
from datetime import timedelta
from typing import Annotated, Final
from urllib.parse import urlsplit

from relay.config import measures, words
from relay.config.names import SocketAddress
from relay.config.spelling import Spelling, patterned
from relay.config.verifiers import Secret

NEVER: Final = "never"
RAW_SECRET_LEAST: Final = 16

# Standard Webhooks 1.0, "Signature scheme": between 24 and 64 octets.
_KEY_OCTETS: Final = range(24, 65)


def _duration_or_never(text: str) -> timedelta | None:
    try:
        return None if text == NEVER else measures.duration(text)
    except ValueError as error:
        raise ValueError(f"{error}; or write never") from None


def callback_url(text: str) -> str:
    """Read the URL of a callback: https, or http where it stays on this machine."""
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
        fit = url.scheme in ("http", "https") and host and port != 0 and text.isprintable()
        bare = not (url.fragment or "@" in url.netloc or " " in text)
    except ValueError:
        fit = bare = False
    if not (fit and bare):
        raise ValueError(
            "is not where a callback can go: write https://host/path, without a user name"
        )
    if url.scheme == "http" and not SocketAddress(host, 0).is_loopback:
        raise ValueError("would cross the network in clear: write https")
    return text


def queue_url(text: str) -> str:
    """Read the URL of an SQS queue."""
    try:
        url = urlsplit(text)
        fit = url.scheme in ("http", "https") and url.hostname and url.path.count("/") >= 2  # noqa: PLR2004
        bare = not (url.query or url.fragment or "@" in url.netloc or " " in text)
    except ValueError:
        fit = bare = False
    if not (fit and bare):
        raise ValueError(
            "is not the URL of a queue: https://sqs.eu-west-1.amazonaws.com/123456789012/name"
        )
    if urlsplit(text).path.endswith(".fifo"):
        raise ValueError("is a FIFO queue, to which SES's topics cannot deliver")
    return text


def signature_version(text: str) -> words.SignatureVersion:
    """Read 1 or 2."""
    return measures.word(text, words.SignatureVersion)


def callback_secret(text: str) -> Secret:
    """Read the secret that signs callbacks; it holds the octets in base64."""
    _, prefix, encoded = text.rpartition("whsec_")
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if text != prefix + encoded or not prefix or len(key) not in _KEY_OCTETS:
        raise ValueError("is not a secret as `relay secret callback` prints it")
    return Secret(text)


def raw_secret(text: str) -> Secret:
    """Read the password of raw delivery."""
    if len(text) < RAW_SECRET_LEAST:
        raise ValueError(f"is too short for a password: {RAW_SECRET_LEAST} characters at least")
    return Secret(text)


DurationOrNever = Annotated[
    timedelta | None,
    patterned(
        "a duration or never",
        _duration_or_never,
        rf"never|{measures.DURATION}",
        "never, or a duration, such as 90d.",
        show=measures.show_duration,
        takes=(int, float),
        none=NEVER,
    ),
]
CallbackUrl = Annotated[
    str,
    patterned(
        "a URL", callback_url, r"https?://.+", "https://host/path, or http://127.0.0.1:port."
    ),
]
QueueUrl = Annotated[
    str,
    patterned("the URL of a queue", queue_url, r"https?://.+/.+", "The URL of a standard queue."),
]
SignatureVersion = Annotated[
    words.SignatureVersion,
    Spelling(
        "1 or 2",
        signature_version,
        {"enum": [1, 2, "1", "2"]},
        "1 (SHA-1) or 2 (SHA-256).",
        show=int,
        takes=(int, float),
    ),
]
