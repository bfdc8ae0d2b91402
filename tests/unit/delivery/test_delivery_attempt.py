"""One attempt: what SES is asked, in what order, and what is recorded of each answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from relay.delivery import calls as module
from relay.delivery.attempt import Attempt
from relay.delivery.calls import Desk
from relay.delivery.gate import Gate
from relay.mail.address import Address
from relay.mail.entry import Settled, State
from relay.mail.envelope import AccountName, QueueId, SenderName
from relay.mail.feedback import Suppression, SuppressionReason
from relay.mail.outcome import Failed, Relayed
from relay.policy.sender import OnSuppressed, Priority, Sender
from relay.policy.verdict import Accepted, Answer, Broken, Refused, Stage
from relay.ports import Claim, Consignment, ContentError, LeaseLostError, SendQuota, SpoolError
from tests.builders import a_mail, a_ruleset, a_sender, addresses
from tests.fakes import FrozenClock, RecordingFacts

OK = Accepted("0102-ok")
THROTTLED = Refused(400, "Throttling", "Maximum sending rate exceeded.")
BAD_ADDRESS = Refused(400, "InvalidParameterValue", "Missing final '@domain'")
DOWN = Broken(Stage.NOT_SENT, "connection refused")
LOST = Broken(Stage.NO_ANSWER, "no answer")

Script = Callable[[Consignment], Answer]


class ScriptedCarrier:
    """Answers from a function of the consignment and remembers what it was given."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.calls: list[tuple[Address, ...]] = []
        self.consignments: list[Consignment] = []

    async def relay(self, consignment: Consignment) -> Answer:
        self.calls.append(consignment.recipients)
        self.consignments.append(consignment)
        return self.script(consignment)


class OneAccount:
    """An account with room for everything."""

    def __init__(self, carrier: ScriptedCarrier) -> None:
        self.name = AccountName("main")
        self.carrier = carrier
        self.quota: SendQuota | None = SendQuota(1e9, 1e9, 0)


class RecordingQueue:
    """A Queue that remembers what is recorded, and can be sick for a while."""

    def __init__(self) -> None:
        self.settled: dict[Address, Settled] = {}
        self.marks: list[tuple[Address, ...]] = []
        self.given_back: list[str] = []
        self.released_until: datetime | None = None
        self.sick_for = 0
        self.damage = 0
        """How many operations fail for good."""
        self.lost = False
        self.calls_seen_at_settle: list[int] = []
        self.carrier: ScriptedCarrier | None = None

    async def settle(
        self,
        claim: Claim,
        settled: Mapping[Address, Settled],
        *,
        now: datetime,
        mark: Sequence[Address] = (),
    ) -> State | None:
        if self.sick_for:
            self.sick_for -= 1
            raise SpoolError("disk")
        self._stumble()
        if self.lost:
            raise LeaseLostError
        assert not set(settled) & set(self.settled), "a recipient was settled twice"
        assert set(settled) <= set(claim.recipients)
        self.settled |= settled
        self.marks.append(tuple(mark))
        if self.carrier is not None:
            self.calls_seen_at_settle.append(len(self.carrier.calls))
        return None

    def _stumble(self) -> None:
        if self.damage:
            self.damage -= 1
            error = SpoolError("database disk image is malformed")
            error.is_lasting = True
            raise error

    async def release(self, claim: Claim, *, now: datetime, due_at: datetime) -> None:
        self.given_back.append("released")
        self.released_until = due_at

    async def hold(self, claim: Claim, reason: str, *, now: datetime) -> None:
        self.given_back.append(f"held: {reason}")

    async def damaged(self, claim: Claim, complaint: str, *, now: datetime) -> None:
        self._stumble()
        self.given_back.append(f"damaged: {complaint}")


class SomeSuppressed:
    def __init__(self, *suppressed: Address) -> None:
        self.suppressed = suppressed

    def may_hold(self, address: Address) -> bool:
        return address in self.suppressed

    async def find(self, address: Address, sender: Sender | None = None) -> Suppression | None:
        if address not in self.suppressed:
            return None
        since = datetime(2026, 1, 1, tzinfo=UTC)
        return Suppression(str(address), SuppressionReason.BOUNCE, "hard bounce", since)


