"""Whether a login and a password, or a token, belong to a configured sender.

Passwords are argon2id hashes, slow on purpose, so they are checked in two threads behind a bounded
queue and remembered once they were right. Tokens carry so much entropy that a plain SHA-256 is as
good and costs microseconds. What is remembered, or a token, is never throttled. Does not know the
AUTH dialogue.
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
from relay.policy.sender import Host, Sender
from relay.ports import Clock
from relay.smtp.places import network_of
from relay.smtp.sasl import Credentials
from relay.smtp.throttle import Throttle, Turns, VerifierBusyError

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
# Since it was last used: who sends at least once an hour is never asked to wait.
_REMEMBERED_FOR: Final = 3600.0


def hash_password(password: str) -> str:
    """Return the verifier of a password, for a sender's `secret_hash`."""
    return _HASHER.hash(password)


def new_token() -> tuple[str, str]:
    """Return a token of 256 random bits, and its verifier for a sender's `token_hash`."""
    token = secrets.token_urlsafe(_TOKEN_OCTETS)
    return token, _DIGEST_PREFIX + hashlib.sha256(token.encode("ascii")).hexdigest()


class Verifier:
    """Checks credentials. One serves all sessions.

    A login nobody has, and a wrong token, take the way of a wrong password: through the throttle
    and, where any sender has a password, a thread. So neither time nor reply tells them apart.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="relay-auth")
        self._in_hand = 0
        self._right = _Remembered()
        self._throttle = Throttle()
        self._turns = Turns()

    async def verify(self, ruleset: Ruleset, credentials: Credentials, host: Host) -> Sender | None:
        """Return the sender these credentials prove, or None; raise VerifierBusyError.

        `host` is the client: its network answers for what is wrong.
        """
        login, password = credentials.login or "", credentials.password
        sender = ruleset.senders.with_login(login) if login else None
        secret = sender.secret if sender else ""
        has_token = secret.startswith(_DIGEST_PREFIX)
        is_token = _is_token(secret if has_token else _NOBODYS_DIGEST, password)
        if has_token and is_token:
            return sender
        key = self._right.key_of(ruleset.generation, login, secret, password)
        if self._right.holds(key, self._clock.monotonic()):
            return sender
        if has_token or not secret:
            sender, secret = None, _nobodys_hash(ruleset)
        network = network_of(host)
        async with self._turns.turn(network):
            # Who waited behind its like need not be checked again.
            if self._right.holds(key, self._clock.monotonic()):
                return sender
            if not self._throttle.admits(login, network, self._clock.monotonic()):
                raise VerifierBusyError
            if secret and await self._matches(secret, password):
                self._right.add(key, self._clock.monotonic())
                return sender
            self._throttle.failed(login, network, self._clock.monotonic())
        return None

    def close(self) -> None:
        """End the threads. Checks not yet begun are cancelled."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _matches(self, secret: str, password: bytes) -> bool:
        if self._in_hand >= _THREADS + _WAITING:
            raise VerifierBusyError
        self._in_hand += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, _matches, secret, password)
        finally:
            self._in_hand -= 1


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
        """Whether these were right, which is remembered anew."""
        until = self._until.get(key)
        if until is None:
            return False
        if until <= now:
            del self._until[key]
            return False
        self.add(key, now)
        return True

    def add(self, key: bytes, now: float) -> None:
        self._until[key] = now + _REMEMBERED_FOR
        self._until.move_to_end(key)
        if len(self._until) > _REMEMBERED:
            self._until.popitem(last=False)


def _is_token(digest: str, token: bytes) -> bool:
    found = _DIGEST_PREFIX + hashlib.sha256(token).hexdigest()
    return hmac.compare_digest(found.encode("ascii"), digest.lower().encode("ascii"))


def _nobodys_hash(ruleset: Ruleset) -> str:
    """Return a hash nobody matches, or nothing where no sender has a password."""
    has_passwords = any(sender.secret.startswith("$") for sender in ruleset.senders.values())
    return _NOBODYS_HASH if has_passwords else ""


def _matches(secret: str, password: bytes) -> bool:
    try:
        return _HASHER.verify(secret, password)
    except InvalidHashError:
        # Configuration lets none through. Said without the verifier, for it goes into a traceback.
        raise ValueError("a sender's secret is neither an argon2id hash nor a token hash") from None
    except VerificationError:
        return False
