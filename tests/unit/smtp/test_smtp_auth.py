"""Credentials: who they prove, what is remembered, and how much may wait."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

import pytest
from argon2 import PasswordHasher

from relay.policy.sender import Sender
from relay.smtp import auth
from relay.smtp.auth import Verifier, hash_password, new_token
from relay.smtp.sasl import Credentials
from relay.smtp.throttle import VerifierBusyError
from tests.builders import a_ruleset, a_sender
from tests.fakes import FrozenClock

# As cheap as argon2 gets: these tests are not about its cost.
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("swordfish")
RIGHT = Credentials("billing", b"swordfish")
WRONG = Credentials("billing", b"sword")
HERE = ip_address("192.0.2.1")
THERE = ip_address("192.0.2.2")


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
    assert await verifier.verify(ruleset, RIGHT, HERE) == a_login()
    assert await verifier.verify(ruleset, WRONG, HERE) is None
    assert await verifier.verify(ruleset, Credentials("Billing", b"swordfish"), HERE) is None
    assert await verifier.verify(ruleset, Credentials(None, b"swordfish"), HERE) is None


async def test_a_token_proves_its_sender_without_a_thread(
    verifier: Verifier, checked: list[str]
) -> None:
    token, digest = new_token()
    sender = a_login(digest)
    assert (
        await verifier.verify(a_ruleset(sender), Credentials("billing", token.encode()), HERE)
        == sender
    )
    assert await verifier.verify(a_ruleset(sender), WRONG, HERE) is None
    assert await verifier.verify(a_ruleset(sender), Credentials("nobody", b"x"), HERE) is None
    assert not checked


@pytest.mark.P7
async def test_a_login_without_a_secret_is_never_proven(verifier: Verifier) -> None:
    ruleset = a_ruleset(a_login(""))
    for password in (b"", b"swordfish", b"\xd7" * 32):
        assert await verifier.verify(ruleset, Credentials("billing", password), HERE) is None


@pytest.mark.P7
async def test_an_empty_login_is_nobodys(verifier: Verifier) -> None:
    # Senders known by their network have no login.
    ruleset = a_ruleset(a_sender("printers"), a_login())
    assert await verifier.verify(ruleset, Credentials("", b""), HERE) is None


async def test_a_right_password_is_hashed_once(
    verifier: Verifier, clock: FrozenClock, checked: list[str]
) -> None:
    ruleset = a_ruleset(a_login())
    for _ in range(3):
        assert await verifier.verify(ruleset, RIGHT, HERE)
    assert len(checked) == 1
    # Each use counts anew: who is at work is not asked again.
    for _ in range(3):
        clock.advance(timedelta(minutes=59))
        assert await verifier.verify(ruleset, RIGHT, HERE)
    assert len(checked) == 1
    clock.advance(timedelta(minutes=61))
    assert await verifier.verify(ruleset, RIGHT, HERE)
    assert len(checked) == 2


async def test_a_wrong_password_is_hashed_every_time(
    verifier: Verifier, checked: list[str]
) -> None:
    for _ in range(3):
        assert await verifier.verify(a_ruleset(a_login()), WRONG, HERE) is None
    assert len(checked) == 3


async def test_what_is_remembered_dies_with_its_generation(
    verifier: Verifier, checked: list[str]
) -> None:
    await verifier.verify(a_ruleset(a_login()), RIGHT, HERE)
    changed = a_ruleset(a_login(hash_password("other")), generation=2)
    assert await verifier.verify(changed, RIGHT, HERE) is None
    assert len(checked) == 2


async def test_an_unknown_login_costs_what_a_wrong_password_costs(
    verifier: Verifier, checked: list[str]
) -> None:
    assert await verifier.verify(a_ruleset(a_login()), Credentials("nobody", b"x"), HERE) is None
    (secret,) = checked
    assert secret.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


class Held:
    """Checks that wait until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self.answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", self._hold)

    def _hold(self, _pool: object, _call: object, *_: object) -> asyncio.Future[bool]:
        self.begun += 1
        return self.answer


