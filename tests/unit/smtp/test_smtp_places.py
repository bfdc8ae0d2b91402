"""Places: who gets one, who has had enough, and how many there are at all."""

from __future__ import annotations

import resource
from ipaddress import ip_address

import pytest

from relay.mail.envelope import SenderName
from relay.policy.sender import Host
from relay.smtp.places import Capacity, Place, Places, network_of, raise_capacity

ONE = ip_address("192.0.2.1")
TWO = ip_address("192.0.2.2")


def take(places: Places, host: Host) -> Place | None:
    """Take a place for a client, if it may have one."""
    place = places.take()
    if place is None or place.is_for(host):
        return place
    place.give_back()
    return None


def many(places: Places, host: str) -> int:
    """Take places until there is none; return how many there were."""
    count = 0
    while take(places, ip_address(host)):
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
    assert not places.take()


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
    place = take(one, ip_address("127.0.0.1"))
    assert place
    assert many(one, "127.0.0.1") == 29
    assert not two.take()
    place.give_back()
    assert take(two, ONE)


def test_what_is_given_back_can_be_taken_again() -> None:
    places = Places(20, Capacity(100))
    for _ in range(3):
        taken = [place for host in (ONE, TWO) for _ in range(10) if (place := take(places, host))]
        assert len(taken) == len(places) == 20
        for place in taken:
            assert place.is_of(SenderName("billing"))
            place.give_back()
            place.give_back()
        assert not places
    assert not places._networks
    assert not places._senders


def test_a_place_is_taken_before_it_is_known_for_whom() -> None:
    """Behind a proxy the header says it, and until it does the place is taken all the same."""
    places = Places(2, Capacity(100))
    first, second = places.take(), places.take()
    assert first
    assert second
    assert not places.take()
    assert first.is_for(ONE)
    first.give_back()
    second.give_back()
    assert not places
    assert not places._networks


@pytest.mark.P6
def test_one_sender_has_a_quarter_from_wherever_it_comes() -> None:
    places = Places(200, Capacity(10_000))
    hosts = [ip_address(f"192.0.2.{number % 5}") for number in range(60)]
    taken = [place for host in hosts if (place := take(places, host))]
    assert [place.is_of(SenderName("billing")) for place in taken] == [True] * 50 + [False] * 10
    assert taken[0].is_of(SenderName("billing"))  # it was counted already
    assert taken[50].is_of(SenderName("printers"))
    # Who turns out to be another sender is no longer counted as the first.
    assert taken[0].is_of(SenderName("printers"))
    assert taken[51].is_of(SenderName("billing"))
    assert not taken[52].is_of(SenderName("billing"))
    taken[1].give_back()
    assert taken[52].is_of(SenderName("billing"))


@pytest.mark.P6
def test_stress_begins_at_four_fifths_and_ends_at_three() -> None:
    places = Places(10, Capacity(10_000))
    taken, felt = [], []
    for _ in range(10):
        taken.append(places.take())
        felt.append(places.is_stressed)
    assert felt == [False] * 7 + [True] * 3
    felt.clear()
    for place in taken:
        assert place
        place.give_back()
        felt.append(places.is_stressed)
    assert felt == [True] * 4 + [False] * 6


@pytest.mark.P6
def test_the_stress_of_the_process_is_felt_by_every_listener() -> None:
    capacity = Capacity(10)
    one, two = Places(100, capacity), Places(100, capacity)
    taken = [one.take() for _ in range(8)]
    assert one.is_stressed
    assert two.is_stressed
    for place in taken[:3]:
        assert place
        place.give_back()
    assert not two.is_stressed


def test_a_network_is_an_address_or_a_64() -> None:
    assert network_of(ONE) == ONE
    assert network_of(ip_address("2001:db8:1:2:3:4:5:6")) == ip_address("2001:db8:1:2::")


@pytest.mark.P6
@pytest.mark.parametrize(
    ("soft", "hard", "granted", "limit"),
    [
        (1024, 4096, True, 1920),
        (1024, 4096, False, 384),
        (4096, 4096, True, 1920),
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
