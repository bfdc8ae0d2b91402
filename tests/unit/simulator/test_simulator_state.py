"""What the simulator remembers: subscriptions, messages, faults, and who waits for what."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from relay.simulator.address import parse_mailbox
from relay.simulator.content import Content
from relay.simulator.errors import ApiError
from relay.simulator.fault_json import fault_from, fault_to_json
from relay.simulator.faults import (
    CutAnswer,
    Delay,
    Fault,
    FaultQueue,
    Garble,
    Hang,
    LoseAnswer,
    Refuse,
    ResetUnread,
)
from relay.simulator.shelf import Message, Shelf
from relay.simulator.submission import Api
from relay.simulator.subscriptions import Subscriptions
from relay.simulator.watch import Watch

NOW = datetime(2026, 3, 2, 9, 15, 4, tzinfo=UTC)
TOPIC = "arn:aws:sns:eu-west-1:123456789012:ses-feedback"
LIFETIME = timedelta(days=2)


# Subscriptions.


def test_a_subscription_is_nobody_until_it_is_confirmed() -> None:
    subscriptions = Subscriptions()
    made = subscriptions.add(TOPIC, "http://127.0.0.1/", now=NOW, lifetime=LIFETIME)
    assert made.arn.startswith(f"{TOPIC}:")
    assert subscriptions.of_topic(TOPIC) == ()
    confirmed = subscriptions.confirm(made.token, TOPIC, now=NOW)
    assert not isinstance(confirmed, ApiError)
    assert confirmed[1] is True
    assert subscriptions.of_topic(TOPIC) == (confirmed[0],)
    assert subscriptions.of_topic(f"{TOPIC}-2") == ()


def test_confirming_twice_is_no_error_and_no_news() -> None:
    subscriptions = Subscriptions()
    made = subscriptions.add(TOPIC, "http://127.0.0.1/", now=NOW, lifetime=LIFETIME)
    subscriptions.confirm(made.token, None, now=NOW)
    again = subscriptions.confirm(made.token, None, now=NOW + 2 * LIFETIME)
    assert not isinstance(again, ApiError)
    assert again[1] is False


@pytest.mark.parametrize(
    ("token", "topic", "after", "expected"),
    [
        (None, None, LIFETIME, ("InvalidParameter", 400)),
        ("other", None, timedelta(0), ("InvalidParameter", 400)),
        (None, f"{TOPIC}-2", timedelta(0), ("NotFound", 404)),
    ],
)
def test_a_token_is_good_for_its_topic_and_its_time(
    token: str | None, topic: str | None, after: timedelta, expected: tuple[str, int]
) -> None:
    subscriptions = Subscriptions()
    made = subscriptions.add(TOPIC, "http://127.0.0.1/", now=NOW, lifetime=LIFETIME)
    found = subscriptions.confirm(token or made.token, topic, now=NOW + after)
    assert isinstance(found, ApiError)
    assert (found.code, found.status) == expected


def test_a_token_of_another_topic_is_invalid() -> None:
    subscriptions = Subscriptions()
    made = subscriptions.add(TOPIC, "http://127.0.0.1/", now=NOW, lifetime=LIFETIME)
    other = subscriptions.add(f"{TOPIC}-2", "http://127.0.0.1/", now=NOW, lifetime=LIFETIME)
    found = subscriptions.confirm(made.token, other.topic_arn, now=NOW)
    assert isinstance(found, ApiError)


def test_a_deactivated_subscription_can_be_restored_by_its_token() -> None:
    subscriptions = Subscriptions()
    made = subscriptions.add(TOPIC, "http://127.0.0.1/", now=NOW, lifetime=LIFETIME)
    subscriptions.confirm(made.token, None, now=NOW)
    assert subscriptions.deactivate(made.arn) == made
    assert subscriptions.of_topic(TOPIC) == ()
    subscriptions.confirm(made.token, None, now=NOW)
    assert len(subscriptions.of_topic(TOPIC)) == 1
    assert subscriptions.deactivate("arn:other") is None


# Messages.


def message(message_id: str, size: int = 1) -> Message:
    return Message(
        id=message_id,
        api=Api.V1,
        received_at=NOW,
        source=None,
        destinations=(),
        recipients=(),
        envelope_from=parse_mailbox("a@b.c"),
        identity="b.c",
        content=Content.read(b"x" * size),
        tags=(),
        configuration_set=None,
        tenant=None,
        access_key="AKIATEST",
        caller="caller",
        client="127.0.0.1",
    )


def test_the_newest_messages_are_kept() -> None:
    shelf = Shelf(keep_messages=2, keep_bytes=1000)
    for message_id in "abc":
        shelf.add(message(message_id))
    assert [kept.id for kept in shelf.all()] == ["b", "c"]
    assert shelf.get("a") is None
    assert shelf.get("c") is not None
    assert shelf.taken == 3


def test_messages_are_kept_within_a_size_but_for_the_newest() -> None:
    shelf = Shelf(keep_messages=10, keep_bytes=10)
    shelf.add(message("a", 6))
    shelf.add(message("b", 6))
    assert [kept.id for kept in shelf.all()] == ["b"]
    shelf.add(message("c", 4))
    assert [kept.id for kept in shelf.all()] == ["b", "c"]
    shelf.add(message("d", 100))
    assert [kept.id for kept in shelf.all()] == ["d"]
    shelf.clear()
    assert (shelf.all(), shelf.taken) == ((), 0)


# Faults.

REFUSE = Refuse("Throttling", "Maximum sending rate exceeded.")


def test_a_fault_happens_as_often_as_asked_and_in_order() -> None:
    queue = FaultQueue()
    queue.add(Fault(act=REFUSE, times=2))
    queue.add(Fault(act=LoseAnswer()))
    acts = [queue.take("SendRawEmail", []) for _ in range(4)]
    assert acts == [REFUSE, REFUSE, LoseAnswer(), None]


def test_a_fault_may_be_meant_for_an_action_or_a_recipient() -> None:
    queue = FaultQueue()
    queue.add(Fault(act=REFUSE, action="GetSendQuota"))
    queue.add(Fault(act=Hang(), recipient="Jane@example.net"))
    queue.add(Fault(act=LoseAnswer(), recipient="@example.net"))
    assert queue.take("SendRawEmail", ["joe@example.org"]) is None
    assert queue.take("SendRawEmail", ["joe@example.org", "jane@Example.net"]) == Hang()
    assert queue.take("SendRawEmail", ["jane@example.net"]) == LoseAnswer()
    assert queue.take("GetSendQuota", []) == REFUSE
    assert queue.waiting() == ()


def test_a_reset_before_the_body_is_taken_before_the_body() -> None:
    queue = FaultQueue()
    queue.add(Fault(act=REFUSE))
    queue.add(Fault(act=ResetUnread(), times=2))
    assert queue.take_unread() == ResetUnread()
    assert queue.take("SendRawEmail", []) == REFUSE
    assert queue.take("SendRawEmail", []) is None
    assert queue.waiting() == ((Fault(act=ResetUnread(), times=2), 1),)
    queue.clear()
    assert queue.take_unread() is None


def test_a_fault_that_could_never_happen_is_refused() -> None:
    with pytest.raises(ValueError, match="at least once"):
        Fault(act=REFUSE, times=0)
    with pytest.raises(ValueError, match="unread"):
        Fault(act=ResetUnread(), recipient="a@b.c")


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            {"kind": "refuse", "code": "Throttling", "text": "slow", "times": 3},
            Fault(act=Refuse("Throttling", "slow"), times=3),
        ),
        (
            {
                "kind": "refuse",
                "code": "InternalFailure",
                "text": "",
                "status": 500,
                "times": 1,
                "action": "SendRawEmail",
                "recipient": "@example.net",
            },
            Fault(
                act=Refuse("InternalFailure", "", 500),
                action="SendRawEmail",
                recipient="@example.net",
            ),
        ),
        (
            {"kind": "garble", "status": 502, "body": "x", "content_type": "text/plain"},
            Fault(act=Garble(502, "x", "text/plain")),
        ),
        ({"kind": "delay", "by": 1.5}, Fault(act=Delay(timedelta(seconds=1.5)))),
        ({"kind": "hang"}, Fault(act=Hang())),
        ({"kind": "hang", "accepted": True}, Fault(act=Hang(accepted=True))),
        ({"kind": "reset-unread"}, Fault(act=ResetUnread())),
        ({"kind": "lose-answer"}, Fault(act=LoseAnswer())),
        ({"kind": "cut-answer", "keep": 0}, Fault(act=CutAnswer(0))),
    ],
)
def test_faults_are_read_from_json_and_written_back(given: dict[str, object], fault: Fault) -> None:
    assert fault_from(given) == fault
    assert fault_from(fault_to_json(fault, fault.times)) == fault
    assert given.items() <= fault_to_json(fault, fault.times).items()


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ([], "a fault is an object"),
        ({}, "kind must be one of"),
        ({"kind": "explode"}, "kind must be one of"),
        ({"kind": 1}, "kind must be a string"),
        ({"kind": "refuse"}, "code must be a string"),
        ({"kind": "hang", "accepted": 1}, "accepted must be true or false"),
        ({"kind": "delay"}, "by must be a number of seconds"),
        ({"kind": "delay", "by": -1}, "by must be a number of seconds"),
        ({"kind": "hang", "times": True}, "times must be a whole number"),
        ({"kind": "hang", "times": 0}, "at least once"),
        ({"kind": "hang", "recipient": 5}, "recipient must be a string"),
        ({"kind": "hang", "by": 5, "at": 1}, "unknown: at, by"),
    ],
)
def test_json_that_is_no_fault_is_complained_of(given: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        fault_from(given)


# Waiting.


async def test_a_waiter_wakes_when_its_condition_holds() -> None:
    watch = Watch()
    seen: list[int] = []

    def see(number: int) -> None:
        seen.append(number)
        watch.changed()

    first = asyncio.create_task(watch.until(lambda: len(seen) >= 1))
    second = asyncio.create_task(watch.until(lambda: len(seen) >= 2))
    loop = asyncio.get_running_loop()
    loop.call_soon(see, 1)
    await first
    assert not second.done()
    loop.call_soon(see, 2)
    loop.call_soon(watch.changed)
    await second
    await watch.until(lambda: True)


async def test_a_condition_that_fails_fails_its_waiter_only() -> None:
    watch = Watch()
    seen: list[int] = []

    def see(number: int) -> None:
        seen.append(number)
        watch.changed()

    broken = asyncio.create_task(watch.until(lambda: bool(seen) and seen[7] > 0))
    sound = asyncio.create_task(watch.until(lambda: len(seen) > 0))
    asyncio.get_running_loop().call_soon(see, 1)
    with pytest.raises(IndexError):
        await broken
    await sound


async def test_a_waiter_that_gives_up_is_forgotten() -> None:
    watch = Watch()
    waiter = asyncio.create_task(watch.until(lambda: False))
    asyncio.get_running_loop().call_soon(waiter.cancel)
    with pytest.raises(asyncio.CancelledError):
        await waiter
    watch.changed()
