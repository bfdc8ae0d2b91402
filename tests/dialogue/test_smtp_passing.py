"""A sender whose clients wait for SES: what they hear, and what their going tells (rules R6)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from relay.mail.envelope import Mail
from relay.mail.feedback import Suppression, SuppressionReason
from relay.mail.reply import Refusal, Reply
from relay.passing import Parcel, Passed
from relay.policy.passing import DRAINING, OUT_OF_PATIENCE, Ending
from relay.policy.sender import Accept, Limits, OnSuppressed, OverLimit, Rate
from relay.ports import SpoolError
from tests.builders import ARRIVED
from tests.dialogue.house import CONTENT, Caller, a_house, a_known_sender
from tests.fakes import FakeDraft

SENDER = replace(a_known_sender(), accept=Accept.RELAYED)
EITHER = replace(SENDER, accept=Accept.RELAYED_OR_QUEUED)
REFUSED = Refusal(Reply(554, "5.6.0", "SES MessageRejected: no"), "rejected")


class FakePassage:
    """Answers as it is told, once it is released; notes who went meanwhile."""

    def __init__(
        self, ending: Ending = Ending.RELAYED, refusal: Refusal | None = None, *, kept: bool = False
    ) -> None:
        self.ending, self.refusal, self.kept = ending, refusal, kept
        self.parcels: list[Parcel] = []
        self.asked, self.gone, self.released = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.released.set()
        self.error: Exception | None = None

    async def pass_on(self, parcel: Parcel) -> Passed:
        self.parcels.append(parcel)
        self.asked.set()
        while not self.released.is_set():
            waiting = asyncio.ensure_future(self.released.wait())
            try:
                await waiting
            except asyncio.CancelledError:
                self.gone.set()
        if self.error is not None:
            raise self.error
        draft = parcel.draft
        mail = Mail(draft.queue_id, parcel.sender.name, parcel.envelope, ARRIVED, draft.size)
        taken = self.ending in (Ending.RELAYED, Ending.PARTLY)
        return Passed(
            self.ending,
            mail,
            "0102-abc" if taken else "",
            self.refusal,
            mail if self.kept else None,
        )

    @property
    def draft(self) -> FakeDraft:
        draft = self.parcels[-1].draft
        assert isinstance(draft, FakeDraft)
        return draft


@pytest.mark.P1
@pytest.mark.parametrize(
    ("passage", "reply"),
    [
        (FakePassage(), "250 2.0.0 Ok 0102-abc"),
        (
            FakePassage(Ending.PARTLY, kept=True),
            "250 2.0.0 Ok 0102-abc, for some recipients queued as {}",
        ),
        (FakePassage(Ending.QUEUED, kept=True), "250 2.0.0 Ok queued as {}"),
        (FakePassage(Ending.REFUSED, REFUSED), "554 5.6.0 SES MessageRejected: no"),
        (FakePassage(Ending.DEFERRED, OUT_OF_PATIENCE), str(OUT_OF_PATIENCE.reply)),
        (FakePassage(Ending.DEFERRED, DRAINING), "451 4.3.2 The relay is being stopped"),
    ],
    ids=lambda value: value.ending.value if isinstance(value, FakePassage) else None,
)
@pytest.mark.parametrize("bdat", [False, True], ids=["data", "bdat"])
async def test_the_reply_says_what_became_of_the_mail(
    passage: FakePassage, reply: str, bdat: bool
) -> None:
    async with a_house(SENDER, passage=passage) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        if bdat:
            await caller.ask("MAIL FROM:<billing@example.com>", "RCPT TO:<jane@example.net>")
            caller.writer.write(b"BDAT %d LAST\r\n" % len(CONTENT) + CONTENT)
            said = await caller.hear()
        else:
            said = await caller.send()
        assert said == reply.format(passage.draft.queue_id)
        assert passage.draft.content.endswith(CONTENT)
        assert passage.draft.fate == "discarded"
        assert not house.spool.committed
        ((_, _, accept, passed, told, _),) = house.told("passed")
        assert (accept, passed.ending, told) == (Accept.RELAYED, passage.ending, said)
        assert len(house.told("accepted")) == passage.kept
        assert len(house.told("refused")) == (passage.refusal is not None)
        # The session goes on.
        assert (await caller.ask("NOOP")).startswith("250 ")


async def test_what_ses_was_not_asked_about_is_committed_as_in_mode_queued() -> None:
    passage = FakePassage(Ending.QUEUED)
    async with a_house(EITHER, passage=passage) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        assert await caller.send() == f"250 2.0.0 Ok queued as {passage.draft.queue_id}"
        assert [mail.queue_id for mail, _ in house.spool.committed] == [passage.draft.queue_id]
        assert len(house.told("accepted")) == len(house.told("passed")) == 1
        house.spool.commit_error = SpoolError("disk")
        assert (await caller.send()).startswith("451 4.3.0 The mail could not be stored")
        assert len(house.told("passed")) == 1


async def test_what_can_neither_be_sent_nor_kept_is_refused() -> None:
    passage = FakePassage()
    passage.error = SpoolError("disk")
    async with a_house(EITHER, passage=passage) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        assert (await caller.send()).startswith("451 4.3.0 The mail could not be stored")
        passage.error = ValueError("a bug")
        assert (await caller.send()).startswith("451 4.3.0 Internal error")
        assert passage.draft.fate == "discarded"


async def test_mail_for_nobody_is_passed_on_to_nobody() -> None:
    sender = replace(SENDER, on_suppressed=OnSuppressed.DROP)
    passage = FakePassage()
    async with a_house(sender, passage=passage) as house, await Caller.at(house.port) as caller:
        gone = Suppression("jane@example.net", SuppressionReason.BOUNCE, "gone", ARRIVED)
        house.suppressions.add(gone)
        await caller.greet()
        assert "nothing queued" in await caller.send()
        assert not passage.parcels
        assert await caller.send(CONTENT, "jane@example.net", "john@example.net") == (
            "250 2.0.0 Ok 0102-abc"
        )
        (parcel,) = passage.parcels
        assert [str(one) for one in parcel.envelope.recipients] == ["john@example.net"]
        assert len(house.told("dropped")) == 2


@pytest.mark.P6
@pytest.mark.parametrize(
    ("ending", "refusal"),
    [(Ending.WITHDRAWN, None), (Ending.RELAYED, None), (Ending.REFUSED, REFUSED)],
)
async def test_that_the_client_has_gone_is_told_and_what_was_begun_is_seen_through(
    ending: Ending, refusal: Refusal | None
) -> None:
    passage = FakePassage(ending, refusal)
    async with a_house(SENDER, passage=passage) as house:
        passage.released.clear()
        caller = await Caller.at(house.port)
        await caller.greet()
        await caller.reach_data()
        caller.writer.write(CONTENT + b".\r\n")
        await passage.asked.wait()
        caller.reset()
        await passage.gone.wait()
        # SES may be reading it.
        assert passage.draft.fate == "open"
        passage.released.set()
        await house.gone()
        assert passage.draft.fate == "discarded"
        ((_, _, _, passed, reply, _),) = house.told("passed")
        assert passed.ending is passage.ending
        assert bool(reply) is (passage.ending is not Ending.WITHDRAWN)
        assert not house.told("fault")


@pytest.mark.P6
async def test_a_client_that_has_said_all_it_will_say_is_not_gone() -> None:
    passage = FakePassage()
    async with a_house(SENDER, passage=passage) as house, await Caller.at(house.port) as caller:
        passage.released.clear()
        await caller.greet()
        await caller.reach_data()
        caller.writer.write(CONTENT + b".\r\n")
        caller.writer.write_eof()
        await passage.asked.wait()
        passage.released.set()
        assert await caller.hear() == "250 2.0.0 Ok 0102-abc"
        assert not passage.gone.is_set()


@pytest.mark.P6
async def test_a_refusal_gives_the_sender_its_recipients_back() -> None:
    passage = FakePassage(Ending.DEFERRED, OUT_OF_PATIENCE)
    limits = Limits(1 << 20, over_limit=OverLimit.REFUSE, recipients=(Rate(1, 86_400.0),))
    sender = replace(SENDER, limits=limits)
    async with a_house(sender, passage=passage) as house, await Caller.at(house.port) as caller:
        await caller.greet()
        for _ in range(3):
            assert (await caller.send()).startswith("451 4.4.5 ")
        passage.ending, passage.refusal = Ending.RELAYED, None
        assert (await caller.send()).startswith("250 ")
        await caller.ask("MAIL FROM:<billing@example.com>")
        assert (await caller.ask("RCPT TO:<jane@example.net>")).startswith("452 4.7.1 ")


@pytest.mark.P1
@pytest.mark.P6
async def test_a_drain_cuts_off_everybody_but_who_waits_for_ses() -> None:
    passage = FakePassage()
    async with a_house(SENDER, passage=passage) as house, await Caller.at(house.port) as caller:
        passage.released.clear()
        await caller.greet()
        await caller.reach_data()
        caller.writer.write(CONTENT + b".\r\n")
        await passage.asked.wait()
        async with await Caller.at(house.port) as other:
            await other.greet()
            await other.reach_data()
            other.writer.write(b"half of a line")

            async def answered() -> None:
                # By now the other one has been told to go.
                assert (await other.rest()).startswith(b"421 4.3.2 ")
                passage.released.set()

            await house.door.drain(0.05, answered)
        assert await caller.hear() == "250 2.0.0 Ok 0102-abc"
        assert (await caller.hear()).startswith("421 4.3.2 ")
        assert not passage.gone.is_set()
