"""Policy over real sockets: rewrites, destinations, redirection, limits and quotas of a sender."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from relay.mail.feedback import Suppression, SuppressionReason
from relay.policy.patterns import AddressPatterns
from relay.policy.rewrite import Rewrite
from relay.policy.sender import Destinations, Limits, OverLimit, Rate, Sender
from relay.ports import SpoolError
from tests.builders import ARRIVED, an_address
from tests.dialogue.house import CONTENT, Caller, House, a_house, a_known_sender

SCANNER = an_address("scanner@example.com")
GONE = Suppression("jane@example.net", SuppressionReason.BOUNCE, "hard bounce", ARRIVED)
CRON = b"From: root (Cron Daemon)\r\nTo: root\r\nSubject: Cron <root@db1> backup\r\n\r\nfailed\r\n"


def a_limited_sender(**limits: Any) -> Sender:
    return replace(
        a_known_sender(),
        limits=Limits(1_000_000, over_limit=OverLimit.REFUSE, **limits),
    )


def envelope(house: House) -> tuple[str, ...]:
    mail, _ = house.spool.committed[-1]
    path = mail.envelope.reverse_path
    return (str(path), *map(str, mail.envelope.recipients))


async def test_cron_mail_goes_out_as_the_sender_the_operator_chose() -> None:
    rewrite = Rewrite(reverse_path=SCANNER, author="Cron <scanner@example.com>")
    async with (
        a_house(replace(a_known_sender(), rewrite=rewrite)) as house,
        await Caller.at(house.port) as caller,
    ):
        await caller.greet()
        for reverse_path in ("", "root", "root@localhost", "root@db_1"):
            await caller.reach_data("jane@example.net", reverse_path=reverse_path)
            assert (await caller.ask(CRON + b".")).startswith("250 ")
            assert envelope(house) == ("scanner@example.com", "jane@example.net")
            _, content = house.spool.committed[-1]
            assert content.endswith(
                b"\r\nFrom: Cron <scanner@example.com>\r\n"
                b"X-Original-From: root (Cron Daemon)\r\n"
                b"To: root\r\nSubject: Cron <root@db1> backup\r\n\r\nfailed\r\n"
            )


async def test_without_a_rewrite_cron_is_told_what_to_do() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:
        await caller.greet()
        for reverse_path in ("", "root"):
            reply = await caller.ask(f"MAIL FROM:<{reverse_path}>")
            assert reply.startswith("55")
            assert reply.endswith("in your application, or ask the operator for a rewrite")


@pytest.mark.P7
async def test_a_sender_writes_only_to_whom_it_may_and_the_rest_of_the_mail_goes() -> None:
    to = Destinations(deny=AddressPatterns(("@secret.example",)))
    async with (
        a_house(replace(a_known_sender(), to=to)) as house,
        await Caller.at(house.port) as caller,
    ):
        await caller.greet()
        await caller.ask("MAIL FROM:<billing@example.com>")
        assert (await caller.ask("RCPT TO:<jane@example.net>")).startswith("250 ")
        reply = await caller.ask("RCPT TO:<boss@SECRET.example>")
        assert reply.startswith("550 5.7.1 You may not send to this recipient")
        await caller.ask("DATA")
        assert (await caller.ask(CONTENT + b".")).startswith("250 ")
        assert envelope(house) == ("billing@example.com", "jane@example.net")


async def test_staging_mail_reaches_one_mailbox_and_nobody_else() -> None:
    sender = replace(a_known_sender(), redirect_all=an_address("staging@example.com"))
    async with a_house(sender) as house, await Caller.at(house.port) as caller:
        house.suppressions._by_address["jane@example.net"] = GONE
        await caller.greet()
        assert (await caller.send(CONTENT, "jane@example.net", "joe@example.net")).startswith("250")
        assert envelope(house) == ("billing@example.com", "staging@example.com")


async def test_above_its_rate_a_sender_is_told_when_to_come_again() -> None:
    sender = a_limited_sender(rate=Rate(1, 60.0), burst=2)
    async with a_house(sender) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        for _ in range(2):
            assert (await caller.send()).startswith("250 ")
        assert await caller.ask("MAIL FROM:<billing@example.com>") == (
            "451 4.7.1 Your limit of 1 messages per minute is exceeded; try again in 60 seconds"
        )
        house.clock.advance(timedelta(seconds=60))
        assert (await caller.send()).startswith("250 ")


async def test_a_quota_counts_recipients_that_were_accepted_and_no_others() -> None:
    sender = a_limited_sender(recipients=(Rate(3, 3600.0),))
    async with a_house(sender) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        # Refused, reset, given twice: none of it counts.
        assert (await caller.send(b"no author\r\n", "a@example.net")).startswith("550 ")
        await caller.ask("MAIL FROM:<billing@example.com>", "RCPT TO:<a@example.net>", "RSET")
        assert (await caller.send(CONTENT, "a@example.net", "a@example.net")).startswith("250 ")
        await caller.ask("MAIL FROM:<billing@example.com>")
        for name in ("b", "c"):
            assert (await caller.ask(f"RCPT TO:<{name}@example.net>")).startswith("250 ")
        assert await caller.ask("RCPT TO:<d@example.net>") == (
            "452 4.7.1 Your quota of 3 recipients per hour is used up; try again in 61 minutes"
        )
        assert (await caller.ask("DATA")).startswith("354 ")
        assert (await caller.ask(CONTENT + b".")).startswith("250 ")
        assert envelope(house) == ("billing@example.com", "b@example.net", "c@example.net")
        house.clock.advance(timedelta(minutes=61))
        assert (await caller.send(CONTENT, "d@example.net")).startswith("250 ")


async def test_two_transactions_at_once_do_not_share_the_last_of_a_quota() -> None:
    sender = a_limited_sender(recipients=(Rate(1, 3600.0),))
    async with (
        a_house(sender) as house,
        await Caller.at(house.port) as one,
        await Caller.at(house.port) as two,
    ):
        for caller in (one, two):
            await caller.greet()
            await caller.ask("MAIL FROM:<billing@example.com>")
            assert (await caller.ask("RCPT TO:<a@example.net>")).startswith("250 ")
        assert (await one.ask("DATA")).startswith("354 ")
        assert (await two.ask("DATA")).startswith("452 4.7.1 ")
        # The first did not get through after all, so the second may.
        one.say(b"no author", b".")
        assert (await one.hear()).startswith("550 ")
        await two.ask("MAIL FROM:<billing@example.com>")
        assert (await two.ask("RCPT TO:<a@example.net>")).startswith("250 ")


async def test_a_paced_sender_is_refused_nothing() -> None:
    sender = replace(
        a_known_sender(),
        limits=Limits(1_000_000, Rate(1, 60.0), recipients=(Rate(1, 3600.0),)),
    )
    async with a_house(sender) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        for _ in range(3):
            reply = await caller.send(CONTENT, "a@example.net", "b@example.net")
            assert reply.startswith("250 ")


async def test_a_sender_has_a_cap_of_its_own_on_recipients() -> None:
    sender = a_limited_sender(recipients_per_message=2)
    async with a_house(sender) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        await caller.ask("MAIL FROM:<billing@example.com>")
        for name in ("a", "b", "a"):
            assert (await caller.ask(f"RCPT TO:<{name}@example.net>")).startswith("250 ")
        assert (await caller.ask("RCPT TO:<c@example.net>")).startswith("452 4.5.3 No more than 2")


async def test_a_list_that_cannot_be_read_defers_only_whom_it_may_hold() -> None:
    async with a_house() as house, await Caller.at(house.port) as caller:

        async def find(_: object, _sender: object = None) -> Suppression | None:
            raise SpoolError("disk I/O error")

        house.suppressions.find = find  # type: ignore[assignment,method-assign]
        house.suppressions._by_address["gone@example.net"] = GONE
        await caller.greet()
        await caller.ask("MAIL FROM:<billing@example.com>")
        assert (await caller.ask("RCPT TO:<gone@example.net>")).startswith("451 4.3.0 ")
        assert (await caller.ask("RCPT TO:<jane@example.net>")).startswith("250 ")
