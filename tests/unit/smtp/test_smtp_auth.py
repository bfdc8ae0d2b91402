"""Credentials: who they prove, what is remembered, and how much may wait."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from argon2 import PasswordHasher

from relay.policy.sender import Sender
from relay.smtp import auth
from relay.smtp.auth import Verifier, VerifierBusyError, hash_password, new_token
from relay.smtp.sasl import Credentials
from tests.builders import a_ruleset, a_sender
from tests.fakes import FrozenClock

# As cheap as argon2 gets: these tests are not about its cost.
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("swordfish")
RIGHT = Credentials("billing", b"swordfish")
WRONG = Credentials("billing", b"sword")


def a_login(secret: str = HASH, login: str = "billing") -> Sender:
    return replace(a_sender(login), login=login, secret=secret)


@pytest.fixture(name="clock")
def _clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture(name="verifier")
async def _verifier(clock: FrozenClock) -> AsyncIterator[Verifier]:
    verifier = Verifier(clock)
    yield verifier
    verifier.close()


@pytest.fixture(name="checked")
def _checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the verifiers that were really checked by hashing."""
    checked: list[str] = []
    matches = auth._matches

    def watch(secret: str, password: bytes) -> bool:
        checked.append(secret)
        return matches(secret, password)

    monkeypatch.setattr(auth, "_matches", watch)
    return checked


async def test_a_password_proves_its_sender(verifier: Verifier) -> None:
    ruleset = a_ruleset(a_login(), a_login("$argon2id$nonsense", "other"))
    assert await verifier.verify(ruleset, RIGHT) == a_login()
    assert await verifier.verify(ruleset, WRONG) is None
    assert await verifier.verify(ruleset, Credentials("Billing", b"swordfish")) is None
    assert await verifier.verify(ruleset, Credentials(None, b"swordfish")) is None


async def test_a_token_proves_its_sender_without_a_thread(
    verifier: Verifier, checked: list[str]
) -> None:
    token, digest = new_token()
    sender = a_login(digest)
    assert (
        await verifier.verify(a_ruleset(sender), Credentials("billing", token.encode())) == sender
    )
    assert await verifier.verify(a_ruleset(sender), WRONG) is None
    assert await verifier.verify(a_ruleset(sender), Credentials("nobody", b"x")) is None
    assert not checked


@pytest.mark.P7
async def test_a_login_without_a_secret_is_never_proven(verifier: Verifier) -> None:
    ruleset = a_ruleset(a_login(""))
    for password in (b"", b"swordfish", b"\xd7" * 32):
        assert await verifier.verify(ruleset, Credentials("billing", password)) is None


@pytest.mark.P7
async def test_an_empty_login_is_nobodys(verifier: Verifier) -> None:
    # Senders known by their network have no login.
    ruleset = a_ruleset(a_sender("printers"), a_login())
    assert await verifier.verify(ruleset, Credentials("", b"")) is None


async def test_a_right_password_is_hashed_once(
    verifier: Verifier, clock: FrozenClock, checked: list[str]
) -> None:
    ruleset = a_ruleset(a_login())
    for _ in range(3):
        assert await verifier.verify(ruleset, RIGHT)
    assert len(checked) == 1
    clock.advance(timedelta(minutes=11))
    assert await verifier.verify(ruleset, RIGHT)
    assert len(checked) == 2


async def test_a_wrong_password_is_hashed_every_time(
    verifier: Verifier, checked: list[str]
) -> None:
    for _ in range(3):
        assert await verifier.verify(a_ruleset(a_login()), WRONG) is None
    assert len(checked) == 3


async def test_what_is_remembered_dies_with_its_generation(
    verifier: Verifier, checked: list[str]
) -> None:
    await verifier.verify(a_ruleset(a_login()), RIGHT)
    changed = a_ruleset(a_login(hash_password("other")), generation=2)
    assert await verifier.verify(changed, RIGHT) is None
    assert len(checked) == 2


async def test_an_unknown_login_costs_what_a_wrong_password_costs(
    verifier: Verifier, checked: list[str]
) -> None:
    assert await verifier.verify(a_ruleset(a_login()), Credentials("nobody", b"x")) is None
    (secret,) = checked
    assert secret.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


@pytest.mark.P6
async def test_only_so_many_passwords_wait(
    verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def hold(_pool: object, _call: object, *_arguments: object) -> asyncio.Future[bool]:
        return waiting

    monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", hold)
    ruleset = a_ruleset(a_login())
    checks = [asyncio.create_task(verifier.verify(ruleset, RIGHT)) for _ in range(34)]
    await asyncio.sleep(0)
    with pytest.raises(VerifierBusyError):
        await verifier.verify(ruleset, RIGHT)
    waiting.set_result(True)
    assert all(await asyncio.gather(*checks))


@pytest.mark.P6
async def test_only_so_many_are_remembered(
    verifier: Verifier, checked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "_REMEMBERED", 2)
    senders = [a_login(login=name) for name in ("a", "b", "c")]
    ruleset = a_ruleset(*senders)
    for name in ("a", "b", "c", "b", "c", "a"):
        await verifier.verify(ruleset, Credentials(name, b"swordfish"))
    assert len(checked) == 4  # a had to make room for c


async def test_a_verifier_of_no_known_kind_is_a_fault_that_does_not_show_it(
    verifier: Verifier,
) -> None:
    with pytest.raises(ValueError, match="neither an argon2id hash") as caught:
        await verifier.verify(a_ruleset(a_login("hunter2")), RIGHT)
    assert "hunter2" not in str(caught.value)


def test_passwords_are_hashed_as_owasp_asks() -> None:
    assert hash_password("x").startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_tokens_are_long_random_and_kept_as_digests() -> None:
    token, verifier = new_token()
    assert len(token) >= 32
    assert token.replace("-", "").replace("_", "").isalnum()
    assert verifier == "sha256:" + hashlib.sha256(token.encode()).hexdigest()
    assert new_token()[0] != token
