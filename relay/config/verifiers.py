"""What a password or token is checked against, kept so that it is never shown by accident.

Knows the two formats; does not make or check one, and never repeats the text it was given.
"""

from __future__ import annotations

import re
from typing import Final

# Patterns for editors too (relay.config.schema); see relay.config.measures.
ARGON2ID: Final = (
    r"\$argon2id\$v=19\$m=[0-9]{1,7},t=[0-9]{1,2},p=[0-9]{1,2}"
    r"\$[A-Za-z0-9+/]{11,128}\$[A-Za-z0-9+/]{16,256}"
)
TOKEN_HASH: Final = r"sha256:[0-9A-Fa-f]{64}"  # noqa: S105 - a grammar

_MEMORY: Final = re.compile(r"m=([0-9]+)")
_MEMORY_LIMIT: Final = 1024**2  # KiB


class Secret:
    """A text that is never shown; `reveal` is the one way to it."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """Return the text."""
        return self.__text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.__text == other.__text

    def __hash__(self) -> int:
        return hash(self.__text)


def argon2id(text: str) -> Secret:
    """Read the hash of a password."""
    if re.fullmatch(ARGON2ID, text) is None:
        raise ValueError("is not an argon2id hash: make one with `relay secret hash`")
    memory = _MEMORY.search(text)
    if memory and int(memory[1]) > _MEMORY_LIMIT:
        raise ValueError("would take more than 1 GiB of memory at each login; use a smaller m=")
    return Secret(text)


def token_hash(text: str) -> Secret:
    """Read the digest of a token."""
    if re.fullmatch(TOKEN_HASH, text) is None:
        raise ValueError(
            "is not 'sha256:' and 64 hexadecimal digits: make one with `relay secret token`"
        )
    return Secret(text.lower())


def verifier(text: str) -> Secret:
    """Read either of the two, as a secret file holds it."""
    if text.startswith("sha256:"):
        return token_hash(text)
    if text.startswith("$argon2id$"):
        return argon2id(text)
    raise ValueError("is neither what `relay secret hash` nor what `relay secret token` prints")