class Bench:
    """An attempt with everything around it."""

    def __init__(
        self,
        script: Script,
        recipients: tuple[Address, ...],
        *,
        suppressed: tuple[Address, ...] = (),
        sender: Sender | None = None,
        jitter: Callable[[], float] = lambda: 0.0,
        waited: timedelta = timedelta(0),
        in_doubt: tuple[Address, ...] = (),
        may_expire: bool = True,
        reported: Mapping[str, str] | None = None,
    ) -> None:
        self.carrier = ScriptedCarrier(script)
        self.queue = RecordingQueue()
        self.queue.carrier = self.carrier
        self.facts = RecordingFacts()
        self.clock = FrozenClock()

        async def says(_queue_id: QueueId) -> Mapping[str, str]:
            if reported is None:
                raise SpoolError("record.db is sick")
            return reported

        desk = Desk(
            queue=self.queue,  # type: ignore[arg-type]
            suppressions=SomeSuppressed(*suppressed),
            facts=self.facts,
            clock=self.clock,
            node="n1",
            jitter=jitter,
            events_seen=lambda: False,
            reported=says,
            is_paused=lambda _: False,
            may_expire=lambda: may_expire,
        )
        self.gate = Gate(OneAccount(self.carrier), facts=self.facts, clock=self.clock)
        mail = a_mail(*recipients)
        self.claim = Claim(
            mail=mail,
            content=b"x" * mail.size,
            recipients=recipients,
            attempts=dict.fromkeys(recipients, 1),
            in_doubt=in_doubt,
            marked=min(50, len(recipients)),
            token=1,
            lease_until=self.clock.now() + timedelta(minutes=10),
            waited=waited,
            held=timedelta(0),
        )
        self.attempt = Attempt(desk, self.gate, self.claim, a_ruleset(), sender or a_sender())

    def outcomes(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for address, settled in self.queue.settled.items():
            found.setdefault(type(settled.outcome).__name__, []).append(address.local_part)
        return found


async def test_a_relayed_mail_is_settled_with_its_ses_message_id() -> None:
    bench = Bench(lambda _: OK, addresses(1))
    await bench.attempt.run()
    (settled,) = bench.queue.settled.values()
    assert settled == Settled(Relayed("0102-ok"), None)
    (consignment,) = bench.carrier.consignments
    assert dict(consignment.tags) == {
        "relay-id": "06H04YCY58GVCD1MB7KG",
        "relay-node": "n1",
        "relay-sender": "billing",
    }


@pytest.mark.P3
@pytest.mark.parametrize(
    ("count", "calls"),
    [(1, [1]), (50, [50]), (51, [50, 1]), (100, [50, 50]), (1000, [50] * 20)],
)
async def test_each_call_is_recorded_before_the_next_is_made(count: int, calls: list[int]) -> None:
    bench = Bench(lambda _: OK, addresses(count))
    await bench.attempt.run()
    assert [len(call) for call in bench.carrier.calls] == calls
    assert bench.queue.calls_seen_at_settle == list(range(1, len(calls) + 1))
    # Each settle marks exactly those the next call is made for.
    assert [len(mark) for mark in bench.queue.marks] == [*calls[1:], 0]
    assert set(bench.queue.settled) == set(addresses(count))


@pytest.mark.P6
@pytest.mark.parametrize("bad", [(3,), (0, 49), (7, 8, 31)])
async def test_bad_recipients_fail_alone(bad: tuple[int, ...]) -> None:
    recipients = addresses(50)
    culprits = {recipients[n] for n in bad}
    bench = Bench(lambda c: BAD_ADDRESS if culprits & set(c.recipients) else OK, recipients)
    await bench.attempt.run()
    failed = {a for a, s in bench.queue.settled.items() if isinstance(s.outcome, Failed)}
    assert failed == culprits
    assert set(bench.queue.settled) == set(recipients)
    relayed = [a for call in bench.carrier.calls if not culprits & set(call) for a in call]
    assert len(relayed) == len(set(relayed)) == 50 - len(bad)


async def test_a_later_chunk_that_is_deferred_leaves_the_first_relayed_and_the_rest_untried() -> (
    None
):
    bench = Bench(lambda _: OK if len(bench.carrier.calls) == 1 else THROTTLED, addresses(150))
    await bench.attempt.run()
    assert {k: len(v) for k, v in bench.outcomes().items()} == {"Relayed": 50, "Deferred": 50}
    assert bench.queue.given_back == ["released"]
    # Due at once: that SES is slow is for the gate to know, not for mail it was not asked about.
    assert bench.queue.released_until == bench.clock.now()


@pytest.mark.P3
async def test_what_follows_a_lost_answer_is_not_in_doubt() -> None:
    bench = Bench(lambda _: LOST, addresses(120))
    await bench.attempt.run()
    assert {k: len(v) for k, v in bench.outcomes().items()} == {"Ambiguous": 50}
    assert bench.queue.marks == [tuple(addresses(120)[50:100])]
    assert bench.queue.released_until == bench.clock.now()


async def test_recipients_of_one_call_are_due_again_in_one_call() -> None:
    throws = iter([0.1, 0.2, 0.3])
    bench = Bench(lambda _: DOWN, addresses(50), jitter=lambda: next(throws))
    await bench.attempt.run()
    assert len({settled.due_at for settled in bench.queue.settled.values()}) == 1


@pytest.mark.P6
async def test_an_unverified_recipient_of_the_sandbox_holds_nobody_else() -> None:
    said = "Email address is not verified. The following identities failed: user2@example.net"
    refused = Refused(400, "MessageRejected", said)
    culprit = addresses(5)[2]
    bench = Bench(lambda c: refused if culprit in c.recipients else OK, addresses(5))
    await bench.attempt.run()
    assert bench.outcomes()["Deferred"] == ["user2"]
    assert len(bench.outcomes()["Relayed"]) == 4


async def test_a_slow_account_does_not_keep_a_drain_waiting() -> None:
    """The pace would be minutes; the drain ends the attempt, and nobody waits in doubt."""

    def script(_: Consignment) -> Answer:
        bench.gate.spend(SenderName("other"), Priority.BULK, 10**12)
        return OK

    bench = Bench(script, addresses(120))
    await bench.attempt.run()
    assert len(bench.carrier.calls) == 1
    assert bench.queue.given_back == ["released"]
    # The mark is set only when the call is about to be made.
    assert bench.queue.marks == [()]


@pytest.mark.P3
async def test_a_lost_answer_is_ambiguous_and_said_in_fixed_words() -> None:
    bench = Bench(lambda _: LOST, addresses(2))
    await bench.attempt.run()
    assert bench.outcomes() == {"Ambiguous": ["user0", "user1"]}
    (due,) = {s.due_at for s in bench.queue.settled.values()}
    assert due == bench.clock.now() + timedelta(minutes=30)


async def test_recipients_suppressed_since_are_failed_without_asking_ses() -> None:
    recipients = addresses(3)
    bench = Bench(lambda _: OK, recipients, suppressed=recipients[1:2])
    await bench.attempt.run()
    assert bench.carrier.calls == [(recipients[0], recipients[2])]
    assert bench.outcomes() == {"Failed": ["user1"], "Relayed": ["user0", "user2"]}


async def test_when_all_are_suppressed_ses_is_not_asked() -> None:
    recipients = addresses(2)
    bench = Bench(lambda _: OK, recipients, suppressed=recipients)
    await bench.attempt.run()
    assert bench.carrier.calls == []
    assert bench.outcomes() == {"Failed": ["user0", "user1"]}


async def test_a_sender_that_ignores_suppression_is_obeyed() -> None:
    recipients = addresses(2)
    sender = a_sender(on_suppressed=OnSuppressed.IGNORE)
    bench = Bench(lambda _: OK, recipients, suppressed=recipients, sender=sender)
    await bench.attempt.run()
    assert bench.carrier.calls == [recipients]


async def test_suppression_and_a_bad_address_in_one_chunk_are_told_apart() -> None:
    recipients = addresses(4)
    bench = Bench(
        lambda c: BAD_ADDRESS if recipients[3] in c.recipients else OK,
        recipients,
        suppressed=recipients[:1],
    )
    await bench.attempt.run()
    assert bench.outcomes() == {"Failed": ["user0", "user3"], "Relayed": ["user1", "user2"]}


@pytest.mark.P3
async def test_an_outcome_is_recorded_however_long_the_spool_is_sick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RECORD_AGAIN", 0.0)
    bench = Bench(lambda _: OK, addresses(1))
    bench.queue.sick_for = 5
    await bench.attempt.run()
    assert len(bench.carrier.calls) == 1, "SES was asked again for what it took"
    assert bench.outcomes() == {"Relayed": ["user0"]}


@pytest.mark.P3
@pytest.mark.P5
async def test_an_outcome_that_can_never_be_recorded_sets_the_mail_aside() -> None:
    bench = Bench(lambda _: OK, addresses(60))
    bench.queue.damage = 1
    await bench.attempt.run()
    assert len(bench.carrier.calls) == 1, "more was sent although nothing could be recorded"
    (said,) = bench.queue.given_back
    assert said.startswith("damaged: what SES answered cannot be recorded: database disk image")
    assert bench.attempt.is_unrecorded


@pytest.mark.P5
async def test_an_attempt_ends_even_if_not_so_much_can_be_recorded() -> None:
    bench = Bench(lambda _: OK, addresses(1))
    bench.queue.damage = 2
    with pytest.raises(SpoolError, match="malformed"):
        await bench.attempt.run()
    assert bench.attempt.is_unrecorded
    assert "fault" in bench.facts.names()


@pytest.mark.P5
@pytest.mark.parametrize(
    ("error", "complaint"),
    [
        (ContentError("content is short"), "content is short"),
        (FileNotFoundError(), "FileNotFoundError"),
    ],
)
async def test_damaged_content_is_set_aside(error: Exception, complaint: str) -> None:
    def script(_: Consignment) -> Answer:
        raise error

    bench = Bench(script, addresses(1))
    await bench.attempt.run()
    assert bench.queue.given_back == [f"damaged: {complaint}"]
    assert "damaged" in bench.facts.names()


@pytest.mark.P5
async def test_a_bug_of_ours_gives_the_mail_back_and_is_told() -> None:
    def script(_: Consignment) -> Answer:
        raise ZeroDivisionError

    bench = Bench(script, addresses(1))
    await bench.attempt.run()
    assert bench.queue.given_back == ["released"]
    assert bench.queue.settled == {}
    assert "fault" in bench.facts.names()


async def test_an_outcome_of_a_lost_lease_is_not_recorded_but_told() -> None:
    bench = Bench(lambda _: OK, addresses(1))
    bench.queue.lost = True
    await bench.attempt.run()
    assert bench.queue.given_back == []
    assert "fault" in bench.facts.names()


async def test_a_draining_gate_ends_the_attempt_after_the_call_under_way() -> None:
    def script(_: Consignment) -> Answer:
        bench.gate.close()
        return OK

    bench = Bench(script, addresses(120))
    await bench.attempt.run()
    assert len(bench.carrier.calls) == 1
    assert bench.queue.given_back == ["released"]
    assert bench.queue.released_until == bench.clock.now()


@pytest.mark.P8
async def test_an_unreachable_ses_defers_and_opens_the_breaker() -> None:
    bench = Bench(lambda _: DOWN, addresses(1))
    for _ in range(3):
        bench.queue.settled.clear()
        await bench.attempt.run()
    assert bench.outcomes() == {"Deferred": ["user0"]}
    assert [w for n, w in bench.facts.words if n == "breaker"] == [
        {"opened": True, "reason": "connection"}
    ]
    assert bench.gate.room().attempts == 0
    bench.carrier.script = lambda _: OK
    bench.clock.advance(timedelta(seconds=6))
    assert bench.gate.room().attempts == 1
    bench.queue.settled.clear()
    await bench.attempt.run()
    assert bench.gate.room().attempts > 1


async def test_throttling_slows_the_pace_and_leaves_the_breaker_alone() -> None:
    bench = Bench(lambda _: THROTTLED, addresses(1))
    for _ in range(5):
        bench.queue.settled.clear()
        await bench.attempt.run()
    assert "breaker" not in bench.facts.names()
    assert bench.gate.room().attempts == 0
    assert 0 < bench.gate.room().wait <= 1.0


@pytest.mark.P3
async def test_what_expires_with_a_doubt_is_reported_unknown_and_the_others_as_not_taken() -> None:
    jane, john = addresses(2)
    bench = Bench(lambda _: DOWN, (jane, john), waited=timedelta(days=4), in_doubt=(john,))
    await bench.attempt.run()
    told = {
        place: one.outcome.reply
        for place, one in bench.queue.settled.items()
        if isinstance(one.outcome, Failed)
    }
    assert (told[jane].status, told[john].status) == ("5.4.7", "4.4.7")
    assert "not known whether SES took" in told[john].text


async def test_nothing_expires_while_the_clock_is_in_doubt() -> None:
    bench = Bench(lambda _: DOWN, addresses(1), waited=timedelta(days=400), may_expire=False)
    await bench.attempt.run()
    (settled,) = bench.queue.settled.values()
    assert settled.due_at == bench.clock.now() + timedelta(seconds=30)


@pytest.mark.P3
async def test_mail_in_doubt_of_which_ses_has_reported_is_not_sent_again() -> None:
    """The event may come before the attempt is known to be in doubt, and be looked at only now."""
    jane, john = addresses(2)
    bench = Bench(
        lambda _: OK, (jane, john), in_doubt=(jane, john), reported={jane.folded: "0100-event"}
    )
    await bench.attempt.run()
    assert bench.carrier.calls == [(john,)]
    settled = bench.queue.settled[jane].outcome
    assert settled == Relayed("0100-event")


async def test_mail_in_doubt_is_tried_again_when_what_ses_reported_cannot_be_read() -> None:
    (jane,) = addresses(1)
    bench = Bench(lambda _: OK, (jane,), in_doubt=(jane,))
    await bench.attempt.run()
    assert len(bench.carrier.calls) == 1
