"""Whatever SES, the disk and clients do at once: who was promised gets it, and once where that was known.

In lapsed time, on a real spool, with dice.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from relay.mail.address import Address
from relay.mail.envelope import QueueId, SenderName
from relay.passing import Passed
from relay.policy.passing import Ending
from relay.policy.sender import Accept
from relay.policy.verdict import Answer, Broken, Refused, Stage
from relay.ports import Consignment, SendQuota, SpoolError
from tests.builders import a_sender
from tests.timelapse import LapsedClock, lapse
from tests.unit.delivery.lapsed import CONTENT, House, a_house
from tests.unit.delivery.test_delivery_passing import LARGE, recipients, states

SENDERS = [
    replace(a_sender(mode.value), accept=mode, patience=6.0)
    for mode in (Accept.RELAYED, Accept.RELAYED_OR_QUEUED)
]
ANSWERS = (
    Refused(400, "Throttling", "Maximum sending rate exceeded."),
    Refused(400, "MessageRejected", "Illegal content"),
    Refused(403, "AccessDenied", "no"),
    Refused(500, "InternalFailure", "no"),
    Refused(503, "ServiceUnavailable", "no"),
    Broken(Stage.NOT_SENT, "connection refused"),
    Broken(Stage.NO_ANSWER, "no answer"),
)


class Ses:
    """Takes most of what it is given, and remembers it."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.is_well = False
        self.got: Counter[tuple[QueueId, Address]] = Counter()
        self.doubted: set[tuple[QueueId, Address]] = set()

    def judge(self, call: Consignment) -> Answer | None:
        these = [(call.mail.queue_id, one) for one in call.recipients]
        bad = any(one.local_part.startswith("bad") for one in call.recipients)
        answer: Answer | None = None
        if bad:
            answer = Refused(400, "InvalidParameterValue", "Missing final '@domain'")
        elif not self.is_well and self.dice.random() < 0.3:
            answer = self.dice.choice(ANSWERS)
        if isinstance(answer, Broken) and answer.stage is Stage.NO_ANSWER:
            self.doubted.update(these)
            if self.dice.random() < 0.5:
                self.got.update(these)
        elif isinstance(answer, Refused) and answer.http_status == 500:
            self.doubted.update(these)
        if answer is None:
            self.got.update(these)
        return answer


async def a_client(
    house: House, dice: random.Random, number: int
) -> tuple[Passed | None, set[Address]]:
    await asyncio.sleep(dice.random() * 60)
    to = tuple(
        Address(f"{'bad' if dice.random() < 0.1 else 'user'}{number}-{n}", "example.net")
        for n in range(dice.choice((1, 1, 1, 2, 5, 20)))
    )
    passing = asyncio.create_task(
        house.pass_on(dice.choice(SENDERS), *to, content=dice.choice((CONTENT, LARGE)))
    )
    if dice.random() < 0.2:
        await asyncio.sleep(dice.random() * 8)
        passing.cancel()
    try:
        return await passing, set(to)
    except SpoolError:
        return None, set(to)


@pytest.mark.P1
@pytest.mark.P3
@pytest.mark.parametrize("seed", range(12))
def test_whoever_was_promised_gets_it_and_nobody_twice_without_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    dice = random.Random(seed)  # noqa: S311 - dice

    async def work(clock: LapsedClock) -> None:
        async with a_house(tmp_path, clock, *SENDERS) as house:
            ses = Ses(dice)
            house.account.quota = SendQuota(40.0, 1e9, 0)
            house.carrier.judge = ses.judge
            house.carrier.seconds = lambda _: dice.choice((0.1, 0.2, 1.0, 5.0, 9.0))
            clients = [a_client(house, dice, number) for number in range(80)]
            heard = await asyncio.gather(*clients)
            ses.is_well = True
            house.carrier.seconds = lambda _: 0.1
            await asyncio.sleep(6 * 3600)

            kept = await recipients(house)
            assert set(kept.values()) <= {"failed"}, kept
            promised: set[Address] = set()
            for passed, to in heard:
                if passed is None:
                    continue
                for one in to:
                    key = (passed.mail.queue_id, one)
                    times = ses.got[key]
                    if passed.refusal is None and passed.ending is not Ending.WITHDRAWN:
                        promised.add(one)
                        assert times or str(one) in kept, f"{one} is lost: {passed}"
                        assert not (passed.ending is Ending.RELAYED and times != 1)
                    elif passed.ending in (Ending.REFUSED, Ending.DEFERRED, Ending.WITHDRAWN):
                        assert not times, f"{one} was sent, and its client was told no: {passed}"
                    assert times <= 1 or key in ses.doubted, f"{one} got it {times} times"
            assert set(kept) <= {str(one) for one in promised}
            assert promised, "nobody was promised anything"
            assert "fault" not in house.facts.names()
            backlog = sum(
                house.store.spool.backlog(SenderName(one.name)).messages for one in SENDERS
            )
            assert backlog == sum((await states(house)).values())

    lapse(work, monkeypatch)
    assert not [
        path for path in (tmp_path / "content").iterdir() if path.stat().st_size != len(LARGE)
    ]
