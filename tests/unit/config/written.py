"""Configuration files as tests write them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from relay.config import Configuration, ConfigurationError, load_text

FILE = "relay.yaml"
PASSWORD_HASH = (
    "$argon2id$v=19$m=19456,t=2,p=1$x949squPR/Y3YDgZIIGNoA"
    "$ZpmVQYk5Br8qFVvWQHv5Q0S1h0pYlgSqPKh0pC3xLBc"
)
TOKEN_HASH = "sha256:" + "0123456789abcdef" * 4

LOGIN_ONLY = """\
hostname: relay.example.com
tls: {certificate: chain.pem, key: key.pem}
listeners:
  - {name: submission, address: "0.0.0.0:587"}
ses: {region: eu-west-1}
"""
NETWORK_ONLY = """\
hostname: relay.example.com
listeners:
  - {name: legacy, address: "10.0.0.5:25", tls: off, auth: off}
ses: {region: eu-west-1}
"""


def dedent(text: str) -> str:
    return textwrap.dedent(text).lstrip("\n")


def loaded(
    text: str,
    environ: Mapping[str, str] | None = None,
    *,
    directory: Path = Path("/etc/ses-relay"),
    generation: int = 1,
) -> Configuration:
    return load_text(
        text.encode(),
        file=FILE,
        directory=directory,
        generation=generation,
        environ=environ or {},
    )


def complaints(
    text: str | bytes,
    environ: Mapping[str, str] | None = None,
    *,
    directory: Path = Path("/etc/ses-relay"),
) -> list[str]:
    octets = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ConfigurationError) as caught:
        load_text(octets, file=FILE, directory=directory, environ=environ or {})
    # Nothing of what was read may hang on to the error, where a traceback would show it.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert str(caught.value) == "\n".join(map(str, caught.value.complaints))
    return [str(complaint).removeprefix(f"{FILE}:") for complaint in caught.value.complaints]


def warnings(text: str) -> list[str]:
    return [str(warning).removeprefix(f"{FILE}:") for warning in loaded(text).warnings]


def with_listener(text: str, more: str) -> str:
    """Return a configuration whose first listener has more keys."""
    return text.replace("}\nses:", f", {more}}}\nses:")


def with_network_sender(more: str = "") -> str:
    """Return a sound configuration whose one sender is known by its network."""
    sender = f"""\
senders:
  - name: printers
    networks: [10.20.0.0/16]
    from: [scanner@example.com]
{textwrap.indent(dedent(more), "    ")}
"""
    return NETWORK_ONLY + sender


def with_login_sender(more: str = f"token_hash: {TOKEN_HASH}") -> str:
    """Return a sound configuration whose one sender logs in."""
    sender = f"""\
senders:
  - name: billing
    login: billing
    from: [billing@example.com]
{textwrap.indent(dedent(more), "    ")}
"""
    return LOGIN_ONLY + sender
