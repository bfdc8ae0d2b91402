"""Mail whose client waits for SES: what is asked, what the client hears, what is kept (rules R6)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from relay.delivery.gate import SHARE, Gate
from relay.mail.address import Address
from relay.mail.entry import State
from relay.mail.envelope import AccountName, Envelope, Mail
from relay.mail.feedback import Suppression, SuppressionReason
from relay.operators import Selection
from relay.passing import Parcel, Passed
from relay.policy.passing import Ending
from relay.policy.sender import Accept, Limits, OverLimit, Priority, QueueShare, Rate, Sender
from relay.policy.verdict import Answer, Broken, Refused, Stage, verdict
from relay.ports import Consignment, SendQuota, SpoolError
from relay.store.batch import Operation
from tests.builders import a_ruleset, a_sender, addresses, an_address
from tests.timelapse import LapsedClock, lapse
from tests.unit.delivery.lapsed import (
    CONTENT,
    OTP,
    RATE,
    House,
    OneAccount,
    TimedCarrier,
    a_house,
    fill,
)

MAIN = AccountName("main")
RELAYED = replace(a_sender(OTP), accept=Accept.RELAYED)
EITHER = replace(RELAYED, accept=Accept.RELAYED_OR_QUEUED)
BOTH = pytest.mark.parametrize("sender", [RELAYED, EITHER], ids=["relayed", "relayed-or-queued"])

BAD_ADDRESS = Refused(400, "InvalidParameterValue", "Missing final '@domain'")
BAD_CONTENT = Refused(400, "MessageRejected", "Illegal content")
THROTTLED = Refused(400, "Throttling", "Maximum sending rate exceeded.")
NO_CREDENTIALS = Refused(0, "MissingAuthenticationToken", "no credentials")
LOST = Broken(Stage.NO_ANSWER, "no answer")
SANDBOX = Refused(400, "MessageRejected", "Email address is not verified: user3@example.net")

LARGE = CONTENT + b"0123456789abcdef" * 20_000

Story = Callable[[House], Awaitable[None]]


@pytest.fixture(name="play")
def _play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have a story happen, in lapsed time; nothing may be left in the spool's directory."""

    def play(story: Story, *senders: Sender) -> None:
        async def work(clock: LapsedClock) -> None:
            async with a_house(tmp_path, clock, *(senders or (RELAYED,))) as house:
                await story(house)
                await asyncio.sleep(1)
                counts = await house.store.queue.counts()
                kept = house.store.spool.backlog(OTP)
                assert kept.messages == sum(counts.values()), "miscounted"
                assert "fault" not in house.facts.names()

        lapse(work, monkeypatch)
        assert not list((tmp_path / "content").iterdir()), "a temporary file is left"

    return play


def refuse(passed: Passed) -> str:
    assert passed.refusal is not None, passed
    return str(passed.refusal.reply)


async def states(house: House) -> dict[State, int]:
    return {state: n for state, n in (await house.store.queue.counts()).items() if n}


async def recipients(house: House) -> dict[str, str]:
    """Return the state of each recipient in the queue."""
    page = await house.store.queue.find(Selection(), "", 100)
    return {str(one.address): one.state.value for mail in page.entries for one in mail.recipients}


def bad(*which: int) -> Callable[[Consignment], Answer | None]:
    """Have SES refuse calls for these recipients, and say not which it is."""
    names = {f"user{n}" for n in which}
    return lambda call: BAD_ADDRESS if names & {one.local_part for one in call.recipients} else None


# --- SES is asked, and answers --------------------------------------------------------------------


@BOTH
@pytest.mark.P1
@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["small", "large"])
def test_a_250_carries_the_id_by_which_ses_took_it(
    play: Callable[..., None], sender: Sender, content: bytes
) -> None:
    seen: list[bytes] = []

    async def story(house: House) -> None:
        def judge(call: Consignment) -> None:
            held = call.content
            seen.append(held if isinstance(held, bytes) else held.path.read_bytes())

        house.carrier.judge = judge
        passed = await house.pass_on(sender, content=content, message_id="<a@b>")
        assert (passed.ending, passed.ses_message_id) == (Ending.RELAYED, "0102-0")
        assert seen == [content]
        assert await states(house) == {}
        # The ledger follows the reply.
        await asyncio.sleep(1)
        (accepted, relayed) = await house.store.record.trace(passed.mail.queue_id, 10)
        assert (accepted.fact, relayed.fact) == ("accepted", "relayed")
        assert relayed.ses_message_id == "0102-0"
        assert len(await house.store.record.trace_message("<a@b>", 10)) == 2

    play(story)


