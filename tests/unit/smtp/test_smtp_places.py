"""Places: who gets one, who has had enough, and how many there are at all."""

from __future__ import annotations

import resource
from ipaddress import ip_address

import pytest

from relay.smtp.places import Capacity, Places, network_of, raise_capacity

ONE = ip_address("192.0.2.1")
TWO = ip_address("192.0.2.2")


def many(places: Places, host: str) -> int:
    """Take places until there is none; return how many there were."""
    count = 0
    while places.take(ip_address(host)):
        count += 1
    return count


@pytest.mark.P6
def test_one_network_has_a_quarter_and_leaves_the_rest_to_others() -> None:
    places = Places(1000, Capacity(10_000))
    assert many(places, "192.0.2.1") == 250
    assert many(places, "192.0.2.2") == 250
    # An IPv6 client has as many addresses as it likes, in one /64.
    assert sum(many(places, f"2001:db8::{number}") for number in range(10)) == 250
    assert many(places, "2001:db8:0:1::1") == 250
    assert not places.take(ip_address("198.51.100.1"))


def test_a_small_listener_is_not_cut_into_smaller_pieces() -> None:
    assert many(Places(50, Capacity(10_000)), "192.0.2.1") == 20
    assert many(Places(10, Capacity(10_000)), "192.0.2.1") == 10


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1"])
def test_this_host_may_have_all(host: str) -> None:
    assert many(Places(100, Capacity(10_000)), host) == 100


@pytest.mark.P6
def test_listeners_share_what_the_process_can_hold() -> None:
    capacity = Capacity(30)
    one, two = Places(100, capacity), Places(100, capacity)
    assert many(one, "127.0.0.1") == 30
    assert not two.take(ONE)
    one.give_back(ip_address("127.0.0.1"))
    assert two.take(ONE)


def test_what_is_given_back_can_be_taken_again() -> None:
    places = Places(20, Capacity(100))
    for _ in range(3):
        taken = [host for host in (ONE, TWO) for _ in range(10) if places.take(host)]
        assert len(taken) == 20
        for host in taken:
            places.give_back(host)
    assert not places._taken


def test_a_network_is_an_address_or_a_64() -> None:
    assert network_of(ONE) == ONE
    assert network_of(ip_address("2001:db8:1:2:3:4:5:6")) == ip_address("2001:db8:1:2::")


@pytest.mark.P6
@pytest.mark.parametrize(
    ("soft", "hard", "granted", "limit"),
    [
        (1024, 4096, True, 3840),
        (1024, 4096, False, 768),
        (4096, 4096, True, 3840),
        (100, 100, True, 1),
        (1024, resource.RLIM_INFINITY, True, 2**31),
    ],
)
def test_connections_leave_descriptors_for_everything_else(
    soft: int, hard: int, granted: bool, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def grant(_kind: int, limits: tuple[int, int]) -> None:
        asked.append(limits)
        if not granted:
            raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", grant)
    found = raise_capacity().limit
    assert found == limit or found > limit == 2**31
    assert asked == ([] if soft == hard else [(hard, hard)])
