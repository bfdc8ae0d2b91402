"""Whether a login and a password, or a token, belong to a configured sender.

Passwords are argon2id hashes, slow on purpose, so they are checked in two threads behind a bounded
queue and remembered once they were right. Tokens carry so much entropy that a plain SHA-256 is as
good and costs microseconds. Does not know the AUTH dialogue.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from relay.policy.ruleset import Ruleset
from relay.policy.sender import Sender
from relay.ports import Clock
from relay.smtp.sasl import Credentials

# OWASP Password Storage Cheat Sheet: argon2id with 19 MiB, two passes, one lane.
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)

_DIGEST_PREFIX: Final = "sha256:"
_TOKEN_OCTETS: Final = 32

# The hash and the digest of random octets nobody kept.
_NOBODYS_HASH: Final = (
    "$argon2id$v=19$m=19456,t=2,p=1$x949squPR/Y3YDgZIIGNoA"
    "$08ynZznTgFZCylacZAGcUqkFjcDTH49tBpf8JNcIzME"
)
_NOBODYS_DIGEST: Final = _DIGEST_PREFIX + "d7" * 32

_THREADS: Final = 2
_WAITING: Final = 32
_REMEMBERED: Final = 4096
_REMEMBERED_FOR: Final = 600.0


def hash_password(password: str) -> str:
    """Return the verifier of a password, for a sender's `secret_hash`."""
    return _HASHER.hash(password)


def new_token() -> tuple[str, str]:
    """Return a token of 256 random bits, and its verifier for a sender's `token_hash`."""
    token = secrets.token_urlsafe(_TOKEN_OCTETS)
    return token, _DIGEST_PREFIX + hashlib.sha256(token.encode("ascii")).hexdigest()


class VerifierBusyError(Exception):
    """More passwords are waiting to be checked than may wait."""


class Verifier:
    """Checks credentials. One serves all sessions.

    A login nobody has is checked against a verifier nobody knows, so that it takes as long as a
    wrong password does.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="relay-auth")
        self._in_hand = 0
        self._right = _Remembered()

    async def verify(self, ruleset: Ruleset, credentials: Credentials) -> Sender | None:
        """Return the sender these credentials prove, or None; raise VerifierBusyError."""
        login, password = credentials.login, credentials.password
        sender = ruleset.senders.with_login(login) if login else None
        secret = sender.secret if sender and sender.secret else _nobodys(ruleset)
        if secret.startswith(_DIGEST_PREFIX):
            digest = _DIGEST_PREFIX + hashlib.sha256(password).hexdigest()
            is_right = hmac.compare_digest(digest.encode("ascii"), secret.lower().encode("ascii"))
        else:
            is_right = await self._verify_hash(ruleset, login or "", secret, password)
        return sender if is_right else None

    def close(self) -> None:
        """End the threads. Checks not yet begun are cancelled."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _verify_hash(
        self, ruleset: Ruleset, login: str, secret: str, password: bytes
    ) -> bool:
        key = self._right.key_of(ruleset.generation, login, secret, password)
        if self._right.holds(key, self._clock.monotonic()):
            return True
        if self._in_hand >= _THREADS + _WAITING:
            raise VerifierBusyError
        self._in_hand += 1
        try:
            loop = asyncio.get_running_loop()
            is_right = await loop.run_in_executor(self._pool, _matches, secret, password)
        finally:
            self._in_hand -= 1
        if is_right:
            self._right.add(key, self._clock.monotonic())
        return is_right


class _Remembered:
    """Credentials that were right not long ago, in a form that is useless outside this process."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def key_of(self, generation: int, login: str, secret: str, password: bytes) -> bytes:
        """Return the name of one credential under one ruleset: after a reload it has another."""
        digest = hashlib.blake2b(key=self._secret, digest_size=32)
        for part in (str(generation).encode(), login.encode(), secret.encode(), password):
            # Each with its length, so that no two credentials run together into the same octets.
            digest.update(len(part).to_bytes(4, "big"))
            digest.update(part)
        return digest.digest()

    def holds(self, key: bytes, now: float) -> bool:
        until = self._until.get(key)
        if until is None:
            return False
        if until <= now:
            del self._until[key]
            return False
        self._until.move_to_end(key)
        return True

    def add(self, key: bytes, now: float) -> None:
        self._until[key] = now + _REMEMBERED_FOR
        if len(self._until) > _REMEMBERED:
            self._until.popitem(last=False)


def _nobodys(ruleset: Ruleset) -> str:
    """Return a verifier of the kind that takes longest among the configured ones."""
    hashed = any(sender.secret.startswith("$") for sender in ruleset.senders.values())
    return _NOBODYS_HASH if hashed else _NOBODYS_DIGEST


def _matches(secret: str, password: bytes) -> bool:
    try:
        return _HASHER.verify(secret, password)
    except InvalidHashError:
        # Configuration lets none through. Said without the verifier, for it goes into a traceback.
        raise ValueError("a sender's secret is neither an argon2id hash nor a token hash") from None
    except VerificationError:
        return False
