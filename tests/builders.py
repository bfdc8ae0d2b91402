"""Values for tests, with everything a test does not care about filled in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from relay.mail.address import Address
from relay.mail.envelope import AccountName, Envelope, Mail, QueueId, SenderName
from relay.policy.patterns import AddressPatterns
from relay.policy.retry import RetrySchedule
from relay.policy.ruleset import Ruleset
from relay.policy.sender import (
    Limits,
    OnSuppressed,
    OverLimit,
    Priority,
    Rate,
    Route,
    Sender,
    Senders,
)

ARRIVED = datetime(2026, 3, 1, 12, tzinfo=UTC)


def an_address(text: str = "jane@example.net") -> Address:
    return Address.parse(text)


def addresses(count: int) -> tuple[Address, ...]:
    return tuple(Address(f"user{n}", "example.net") for n in range(count))


def a_mail(
    *recipients: str | Address,
    sender: str = "billing",
    queue_id: str = "06H04YCY58GVCD1MB7KG",
    size: int = 100,
) -> Mail:
    found = tuple(r if isinstance(r, Address) else Address.parse(r) for r in recipients)
    envelope = Envelope(Address.parse("billing@example.com"), found or (an_address(),))
    return Mail(QueueId(queue_id), SenderName(sender), envelope, ARRIVED, size)


def a_sender(
    name: str = "billing",
    *,
    account: str = "main",
    rate: Rate | None = None,
    burst: int = 1,
    over_limit: OverLimit = OverLimit.PACE,
    priority: Priority = Priority.TRANSACTIONAL,
    on_suppressed: OnSuppressed = OnSuppressed.REJECT,
) -> Sender:
    return Sender(
        name=SenderName(name),
        allowed_from=AddressPatterns(("@example.com",)),
        limits=Limits(10 * 1024 * 1024, rate, burst, over_limit),
        route=Route(AccountName(account)),
        priority=priority,
        on_suppressed=on_suppressed,
    )


def a_ruleset(*senders: Sender, generation: int = 1) -> Ruleset:
    schedule = RetrySchedule(timedelta(seconds=30), timedelta(hours=1), timedelta(days=4))
    return Ruleset(generation, "relay.test", Senders(senders or (a_sender(),)), schedule)
