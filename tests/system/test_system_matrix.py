"""Whatever SES says, end to end: the right answer, log line and count; nothing twice, nothing lost.

One daemon, and one mail to an address of its own for each row of the verdict table (SES API
Reference, SendRawEmail, SendEmail and Common Errors).
"""

from __future__ import annotations

import asyncio
import re
import signal
import smtplib
from collections import Counter
from itertools import zip_longest
from typing import NamedTuple

import aiohttp
import pytest

from relay.simulator import CutAnswer, Garble, Hang, LoseAnswer, Refuse, Simulator
from relay.simulator.faults import Act
from tests.system.conftest import StartRelay
from tests.system.house import Relay

MAIL = b"From: app@example.com\r\nSubject: Hi\r\n\r\nHi\r\n"
RATE_TEXT = "Maximum sending rate exceeded."
NOT_VERIFIED = (
    "Email address is not verified. The following identities failed the check in region "
    "EU-WEST-1: app@example.com"
)


class Row(NamedTuple):
    """What SES does, and what comes of it; `level` is that of the line about deferred mail."""

    act: Act
    reason: str
    reply: str
    level: str = "info"


def an(code: str, text: str = "no", status: int = 400) -> Refuse:
    return Refuse(code, text, status)


# What is about the account or the way to it. Three of them in a row would open the breaker.
TROUBLE = (
    Row(an("AccountSendingPausedException"), "paused", "451 4.3.2", "warning"),
    Row(an("SendingPausedException"), "paused", "451 4.3.2", "warning"),
    Row(an("AccountSuspendedException"), "paused", "451 4.3.2", "warning"),
    Row(an("MessageRejected", "Sending paused for this account."), "paused", "451 4.3.2", "warning"),
    Row(an("ExpiredToken", status=403), "credentials", "451 4.3.5", "warning"),
    Row(an("InvalidClientTokenId", status=403), "credentials", "451 4.3.5", "warning"),
    Row(an("SignatureDoesNotMatch", status=403), "credentials", "451 4.3.5", "warning"),
    Row(an("RequestExpired"), "credentials", "451 4.3.5", "warning"),
    Row(an("OptInRequired", status=403), "credentials", "451 4.3.5", "warning"),
    Row(an("ServiceUnavailable", status=503), "server", "451 4.3.0"),
    Row(an("RequestTimeoutException", status=408), "server", "451 4.3.0"),
)  # fmt: skip
DEFERRED = (
    Row(an("MessageRejected", NOT_VERIFIED), "not_verified", "451 4.3.5", "warning"),
    Row(an("MailFromDomainNotVerifiedException"), "not_verified", "451 4.4.3", "warning"),
    Row(an("ConfigurationSetDoesNotExist"), "configuration", "451 4.3.5", "warning"),
    Row(an("ConfigurationSetSendingPausedException"), "configuration", "451 4.3.2", "warning"),
    Row(an("NotFoundException", status=404), "configuration", "451 4.3.5", "warning"),
    Row(an("AccessDenied", status=403), "access_denied", "451 4.3.5", "warning"),
    Row(an("AccessDeniedException", status=403), "access_denied", "451 4.3.5", "warning"),
    Row(an("SomethingNew"), "other", "451 4.3.0", "warning"),
    Row(an("InvalidParameterValue", "never seen"), "other", "451 4.3.0", "warning"),
    Row(an("Throttling", RATE_TEXT), "throttled", "451 4.4.5"),
    Row(an("TooManyRequestsException", RATE_TEXT, 429), "throttled", "451 4.4.5"),
)
FAILED = (
    Row(an("MessageRejected", "Illegal content"), "rejected", "554 5.6.0"),
    Row(an("InvalidParameterValue", "Duplicate header 'From'."), "rejected", "554 5.6.0"),
    Row(an("BadRequestException", "Missing start boundary"), "rejected", "554 5.6.0"),
    Row(an("InvalidParameterValue", "Missing final '@domain'"), "bad_recipient", "554 5.1.3"),
    Row(an("BadRequestException", "Invalid email address"), "bad_recipient", "554 5.1.3"),
    Row(an("MessageRejected", "Address blacklisted."), "bad_recipient", "554 5.1.3"),
    Row(
        an("InvalidParameterValue", "Message length is more than 10485760 bytes long: '12078147'."),
        "too_large",
        "552 5.3.4",
    ),
    Row(an("RequestEntityTooLargeException", status=413), "too_large", "552 5.3.4"),
)
NOT_TAKEN = (
    Row(an("InternalFailure", status=500), "server", "451 4.3.0"),
    Row(an("InternalServiceErrorException", status=500), "server", "451 4.3.0"),
    Row(Garble(), "server", "451 4.3.0"),
    Row(Garble(200, "<html>Log in to the guest network</html>"), "timeout", "451 4.4.2"),
)
TAKEN = (Row(LoseAnswer(), "timeout", "451 4.4.2"), Row(CutAnswer(), "timeout", "451 4.4.2"))