@pytest.fixture(name="held")
async def _held(monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(monkeypatch)


@pytest.mark.P6
async def test_only_so_many_passwords_wait(verifier: Verifier, held: Held) -> None:
    ruleset = a_ruleset(a_login())
    networks = [ip_address(f"192.0.2.{number}") for number in range(17)]
    checks = [
        asyncio.create_task(verifier.verify(ruleset, RIGHT, network))
        for network in networks
        for _ in range(2)
    ]
    await asyncio.sleep(0)
    with pytest.raises(VerifierBusyError):
        await verifier.verify(ruleset, RIGHT, ip_address("198.51.100.1"))
    held.answer.set_result(True)
    assert all(await asyncio.gather(*checks))


@pytest.mark.P6
async def test_a_network_has_two_passwords_checked_at_once_and_others_go_ahead(
    verifier: Verifier, held: Held
) -> None:
    ruleset = a_ruleset(a_login())
    checks = []
    for network in ("2001:db8::", "2001:db8:0:1::"):
        for host in range(5):
            peer = ip_address(f"{network}{host}")
            wrong = Credentials("billing", b"%d" % host)
            checks.append(asyncio.create_task(verifier.verify(ruleset, wrong, peer)))
    await asyncio.sleep(0)
    assert held.begun == 4
    held.answer.set_result(False)
    assert await asyncio.gather(*checks) == [None] * 10
    assert held.begun == 10


@pytest.mark.P6
async def test_many_connections_with_one_password_have_it_checked_once_or_twice(
    verifier: Verifier, checked: list[str]
) -> None:
    """As when an application opens its pool after a restart: none is told to come back."""
    ruleset = a_ruleset(a_login())
    checks = [verifier.verify(ruleset, RIGHT, HERE) for _ in range(34)]
    assert all(await asyncio.gather(*checks))
    assert len(checked) <= 2


@pytest.mark.P6
async def test_a_network_that_is_wrong_too_often_is_not_listened_to(
    verifier: Verifier, clock: FrozenClock, checked: list[str]
) -> None:
    ruleset = a_ruleset(a_login(), a_login(login="other"))
    other = Credentials("other", b"swordfish")
    for number in range(50):
        wrong = Credentials(f"guess{number}", b"x")
        assert await verifier.verify(ruleset, wrong, HERE) is None
    begun = len(checked)
    for credentials in (RIGHT, WRONG, Credentials("guess", b"x"), Credentials(None, b"x")):
        with pytest.raises(VerifierBusyError):
            await verifier.verify(ruleset, credentials, HERE)
    assert len(checked) == begun
    # Others never notice, and the network is heard again.
    assert await verifier.verify(ruleset, other, THERE)
    clock.advance(timedelta(seconds=12))
    assert await verifier.verify(ruleset, RIGHT, HERE)


@pytest.mark.P6
async def test_one_wrong_login_leaves_its_network_to_the_others(verifier: Verifier) -> None:
    ruleset = a_ruleset(a_login(), a_login(login="other"))
    for _ in range(10):
        assert await verifier.verify(ruleset, WRONG, HERE) is None
    for _ in range(100):
        with pytest.raises(VerifierBusyError):
            await verifier.verify(ruleset, RIGHT, HERE)
    assert await verifier.verify(ruleset, Credentials("other", b"swordfish"), HERE)
    assert await verifier.verify(ruleset, RIGHT, THERE)


@pytest.mark.P6
async def test_who_was_right_is_never_throttled(
    verifier: Verifier, clock: FrozenClock, checked: list[str]
) -> None:
    token, digest = new_token()
    ruleset = a_ruleset(a_login(), a_login(digest, "app"))
    assert await verifier.verify(ruleset, RIGHT, HERE)
    for number in range(50):
        await verifier.verify(ruleset, Credentials(f"guess{number}", b"x"), HERE)
    begun = len(checked)
    for _ in range(20):
        assert await verifier.verify(ruleset, RIGHT, HERE)
        # A token cannot be guessed, so there is nothing to slow down.
        assert await verifier.verify(ruleset, Credentials("app", token.encode()), HERE)
        clock.advance(timedelta(milliseconds=1))
    assert len(checked) == begun


async def test_a_wrong_token_costs_what_an_unknown_login_costs(
    verifier: Verifier, checked: list[str]
) -> None:
    ruleset = a_ruleset(a_login(), a_login(new_token()[1], "app"))
    assert await verifier.verify(ruleset, Credentials("app", b"x"), HERE) is None
    assert await verifier.verify(ruleset, Credentials("nobody", b"x"), HERE) is None
    assert len(checked) == 2
    assert len(set(checked)) == 1


@pytest.mark.P6
async def test_only_so_many_are_remembered(
    verifier: Verifier, checked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "_REMEMBERED", 2)
    senders = [a_login(login=name) for name in ("a", "b", "c")]
    ruleset = a_ruleset(*senders)
    for name in ("a", "b", "c", "b", "c", "a"):
        await verifier.verify(ruleset, Credentials(name, b"swordfish"), HERE)
    assert len(checked) == 4  # a had to make room for c


async def test_a_verifier_of_no_known_kind_is_a_fault_that_does_not_show_it(
    verifier: Verifier,
) -> None:
    with pytest.raises(ValueError, match="neither an argon2id hash") as caught:
        await verifier.verify(a_ruleset(a_login("hunter2")), RIGHT, HERE)
    assert "hunter2" not in str(caught.value)


def test_passwords_are_hashed_as_owasp_asks() -> None:
    assert hash_password("x").startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_tokens_are_long_random_and_kept_as_digests() -> None:
    token, verifier = new_token()
    assert len(token) >= 32
    assert token.replace("-", "").replace("_", "").isalnum()
    assert verifier == "sha256:" + hashlib.sha256(token.encode()).hexdigest()
    assert new_token()[0] != token