@pytest.mark.P1
def test_what_ses_refuses_the_client_keeps(play: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        for answer, reply, ending in (
            (BAD_CONTENT, "554 5.6.0 SES MessageRejected: Illegal content", Ending.REFUSED),
            (BAD_ADDRESS, "554 5.1.3 SES InvalidParameterValue: Missing", Ending.REFUSED),
            (SANDBOX, "554 5.7.1 SES MessageRejected: Email address is not", Ending.REFUSED),
            (THROTTLED, "451 4.4.5 SES Throttling: Maximum", Ending.DEFERRED),
            (NO_CREDENTIALS, "451 4.3.5 SES MissingAuthenticationToken: no", Ending.DEFERRED),
            (LOST, "451 4.4.2 The message may have been sent. SES: no", Ending.AMBIGUOUS),
        ):
            house.carrier.judge = lambda _, answer=answer: answer  # type: ignore[misc]
            passed = await house.pass_on(RELAYED, content=LARGE)
            assert refuse(passed).startswith(reply)
            assert passed.ending is ending
            await asyncio.sleep(1)
            (line,) = await house.store.record.trace(passed.mail.queue_id, 10)
            assert (line.fact, line.detail) == ("refused", refuse(passed))
            await asyncio.sleep(5)
        assert await states(house) == {}

    play(story)


@pytest.mark.P1
def test_what_ses_does_not_take_in_time_is_queued_and_what_it_never_takes_is_refused(
    play: Callable[..., None],
) -> None:
    async def story(house: House) -> None:
        for answer, state in (
            (THROTTLED, State.SCHEDULED),
            (NO_CREDENTIALS, State.HELD),
            (LOST, State.AMBIGUOUS),
        ):
            house.carrier.judge = lambda _, answer=answer: answer  # type: ignore[misc]
            passed = await house.pass_on(EITHER)
            assert passed.ending is Ending.QUEUED
            assert passed.kept is not None
            assert passed.kept.queue_id == passed.mail.queue_id
            await asyncio.sleep(0.1)
            assert state in await states(house)
            house.carrier.judge = lambda _: None
            await asyncio.sleep(3600)
            assert await states(house) == {}
        house.carrier.judge = lambda _: BAD_CONTENT
        passed = await house.pass_on(EITHER)
        assert (passed.ending, refuse(passed)[:9]) == (Ending.REFUSED, "554 5.6.0")
        assert await states(house) == {}

    play(story, EITHER)


# --- some recipients are at fault -----------------------------------------------------------------


@BOTH
@pytest.mark.P2
@pytest.mark.P3
def test_taken_for_some_is_250_and_the_others_are_failed_where_operators_see_it(
    play: Callable[..., None], sender: Sender
) -> None:
    async def story(house: House) -> None:
        house.account.quota = SendQuota(1e6, 1e9, 0)
        house.carrier.judge = bad(13, 37)
        to = addresses(50)
        passed = await house.pass_on(sender, *to)
        assert (passed.ending, passed.refusal) == (Ending.PARTLY, None)
        assert passed.kept is not None
        assert passed.kept.queue_id == passed.mail.queue_id
        await asyncio.sleep(1)
        assert await recipients(house) == {
            "user13@example.net": "failed",
            "user37@example.net": "failed",
        }
        taken = [args for name, args in house.facts.told if name == "settled"]
        relayed = [args[2] for args in taken if type(args[3].outcome).__name__ == "Relayed"]
        assert sorted(map(str, relayed)) == sorted(
            str(one) for n, one in enumerate(to) if n not in (13, 37)
        ), "not each of the others once"
        lines = await house.store.record.trace(passed.mail.queue_id, 200)
        assert {line.recipient for line in lines if line.fact == "relayed"} == set(
            map(str, relayed)
        )
        assert {line.recipient for line in lines if line.fact == "failed"} == {
            "user13@example.net",
            "user37@example.net",
        }

    play(story, sender)


@BOTH
def test_taken_for_nobody_is_refused(play: Callable[..., None], sender: Sender) -> None:
    async def story(house: House) -> None:
        house.account.quota = SendQuota(1e6, 1e9, 0)
        house.carrier.judge = lambda _: BAD_ADDRESS
        passed = await house.pass_on(sender, *addresses(4))
        assert (passed.ending, refuse(passed)[:9]) == (Ending.REFUSED, "554 5.1.3")
        assert len(house.carrier.calls) == 1 + 2 + 4
        assert await states(house) == {}

    play(story, sender)


@BOTH
@pytest.mark.P3
def test_whoever_was_not_asked_for_when_patience_ended_is_asked_for_later(
    play: Callable[..., None], sender: Sender
) -> None:
    async def story(house: House) -> None:
        # Half of them is taken, after which the rate allows nothing for long.
        house.account.quota = SendQuota(1.0, 1e9, 0)
        house.carrier.judge = bad(3)
        began = house.clock.monotonic()
        passed = await house.pass_on(sender, *addresses(4))
        assert passed.ending is Ending.PARTLY
        assert house.clock.monotonic() - began < 25
        await asyncio.sleep(60)
        assert await recipients(house) == {"user3@example.net": "failed"}

    play(story, replace(sender, patience=8.0))


@pytest.mark.P3
def test_what_is_taken_for_nobody_when_patience_ends_the_client_keeps(
    play: Callable[..., None],
) -> None:
    async def story(house: House) -> None:
        house.account.quota = SendQuota(1.0, 1e9, 0)
        house.carrier.judge = bad(0)
        passed = await house.pass_on(replace(RELAYED, patience=2.0), *addresses(8))
        assert (passed.ending, refuse(passed)[:9]) == (Ending.DEFERRED, "451 4.4.5")
        assert len(house.carrier.calls) == 1
        assert await states(house) == {}

    play(story)


@BOTH
@pytest.mark.P3
def test_an_answer_lost_after_some_were_taken_leaves_only_the_others_in_doubt(
    play: Callable[..., None], sender: Sender
) -> None:
    async def story(house: House) -> None:
        house.account.quota = SendQuota(1e6, 1e9, 0)
        answers = iter([BAD_ADDRESS, None, LOST])
        house.carrier.judge = lambda _: next(answers)
        passed = await house.pass_on(sender, *addresses(4))
        assert passed.ending is Ending.PARTLY
        await asyncio.sleep(1)
        assert await recipients(house) == {
            "user2@example.net": "ambiguous",
            "user3@example.net": "ambiguous",
        }
        house.carrier.judge = lambda _: None
        await asyncio.sleep(3600)
        assert await states(house) == {}

    play(story, sender)


@pytest.mark.P3
@pytest.mark.parametrize("broken", [None, LOST], ids=["taken", "in doubt"])
def test_what_cannot_be_kept_for_the_others_is_not_answered_250(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch, broken: Answer | None
) -> None:
    async def story(house: House) -> None:
        house.account.quota = SendQuota(1e6, 1e9, 0)
        answers = iter([BAD_ADDRESS, broken, BAD_ADDRESS])
        house.carrier.judge = lambda _: next(answers)

        async def fails(*_: object, **__: object) -> None:
            raise SpoolError("disk")

        monkeypatch.setattr(house.store.shelf, "keep", fails)
        passed = await house.pass_on(EITHER, *addresses(2))
        assert refuse(passed).startswith("451 4.4.2 ")
        assert "may be sent more than once" in refuse(passed)
        assert passed.ending is Ending.AMBIGUOUS
        # It is told, with its traceback; the rest of the story knows none.
        assert "fault" in house.facts.names()
        house.facts.told.clear()

    play(story, EITHER)


@pytest.mark.P3
def test_what_cannot_be_kept_and_was_taken_for_nobody_is_refused_as_in_mode_queued(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(house: House) -> None:
        house.carrier.judge = lambda _: THROTTLED

        async def fails(*_: object, **__: object) -> None:
            raise SpoolError("disk")

        monkeypatch.setattr(house.store.shelf, "keep", fails)
        with pytest.raises(SpoolError, match="disk"):
            await house.pass_on(EITHER)

    play(story, EITHER)


def test_a_sender_has_no_more_in_the_queue_than_its_share(play: Callable[..., None]) -> None:
    sender = replace(EITHER, limits=replace(EITHER.limits, queue=QueueShare(messages=1)))

    async def story(house: House) -> None:
        house.carrier.judge = lambda _: NO_CREDENTIALS
        assert (await house.pass_on(sender)).ending is Ending.QUEUED
        passed = await house.pass_on(sender)
        assert (passed.ending, refuse(passed)[:9]) == (Ending.DEFERRED, "452 4.3.1")

    play(story, sender)


def test_who_was_suppressed_meanwhile_is_not_mailed(play: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        first, second = addresses(2)
        house.suppressions.add(
            Suppression(str(first), SuppressionReason.BOUNCE, "gone", house.clock.now())
        )
        passed = await house.pass_on(RELAYED, first)
        assert (passed.ending, refuse(passed)[:9]) == (Ending.REFUSED, "550 5.1.1")
        assert not house.carrier.calls
        passed = await house.pass_on(RELAYED, first, second)
        assert passed.ending is Ending.PARTLY
        await asyncio.sleep(1)
        assert await recipients(house) == {str(first): "failed"}

    play(story)


# --- SES is not asked -----------------------------------------------------------------------------


@BOTH
@pytest.mark.P6
def test_without_a_token_in_time_ses_is_not_asked(
    play: Callable[..., None], sender: Sender
) -> None:
    async def story(house: House) -> None:
        house.account.quota = SendQuota(1.0, 1e9, 0)
        # Others have used up the rate for the next minute.
        house.gate.condition()
        house.gate.spend(OTP, Priority.TRANSACTIONAL, 60)
        began = house.clock.monotonic()
        passed = await house.pass_on(sender)
        assert house.clock.monotonic() - began == pytest.approx(20, abs=0.01)
        assert not house.carrier.calls
        if sender is RELAYED:
            assert refuse(passed).startswith("451 4.4.5 Amazon SES could not be asked in time")
            assert passed.refusal is not None
            assert passed.refusal.reason == "pace"
        else:
            assert passed.is_to_be_queued
            await asyncio.sleep(60)
            assert len(house.carrier.calls) == 1
        assert await states(house) == {}

    play(story, sender)


@BOTH
def test_where_waiting_would_be_vain_nobody_waits(
    play: Callable[..., None], sender: Sender
) -> None:
    async def story(house: House) -> None:
        began = house.clock.monotonic()

        async def hears(reply: str) -> None:
            passed = await house.pass_on(sender)
            if sender is RELAYED:
                assert refuse(passed).startswith(reply)
            else:
                assert passed.is_to_be_queued
            assert house.clock.monotonic() - began < 1

        house.paused.add(OTP)
        await hears("451 4.3.2 Sending is paused for this sender")
        house.paused.clear()
        house.account.quota = SendQuota(RATE, 100.0, 100.0, number=1)
        await hears("452 4.4.5 The daily quota of the Amazon SES account is used up")
        house.account.quota = SendQuota(RATE, 1e9, 0, number=2)
        for _ in range(3):
            house.gate.learn(verdict(Refused(403, "ExpiredToken", "no")), 1)
        patient = replace(sender, patience=4.0)
        passed = await house.passages.pass_on(await a_parcel(house, patient))
        if sender is RELAYED:
            assert refuse(passed).startswith("451 4.4.5 Amazon SES cannot be asked at present (c")
        else:
            assert passed.is_to_be_queued
        assert not house.carrier.calls or sender is EITHER
        # It is asked again in five seconds, and that is waited for.
        assert (await house.pass_on(sender)).ending is Ending.RELAYED

    play(story, sender)


@BOTH
@pytest.mark.P6
def test_once_the_relay_is_stopped_nobody_is_left_waiting(
    play: Callable[..., None], sender: Sender
) -> None:
    async def story(house: House) -> None:
        house.account.quota = SendQuota(1.0, 1e9, 0)
        house.gate.condition()
        house.gate.spend(OTP, Priority.TRANSACTIONAL, 60)
        waits = asyncio.create_task(house.pass_on(sender))
        await asyncio.sleep(1)
        await house.scheduler.drain()
        for passed in (await waits, await house.pass_on(sender)):
            if sender is RELAYED:
                assert refuse(passed).startswith("451 4.3.2 ")
            else:
                assert passed.ending is Ending.QUEUED
        assert not house.carrier.calls
        assert await states(house) == ({} if sender is RELAYED else {State.READY: 2})

    play(story, sender)


@BOTH
def test_what_is_made_ready_while_the_relay_is_stopped_does_not_wait(
    play: Callable[..., None], sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(house: House) -> None:
        content = house.store.shelf.content

        async def meanwhile(draft: Any) -> Any:
            await house.scheduler.drain()
            return await content(draft)

        monkeypatch.setattr(house.store.shelf, "content", meanwhile)
        began = house.clock.monotonic()
        passed = await house.pass_on(sender)
        assert house.clock.monotonic() - began < 1
        assert passed.ending is (Ending.DEFERRED if sender is RELAYED else Ending.QUEUED)

    play(story, sender)


@BOTH
def test_mail_goes_by_what_its_account_is_when_its_turn_comes(
    play: Callable[..., None], sender: Sender
) -> None:
    """A reload has put another in its place meanwhile, and the one of before is closed."""

    async def story(house: House) -> None:
        house.account.quota = SendQuota(1.0, 1e9, 0)
        house.gate.condition()
        house.gate.spend(OTP, Priority.TRANSACTIONAL, 60)
        waits = asyncio.create_task(house.pass_on(sender))
        await asyncio.sleep(1)
        carrier = TimedCarrier(house.clock)
        house.gate.close()
        house.gates[MAIN] = Gate(OneAccount(carrier), facts=house.facts, clock=house.clock)
        house.scheduler.rouse()
        assert (await waits).ending is Ending.RELAYED
        assert (len(house.carrier.calls), len(carrier.calls)) == (0, 1)

    play(story, sender)


@BOTH
def test_nobody_waits_for_an_account_that_was_taken_away(
    play: Callable[..., None], sender: Sender
) -> None:
    async def story(house: House) -> None:
        house.account.quota = SendQuota(1.0, 1e9, 0)
        house.gate.condition()
        house.gate.spend(OTP, Priority.TRANSACTIONAL, 60)
        waits = asyncio.create_task(house.pass_on(sender))
        await asyncio.sleep(1)
        gate = house.gates.pop(MAIN)
        house.scheduler.rouse()
        began = house.clock.monotonic()
        # Another was in DATA when the rules changed.
        for passed in (await waits, await house.pass_on(sender)):
            if sender is RELAYED:
                assert (
                    refuse(passed) == "451 4.3.2 The rules for this sender have changed; try again"
                )
            else:
                assert passed.ending is Ending.QUEUED
        assert house.clock.monotonic() - began < 1
        house.gates[MAIN] = gate

    play(story, sender)


def test_more_recipients_than_ses_takes_at_once_are_queued(play: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        passed = await house.pass_on(EITHER, *addresses(51))
        assert passed.is_to_be_queued
        await asyncio.sleep(30)
        assert sum(call.recipients for call in house.carrier.calls) == 51

    play(story, EITHER)


# --- patience ends, or the client goes, while SES is asked ----------------------------------------


@pytest.mark.P1
@pytest.mark.P3
@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("goes", [False, True], ids=["patience", "client"])
def test_what_ses_is_answering_is_kept_in_flight_and_retired_by_the_answer(
    play: Callable[..., None], content: bytes, goes: bool
) -> None:
    async def story(house: House) -> None:
        house.carrier.seconds = lambda _: 50.0
        passing = asyncio.create_task(house.pass_on(EITHER, content=content))
        await asyncio.sleep(10)
        if goes:
            passing.cancel()
        passed = await passing
        assert house.clock.monotonic() < 1021
        assert (passed.ending, passed.refusal) == (Ending.QUEUED, None)
        assert passed.kept is not None
        assert await states(house) == {State.IN_FLIGHT: 1}
        await asyncio.sleep(45)
        assert await states(house) == {}
        assert len(house.carrier.calls) == 1
        lines = await house.store.record.trace(passed.mail.queue_id, 10)
        assert [line.fact for line in lines] == ["accepted", "relayed"]

    play(story, EITHER)


@pytest.mark.P3
@pytest.mark.parametrize(
    ("answer", "state"),
    [(THROTTLED, None), (BAD_CONTENT, State.FAILED), (LOST, State.AMBIGUOUS)],
)
def test_what_was_kept_in_flight_goes_on_as_any_mail(
    play: Callable[..., None], answer: Answer, state: State | None
) -> None:
    async def story(house: House) -> None:
        answers = iter([answer])
        house.carrier.judge = lambda _: next(answers, None)
        house.carrier.seconds = lambda _: 30.0
        assert (await house.pass_on(EITHER)).ending is Ending.QUEUED
        await asyncio.sleep(15)
        house.carrier.seconds = lambda _: 0.2
        await asyncio.sleep(60)
        assert await states(house) == ({} if state is None else {state: 1})
        assert len(house.carrier.calls) == (2 if state is None else 1)

    play(story, EITHER)


@pytest.mark.P3
def test_a_bad_recipient_found_after_patience_ended_does_not_fail_the_others(
    play: Callable[..., None],
) -> None:
    async def story(house: House) -> None:
        house.account.quota = SendQuota(1e6, 1e9, 0)
        house.carrier.judge = bad(1)
        house.carrier.seconds = lambda _: 30.0
        assert (await house.pass_on(EITHER, *addresses(4))).ending is Ending.QUEUED
        await asyncio.sleep(300)
        assert await recipients(house) == {"user1@example.net": "failed"}

    play(story, EITHER)


@pytest.mark.P3
def test_of_a_mail_kept_in_flight_nobody_is_asked_for_again_whom_ses_has_taken(
    play: Callable[..., None],
) -> None:
    got: list[Address] = []

    async def story(house: House) -> None:
        house.account.quota = SendQuota(1e6, 1e9, 0)
        judge = bad(3)

        def note(call: Consignment) -> Answer | None:
            answer = judge(call)
            if answer is None:
                got.extend(call.recipients)
            return answer

        house.carrier.judge = note
        house.carrier.seconds = lambda _: 9.0
        passed = await house.pass_on(EITHER, *addresses(4))
        assert passed.ending is Ending.PARTLY
        await asyncio.sleep(300)
        assert sorted(map(str, got)) == [f"user{n}@example.net" for n in range(3)]
        assert await recipients(house) == {"user3@example.net": "failed"}
        lines = await house.store.record.trace(passed.mail.queue_id, 50)
        facts = sorted((line.recipient[4], line.fact) for line in lines if line.fact != "accepted")
        assert facts == [("0", "relayed"), ("1", "relayed"), ("2", "relayed"), ("3", "failed")]

    play(story, EITHER)


@pytest.mark.P1
@pytest.mark.P3
def test_a_slow_disk_does_not_keep_the_client_from_hearing_that_ses_has_it(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(house: House) -> None:
        writer = house.store.shelf._writer
        see_through = writer.see_through

        async def slowly(operation: Operation[Any]) -> Any:
            await asyncio.sleep(100)
            return await see_through(operation)

        monkeypatch.setattr(writer, "see_through", slowly)
        house.carrier.seconds = lambda _: 30.0
        passed = await house.pass_on(EITHER)
        assert house.clock.monotonic() < 1031
        assert (passed.ending, passed.ses_message_id) == (Ending.RELAYED, "0102-0")
        await asyncio.sleep(200)

    async def failing(house: House) -> None:
        async def fails(*_: object, **__: object) -> None:
            raise SpoolError("disk")

        monkeypatch.setattr(house.store.shelf, "keep", fails)
        house.carrier.seconds = lambda _: 30.0
        # It cannot be promised, and so the client waits for SES.
        assert (await house.pass_on(EITHER)).ending is Ending.RELAYED
        assert house.facts.names().count("fault") == 1
        house.facts.told.clear()

    play(failing, EITHER)
    play(story, EITHER)


@pytest.mark.P5
@pytest.mark.parametrize("taken", [False, True], ids=["at once", "after some were taken"])
def test_a_fault_of_ours_leaves_no_client_waiting(play: Callable[..., None], taken: bool) -> None:
    async def story(house: House) -> None:
        house.account.quota = SendQuota(1e6, 1e9, 0)
        calls = iter([BAD_ADDRESS, None] if taken else [])

        def judge(_: Consignment) -> Answer | None:
            try:
                return next(calls)
            except StopIteration:
                raise ValueError("a bug") from None

        house.carrier.judge = judge
        if taken:
            passed = await house.pass_on(RELAYED, *addresses(4))
            assert passed.ending is Ending.PARTLY
        else:
            with pytest.raises(SpoolError, match="a bug"):
                await house.pass_on(RELAYED)
        house.carrier.judge = lambda _: None
        await asyncio.sleep(10)
        assert await states(house) == {}
        assert house.facts.names().count("fault") == 1
        house.facts.told.clear()

    play(story)


@pytest.mark.P3
def test_in_mode_relayed_the_answer_is_waited_for_whatever_patience_says(
    play: Callable[..., None],
) -> None:
    async def story(house: House) -> None:
        house.carrier.seconds = lambda _: 55.0
        passed = await house.pass_on(RELAYED)
        assert passed.ending is Ending.RELAYED

    play(story)


@BOTH
def test_for_a_client_that_has_gone_ses_is_not_asked(
    play: Callable[..., None], sender: Sender
) -> None:
    async def story(house: House) -> None:
        house.account.quota = SendQuota(1.0, 1e9, 0)
        house.gate.condition()
        house.gate.spend(OTP, Priority.TRANSACTIONAL, 10)
        passing = asyncio.create_task(house.pass_on(sender, content=LARGE))
        await asyncio.sleep(1)
        passing.cancel()
        assert (await passing).ending is Ending.WITHDRAWN
        await asyncio.sleep(30)
        assert not house.carrier.calls
        assert await states(house) == {}

    play(story, sender)


@pytest.mark.P3
def test_in_mode_relayed_a_client_that_has_gone_keeps_what_was_not_asked_for(
    play: Callable[..., None],
) -> None:
    async def story(house: House) -> None:
        house.account.quota = SendQuota(1e6, 1e9, 0)
        house.carrier.judge = bad(3)
        house.carrier.seconds = lambda _: 5.0
        passing = asyncio.create_task(house.pass_on(RELAYED, *addresses(4)))
        await asyncio.sleep(12)
        passing.cancel()
        passed = await passing
        # It took half of them; nobody has heard a 250, so the client sends all of it again.
        assert passed.ending is Ending.AMBIGUOUS
        assert await states(house) == {}
        # The ledger follows.
        await asyncio.sleep(1)
        lines = await house.store.record.trace(passed.mail.queue_id, 10)
        assert {line.recipient[4] for line in lines if line.fact == "relayed"} == {"0", "1"}

    play(story)


@pytest.mark.P3
def test_a_crash_while_ses_answers_leaves_what_was_kept_in_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(clock: LapsedClock) -> None:
        async with a_house(tmp_path, clock, EITHER) as house:
            parcel = await a_parcel(house, EITHER)
            claim = await house.store.shelf.keep(
                parcel.draft,
                Mail(
                    parcel.draft.queue_id,
                    OTP,
                    parcel.envelope._replace(recipients=addresses(3)),
                    clock.now(),
                    len(CONTENT),
                ),
                CONTENT,
                mark=addresses(2),
                node="n1",
                now=clock.now(),
                lease=timedelta(minutes=10),
            )
            assert await states(house) == {State.IN_FLIGHT: 1}
            assert claim.recipients == addresses(3)
        # Nobody settled it: as after a kill.
        async with a_house(tmp_path, clock, EITHER) as house:
            assert house.store.recovered.ambiguous == 2
            await asyncio.sleep(1)
            assert await recipients(house) == {
                "user0@example.net": "ambiguous",
                "user1@example.net": "ambiguous",
            }
            assert [call.recipients for call in house.carrier.calls] == [1]
            await asyncio.sleep(3600)
            assert await states(house) == {}

    lapse(work, monkeypatch)


# --- in turn with the queue -----------------------------------------------------------------------


@BOTH
@pytest.mark.P6
def test_who_waits_and_a_backlog_of_the_same_sender_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sender: Sender
) -> None:
    fill(tmp_path, OTP, 1000)

    async def work(clock: LapsedClock) -> None:
        async with a_house(tmp_path, clock, sender) as house:
            await asyncio.sleep(5)
            before = len(house.carrier.calls)
            ids = []
            for _ in range(20):
                passed = await house.pass_on(sender)
                assert passed.ending is Ending.RELAYED
                ids.append(passed.mail.queue_id)
            calls = house.carrier.calls[before:]
            mine = [call for call in calls if call.queue_id in ids]
            assert len(mine) == 20
            assert len(calls) >= 30, "the backlog got nothing"
            seconds = calls[-1].at - calls[0].at
            assert sum(call.recipients for call in calls) <= SHARE * RATE * seconds + 2

    lapse(work, monkeypatch)


@pytest.mark.P6
def test_a_flood_of_bulk_mail_does_not_keep_who_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bulk = a_sender("bulk", priority=Priority.BULK)
    fill(tmp_path, bulk.name, 3000)

    async def work(clock: LapsedClock) -> None:
        async with a_house(tmp_path, clock, RELAYED, bulk) as house:
            await asyncio.sleep(5)
            for _ in range(20):
                began = clock.monotonic()
                assert (await house.pass_on(RELAYED)).ending is Ending.RELAYED
                assert clock.monotonic() - began < 2
                await asyncio.sleep(1)
            got = house.carrier.shares()
            assert got[bulk.name] > 200, "the others got nothing"

    lapse(work, monkeypatch)


@pytest.mark.P6
def test_a_hundred_clients_at_once_are_served_at_the_rate_and_the_rest_is_queued(
    play: Callable[..., None],
) -> None:
    async def story(house: House) -> None:
        house.account.quota = SendQuota(3.0, 1e9, 0)
        passed = await asyncio.gather(*(house.pass_on(EITHER) for _ in range(100)))
        endings = [one.ending for one in passed]
        assert endings.count(Ending.RELAYED) + endings.count(Ending.QUEUED) == 100
        assert 50 < endings.count(Ending.RELAYED) < 65
        await asyncio.sleep(60)
        assert await states(house) == {}
        assert len({call.queue_id for call in house.carrier.calls}) == 100
        assert len(house.carrier.calls) == 100, "sent twice"

    play(story, EITHER)


def test_a_senders_own_pace_holds_for_who_waits_too(play: Callable[..., None]) -> None:
    sender = replace(EITHER, limits=Limits(1 << 20, Rate(1, 10.0), over_limit=OverLimit.PACE))

    async def story(house: House) -> None:
        passed = await asyncio.gather(*(house.pass_on(sender) for _ in range(5)))
        endings = [one.ending for one in passed]
        # At once, after ten seconds, and perhaps just after twenty: that is too late.
        assert endings.count(Ending.RELAYED) == 2
        await asyncio.sleep(60)
        assert await states(house) == {}
        gaps = [
            b.at - a.at for a, b in zip(house.carrier.calls, house.carrier.calls[1:], strict=False)
        ]
        assert min(gaps) > 9.5, gaps

    play(story, sender)


@pytest.mark.P6
def test_calls_that_hang_hold_half_of_the_lanes_at_most(play: Callable[..., None]) -> None:
    async def story(house: House) -> None:
        house.account.quota = SendQuota(1e6, 1e9, 0)
        house.carrier.seconds = lambda _: 60.0
        passing = [asyncio.create_task(house.pass_on(RELAYED)) for _ in range(60)]
        await asyncio.sleep(10)
        # A handful, while SES is not heard.
        assert 5 <= len(house.carrier.calls) <= house.gate.lanes // 2
        passed = await asyncio.gather(*passing)
        endings = [one.ending for one in passed]
        assert endings.count(Ending.RELAYED) == len(house.carrier.calls)
        assert endings.count(Ending.DEFERRED) == 60 - len(house.carrier.calls)

    play(story)


async def a_parcel(house: House, sender: Sender) -> Parcel:
    draft = house.store.spool.draft()
    await draft.append(CONTENT)
    envelope = Envelope(an_address("app@example.com"), addresses(1))
    return Parcel(draft, envelope, sender, a_ruleset(sender))


@pytest.mark.P3
@pytest.mark.P6
@pytest.mark.parametrize("rate", [1.0, 40.0], ids=["slow", "fast"])
def test_bad_recipients_of_two_senders_do_not_keep_each_other_from_being_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: float
) -> None:
    senders = [a_sender(name) for name in ("one", "two")]
    for sender in senders:
        fill(tmp_path, sender.name, 1, 20)

    async def work(clock: LapsedClock) -> None:
        async with a_house(tmp_path, clock, *senders) as house:
            house.account.quota = SendQuota(rate, 1e9, 0)
            house.carrier.judge = bad(13)
            await asyncio.sleep(600)
            assert await recipients(house) == {"user13@example.net": "failed"}
            assert await states(house) == {State.FAILED: 2}
            assert len(house.carrier.calls) < 60

    lapse(work, monkeypatch)