async def send(relay: Relay, *recipients: str) -> None:
    """Have a mail accepted: in mode queued the client always hears 250."""

    def session() -> dict[str, tuple[int, bytes]]:
        with smtplib.SMTP("127.0.0.1", relay.ports["legacy"]) as client:
            return client.sendmail("app@example.com", recipients, MAIL)

    assert await asyncio.to_thread(session) == {}


async def counts(relay: Relay, metric: str) -> dict[str, float]:
    """Return what a metric of the account has counted, by its last label."""
    url = f"http://127.0.0.1:{relay.ports['metrics']}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        text = await answer.text()
    found = re.findall(rf'^{metric}{{.*?(\w+)"}} (\S+)$', text, re.MULTILINE)
    return {label: float(value) for label, value in found if float(value)}


def taken_by(simulator: Simulator) -> Counter[str]:
    """Return how often SES took a mail to each recipient."""
    return Counter(str(one) for message in simulator.messages for one in message.recipients)


@pytest.mark.P2
@pytest.mark.P5
@pytest.mark.P8
async def test_every_row_of_the_verdict_table_end_to_end(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start_relay(first_retry="1s")
    numbers = iter(range(1000))
    sent: dict[str, Row] = {}

    async def say(row: Row, event: str) -> None:
        recipient = f"row{next(numbers)}@example.net"
        sent[recipient] = row
        simulator.fail(row.act, recipient=recipient)
        await send(relay, recipient)
        line = await relay.logged(event, recipient=recipient)
        level = "warning" if event == "mail.failed" else row.level
        assert (line["reason"], line["level"]) == (row.reason, level), line
        assert line["reply"].startswith(row.reply), line
        assert line["queue_id"]

    doubtful = (*NOT_TAKEN, *TAKEN)
    # What is about the account comes between what is not: nothing here is to open the breaker.
    for trouble, other in zip_longest((*TROUBLE, *doubtful), (*DEFERRED, *FAILED)):
        if trouble is not None:
            await say(trouble, "mail.deferred")
        await say(other, "mail.failed" if other in FAILED else "mail.deferred")
    lost = {name for name, row in sent.items() if row in FAILED}
    doubts = {name for name, row in sent.items() if row in doubtful}

    # All the faults are over: what was deferred goes, once.
    for name in sent.keys() - lost - doubts:
        await relay.logged("mail.relayed", recipient=name)
    # What may have gone out waits for half an hour, unless an operator knows better.
    assert len(await entries(relay, "--state", "ambiguous")) == len(doubts)
    not_taken = {name for name in doubts if sent[name] in NOT_TAKEN}
    await retried(relay, *not_taken)
    assert taken_by(simulator) == dict.fromkeys(sent.keys() - lost, 1), "twice, or not at all"
    assert not any(line["event"] == "account.suspended" for line in relay.lines)

    expected = Counter(row.reason for name, row in sent.items() if name not in lost)
    assert await counts(relay, "relay_recipients_deferred_total") == expected
    expected = Counter(sent[name].reason for name in lost)
    assert await counts(relay, "relay_recipients_failed_total") == expected
    ambiguous = await counts(relay, "relay_ses_ambiguous_sends_total")
    assert ambiguous == {"main": len(doubts)}
    said = [line["words"] for line in relay.lines if line["event"] == "mail.ambiguous"]
    assert said == ["message may be sent more than once"] * len(doubts)
    await _the_day_ends(relay, simulator)


async def _the_day_ends(relay: Relay, simulator: Simulator) -> None:
    """Hold what the daily quota does not allow, and ask no more; a start reads it anew."""
    simulator.fail(an("Throttling", "Daily message quota exceeded."), action="SendRawEmail")
    await send(relay, "day@example.net")
    line = await relay.logged("mail.deferred", recipient="day@example.net")
    assert (line["reason"], line["reply"][:9]) == ("quota", "452 4.4.5")
    await relay.logged("account.daily_quota", holds="all")
    before = len(simulator.calls)
    await send(relay, "next-day@example.net")
    assert await counts(relay, "relay_ses_daily_quota_holds") == {"bulk": 1, "transactional": 1}
    assert len(simulator.calls) == before
    assert await relay.stop() == 0
    await relay.start()
    await relay.logged("mail.relayed", recipient="next-day@example.net")
    code, _, err = await relay.cli("queue", "retry", line["queue_id"])
    assert code == 0, err
    await relay.logged("mail.relayed", recipient="day@example.net")


async def retried(relay: Relay, *recipients: str) -> None:
    """Have an operator try mails now; return once SES has them."""
    lines = [await relay.logged("mail.queued", recipients=[one]) for one in recipients]
    code, _, err = await relay.cli("queue", "retry", *(line["queue_id"] for line in lines))
    assert code == 0, err
    for one in recipients:
        await relay.logged("mail.relayed", recipient=one)


async def entries(relay: Relay, *words: str) -> list[str]:
    """Return the listed entries of the queue, a line each."""
    code, out, err = await relay.cli("queue", "list", "--json", *words)
    assert code == 0, err
    return out.splitlines()


@pytest.mark.P2
@pytest.mark.P6
async def test_many_recipients_each_once_whatever_becomes_of_the_others(
    start_relay: StartRelay, simulator: Simulator
) -> None:
    relay = await start_relay(first_retry="1s")
    # A kept connection that has died meanwhile: the next mail goes at once, and is in no doubt.
    await send(relay, "before@example.net")
    await relay.logged("mail.relayed")
    async with simulator.unreachable():
        pass
    await send(relay, "after@example.net")
    await relay.logged("mail.relayed", recipient="after@example.net")
    assert not [
        line for line in relay.lines if line["event"] in ("mail.deferred", "mail.ambiguous")
    ]
    simulator.forget()

    # Two bad ones among fifty.
    for bad in ("fifty13@example.net", "fifty37@example.net"):
        text = "Local address contains control or whitespace"
        simulator.fail(an("InvalidParameterValue", text), times=100, recipient=bad)
    await send(relay, *(f"fifty{n}@example.net" for n in range(50)))
    for bad in ("fifty13@example.net", "fifty37@example.net"):
        line = await relay.logged("mail.failed", recipient=bad)
        assert line["reply"].startswith("554 5.1.3")
    await relay.logged("mail.relayed", count=2 + 48)
    assert taken_by(simulator) == {
        f"fifty{n}@example.net": 1 for n in range(50) if n not in (13, 37)
    }
    # Halving takes two calls for each halving of each bad one, at most.
    assert len([call for call in simulator.calls if call.recipients]) <= 2 * 2 * 6

    # The second call of each is refused once; the first is not repeated for it.
    simulator.forget()
    sizes = {"a": 51, "b": 100, "c": 1000}
    everybody: dict[str, int] = {}
    for name, size in sizes.items():
        simulator.fail(an("ServiceUnavailable", status=503), recipient=f"{name}50@example.net")
        recipients = [f"{name}{n}@example.net" for n in range(size)]
        await send(relay, *recipients)
        everybody |= dict.fromkeys(recipients, 1)
    await relay.logged("mail.relayed", count=2 + 48 + len(everybody))
    assert taken_by(simulator) == everybody, "twice, or not at all"
    refused = [line for line in relay.lines if line["event"] == "mail.deferred"]
    assert {line["recipient"] for line in refused} >= {f"{name}50@example.net" for name in sizes}

    # A restart between the calls of one mail.
    simulator.forget()
    hung = asyncio.create_task(relay.logged("relay.draining"))
    simulator.fail(Hang(), recipient="d60@example.net")
    await send(relay, *(f"d{n}@example.net" for n in range(300)))
    await simulator.wait_for(lambda: simulator.hung == 1)
    stopping = asyncio.create_task(relay.stop(signal.SIGTERM))
    await hung
    simulator.release()
    assert await stopping == 0
    assert 0 < sum(taken_by(simulator).values()) < 300
    await relay.start()
    await simulator.received(6)
    await relay.logged("mail.relayed", recipient="d299@example.net")
    assert taken_by(simulator) == {f"d{n}@example.net": 1 for n in range(300)}
    # But for the two bad ones, which are kept for the operator.
    assert len(await entries(relay)) == len(await entries(relay, "--state", "failed")) == 1
